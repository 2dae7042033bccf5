"""CelebA, aligned and cropped: a zip of JPEGs, or the folder in it, and two lists."""

import re
import warnings
from pathlib import Path

import numpy as np

from infogan.datasets.archives import members_in
from infogan.datasets.decoding import Decoded
from infogan.datasets.raw import RawDataset, brought, origin, raw_file
from infogan.datasets.values import Factor, RawImages, RawSplit
from infogan.errors import UserError
from infogan.options import Source

_FOLDER = "img_align_celeba"
_MEMBER = re.compile(rf"{_FOLDER}/\d{{6}}\.jpg")
_SPLITS = ("train", "valid", "test")  # as list_eval_partition.txt numbers them
_ATTRIBUTES = 40
_NAME = re.compile(rb"\d{6}\.jpg")


class Celeba(RawDataset):
    """Splits ``train``, ``valid`` and ``test``, 3x218x178, no labels, 40 attributes as factors.

    Of the people listed, only those whose image is there.
    """

    def read(self, folder: Path, source: Source) -> RawImages:
        """Compare the two lists and the images with each other; decode images when asked for."""
        root = brought(folder, source)
        attribute_path = raw_file(root, "list_attr_celeba.txt")
        partition_path = raw_file(root, "list_eval_partition.txt")
        titles, numbers, attributes = read_attributes(attribute_path)
        listed, parts = read_partition(partition_path)
        _refuse_different(attribute_path, numbers, partition_path, listed)

        members = members_in(root, _FOLDER, _MEMBER)
        if not len(members):
            raise UserError(f"{members.path} holds no image {_FOLDER}/NNNNNN.jpg.")
        opened = origin(source, attribute_path, partition_path, members)
        there = np.array([int(name[-10:-4]) for name in members.names])
        rows = np.searchsorted(numbers, there)
        unlisted = there[numbers[np.minimum(rows, len(numbers) - 1)] != there]
        if len(unlisted):
            raise UserError(
                f"{members.path} holds {unlisted[0]:06}.jpg, which {attribute_path.name} does not "
                "list: they are not of the same set."
            )
        splits = {}
        for part, split in enumerate(_SPLITS):
            chosen = np.flatnonzero(parts[rows] == part)
            images = members.chosen(chosen)
            splits[split] = RawSplit(
                Decoded(images), None, attributes[rows[chosen]], list(images.names)
            )
        factors = tuple(Factor(title, "binary") for title in titles)
        return RawImages(splits, factors, opened, members.stamp())


def read_attributes(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the attributes, numbers of the images (N,), ascending, and float32 (N, 40), 0 or 1.

    The file has the number of images in its first line, the 40 names in its second, and then rows
    of an image's name and forty times 1 or -1.
    """
    lines = _lines(path)
    if len(lines) < 2:
        raise UserError(f"{path} ends within its header of two lines: fetch it again.")
    count, names, rows = lines[0].strip(), lines[1].split(), lines[2:]
    if len(set(names)) != _ATTRIBUTES:
        raise UserError(
            f"{path} names {len(set(names))} different attributes in its second line, but CelebA "
            f"has {_ATTRIBUTES}."
        )
    if count != str(len(rows)):
        raise UserError(
            f"{path} announces {count!r} images in its first line, but lists "
            f"{len(rows):,}: fetch it again."
        )
    numbers, values = _table(path, rows, _ATTRIBUTES)
    wrong = np.argwhere(np.abs(values) != 1)
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"{path} gives {numbers[row]:06}.jpg the value {values[row, column]} for "
            f"{names[column]}, but only 1 and -1 are possible."
        )
    return names, numbers, (values > 0).astype(np.float32)


def read_partition(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images (N,), ascending, and the part of each (N,): 0, 1 or 2."""
    numbers, values = _table(path, _lines(path), 1)
    wrong = np.flatnonzero((values[:, 0] < 0) | (values[:, 0] >= len(_SPLITS)))
    if len(wrong):
        raise UserError(
            f"{path} puts {numbers[wrong[0]]:06}.jpg into part {values[wrong[0], 0]}, but the "
            "parts are 0 (train), 1 (valid) and 2 (test)."
        )
    return numbers, values[:, 0]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").rstrip().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no plain text: fetch it again.") from None


def _table(path: Path, rows: list[str], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images, ascending, and int8 (N, columns) of rows of a name and integers."""
    if not rows:
        raise UserError(f"{path} lists no image: fetch it again.")
    kinds = np.dtype([("name", "S16"), ("values", np.int8, (columns,))])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = np.loadtxt(rows, kinds, comments=None, ndmin=1)
        if len(table) != len(rows):
            raise ValueError("some lines are empty")
    except (ValueError, Warning) as error:
        reason = str(error).partition(";")[0]
        raise UserError(
            f"{path} is damaged: after its header, each line is an image's name and {columns} "
            f"numbers, but {reason}."
        ) from None
    wrong = next((name for name in table["name"] if not _NAME.fullmatch(name)), None)
    if wrong is not None:
        raise UserError(
            f"{path} lists {wrong.decode()!r}, but images are called 000001.jpg and so on."
        )
    table = table[np.argsort(table["name"], kind="stable")]
    numbers = np.array([int(name[:6]) for name in table["name"]])
    twice = numbers[1:][numbers[1:] == numbers[:-1]]
    if len(twice):
        raise UserError(f"{path} lists {twice[0]:06}.jpg twice.")
    return numbers, table["values"]


def _refuse_different(path: Path, numbers: np.ndarray, other: Path, others: np.ndarray) -> None:
    """UserError unless two lists have the same images."""
    missing = np.setdiff1d(numbers, others), np.setdiff1d(others, numbers)
    for (has, lacks), names in zip(((path, other), (other, path)), missing, strict=True):
        if len(names):
            raise UserError(
                f"{has} lists {names[0]:06}.jpg, which {lacks.name} does not: they are not of the "
                "same set."
            )
