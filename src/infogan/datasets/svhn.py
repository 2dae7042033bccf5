"""SVHN's cropped digits ("format 2"): one MATLAB file per split."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from infogan.datasets.raw import RawDataset, brought, origin
from infogan.datasets.values import RawImages, RawSplit
from infogan.errors import UserError
from infogan.options import Source

_STEMS = {split: f"{split}_32x32" for split in ("train", "test", "extra")}
_IMAGE = (32, 32, 3)


class Svhn(RawDataset):
    """Splits ``train`` (73,257), ``test`` (26,032), ``extra`` (531,131), as far as they are there.

    Images are 3x32x32, labels 0 to 9.
    """

    def read(self, folder: Path, source: Source) -> RawImages:
        """Read the files that the source lists; a sample stands in for a split that is missing."""
        root = brought(folder, source)
        paths = {
            split: path
            for split, stem in _STEMS.items()
            if (path := _file_of(root, stem, source)) is not None
        }
        if not paths:
            raise UserError(
                f"{root} has none of the files that the source lists for SVHN "
                f"({', '.join(f'{stem}.mat' for stem in _STEMS.values())}, or samples of them): "
                "put at least one of them there."
            )
        opened = origin(source, *paths.values())
        return RawImages({split: read_mat(path) for split, path in paths.items()}, origin=opened)


def _file_of(root: Path, stem: str, source: Source) -> Path | None:
    """The whole split before a sample of it; in a person's own folder no list is needed."""
    names = [f"{stem}.mat"] if source.path else []
    names += [file.name for file in source.files if file.name == f"{stem}.mat"]
    names += [file.name for file in source.samples if file.name.startswith(stem)]
    return next((root / name for name in names if (root / name).is_file()), None)


def read_mat(path: Path) -> RawSplit:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,), 0 to 9, of one file, checked.

    The file holds ``X``, uint8 (32, 32, 3, N), and ``y``, (N, 1), 1 to 10, where 10 stands for 0.
    """
    found = _variables(path)
    pixels, digits = found["X"], found["y"].ravel()
    wrong = digits[~np.isin(digits, np.arange(1, 11))]
    if len(wrong):
        raise UserError(
            f"{path} holds the label {wrong[0]}, but SVHN's are 1 to 10, where 10 stands for 0."
        )
    # A view: each image lies in one piece of the file's column-major array.
    return RawSplit(pixels.transpose(3, 2, 0, 1), digits.astype(np.int64) % 10)


def _variables(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat, whosmat

    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith((b"\x89HDF", b"MATLAB 7.3")):
        raise UserError(
            f"{path} is a MATLAB 7.3 file (HDF5), but SVHN's files are of MATLAB 5: fetch the "
            "original, or save it again with -v7."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in variables that are not read
            _check({name: (shape, kind) for name, shape, kind in whosmat(path)}, path)
            found: dict[str, Any] = loadmat(path, variable_names=["X", "y"])
    except UserError:
        raise
    except Exception as error:  # scipy lets through whatever its reader stumbles over
        raise UserError(
            f"{path} is cut short or damaged ({error or type(error).__name__}), or no MATLAB "
            "file: fetch it again."
        ) from None
    return found


def _check(held: dict[str, tuple[tuple[int, ...], str]], path: Path) -> None:
    """UserError unless X and y, of which shape and type are known, can be SVHN's."""
    if not {"X", "y"} <= set(held):
        raise UserError(
            f"{path} holds {' and '.join(sorted(held)) or 'nothing'}, but SVHN's variables are X "
            "(the images) and y (the labels)."
        )
    (x_shape, x_kind), (y_shape, y_kind) = held["X"], held["y"]
    if x_kind != "uint8" or len(x_shape) != 4 or x_shape[:3] != _IMAGE:
        raise UserError(
            f"{path} holds X of {x_kind} {_times(x_shape)}, but SVHN's is of uint8 32x32x3xN."
        )
    is_number = re.fullmatch(r"u?int\d+|single|double", y_kind) is not None
    if not is_number or len(y_shape) != 2 or y_shape[1] != 1:
        raise UserError(
            f"{path} holds y of {y_kind} {_times(y_shape)}, but SVHN's is Nx1 numbers."
        )
    if x_shape[3] != y_shape[0]:
        raise UserError(
            f"{path} holds {x_shape[3]:,} images, but {y_shape[0]:,} labels: each image needs one."
        )


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
