"""MNIST's IDX files, plain or compressed with gzip."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from infogan.datasets.raw import RawDataset, brought, origin, raw_file
from infogan.datasets.values import RawImages, RawSplit
from infogan.errors import UserError
from infogan.options import Source

_UINT8 = 0x08
_PREFIX = {"train": "train", "test": "t10k"}


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An array of unsigned bytes from an IDX file, checked: magic, dimensions, exact length.

    The header is two zero bytes, the type (0x08: unsigned byte), the number of dimensions, and
    each dimension as a big-endian 32-bit integer.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} is a damaged gzip file ({error}): delete it and fetch again."
        ) from None

    header = 4 + 4 * dimensions
    magic = bytes([0, 0, _UINT8, dimensions])
    if content[:4] != magic:
        raise UserError(
            f"{path} is not an IDX file of {dimensions}-dimensional bytes: it begins with "
            f"{content[:4].hex(' ') or 'nothing'}, not {magic.hex(' ')}."
        )
    if len(content) < header:
        raise UserError(f"{path} ends within its header: {len(content)} of {header} bytes.")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, offset=4))
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise UserError(
            f"{path} announces {' x '.join(map(str, shape))} bytes and should be {expected:,} "
            f"bytes long, but has {len(content):,}."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


class Mnist(RawDataset):
    """Splits ``train`` (60,000) and ``test`` (10,000), 1x28x28, labels 0 to 9."""

    def read(self, folder: Path, source: Source) -> RawImages:
        """Read the four files; counts of images and labels must agree."""
        root = brought(folder, source)
        paths = {split: _files_of(root, prefix) for split, prefix in _PREFIX.items()}
        opened = origin(source, *paths["train"], *paths["test"])
        splits = {split: _read_split(*pair) for split, pair in paths.items()}
        return RawImages(splits, origin=opened)


def _files_of(root: Path, prefix: str) -> tuple[Path, Path]:
    """Images and labels of a split, compressed or not."""
    images, labels = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    return raw_file(root, f"{images}.gz", images), raw_file(root, f"{labels}.gz", labels)


def _read_split(image_path: Path, label_path: Path) -> RawSplit:
    images = read_idx(image_path, 3)
    labels = read_idx(label_path, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{image_path.name} holds {len(images):,} images, but {label_path.name} "
            f"{len(labels):,} labels: they are not of the same set."
        )
    return RawSplit(images[:, None], labels.astype(np.int64))
