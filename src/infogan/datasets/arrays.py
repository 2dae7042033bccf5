"""One .npy file per split, memory-mapped when loaded."""

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from kedro.io import AbstractDataset

from infogan.datasets.values import Arrays
from infogan.errors import UserError
from infogan.files import atomic

SPLITS = ("train", "test")
_BLOCK_BYTES = 1 << 24


class ArraysDataset(AbstractDataset[Arrays, Arrays]):
    """``<path>/<split>_<name>.npy``; written a block of rows at a time."""

    def __init__(self, path: str, name: str) -> None:
        self._folder = Path(path)
        self._name = name

    def save(self, data: Arrays) -> None:
        """Write every split, each whole or not at all."""
        for split, array in data.splits.items():
            with atomic(self._path(split)) as temporary:
                _write(temporary, array)

    def load(self) -> Arrays:
        """Read-only views of the files; only what is used comes into memory."""
        return Arrays({split: self._map(self._path(split)) for split in SPLITS})

    def _map(self, path: Path) -> np.ndarray:
        if not path.exists():
            raise UserError(f"{path} is missing: run `{_ingestion(self._folder)}`.")
        try:
            array: np.ndarray = np.load(path, mmap_mode="r")
        except (ValueError, EOFError, TypeError, TokenError) as error:  # numpy has a parser
            raise UserError(
                f"{path} is damaged ({error}): delete it and run ingestion again."
            ) from None
        return array

    def _path(self, split: str) -> Path:
        return self._folder / f"{split}_{self._name}.npy"

    def _exists(self) -> bool:
        return all(self._path(split).exists() for split in SPLITS)

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._folder), "name": self._name}


def _ingestion(folder: Path) -> str:
    """The command that fills ``DATA/05_model_input/DATASET``. An environment's DATA is data/NAME,
    that of conf/base is data.
    """
    data = folder.parent.parent
    of_environment = (data.parent.parent / "conf" / data.name).is_dir()
    environment = f" --env={data.name}" if of_environment else ""
    return f"kedro run{environment} --pipelines={folder.name}.ingestion"


def _write(path: Path, array: np.ndarray) -> None:
    # Not numpy.save: on a full disk its error has no number by which to know what happened.
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    block = max(1, _BLOCK_BYTES * len(array) // max(1, array.nbytes))  # rows
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(array), block):
            file.write(np.ascontiguousarray(array[start : start + block]).data)
