"""One .npy file per split, memory-mapped when loaded."""

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from kedro.io import AbstractDataset

from infogan.datasets.values import Arrays, ArrayStream
from infogan.errors import UserError
from infogan.files import atomic

SPLITS = ("train", "test")


class ArraysDataset(AbstractDataset[Arrays, Arrays]):
    """``<folder>/<split>_<name>.npy``; streams are written a row at a time."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder = Path(folder)
        self._name = name

    def save(self, data: Arrays) -> None:
        """Write every split, each whole or not at all."""
        for split, array in data.splits.items():
            with atomic(self._path(split)) as temporary:
                if isinstance(array, ArrayStream):
                    _write_rows(temporary, array)
                else:
                    np.save(temporary, array)

    def load(self) -> Arrays:
        """Read-only views of the files; only what is used comes into memory."""
        return Arrays({split: self._map(self._path(split)) for split in SPLITS})

    def _map(self, path: Path) -> np.ndarray:
        if not path.exists():
            dataset = self._folder.name
            raise UserError(f"{path} is missing: run `kedro run --pipelines={dataset}.ingestion`.")
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
        return {"folder": str(self._folder), "name": self._name}


def _write_rows(path: Path, stream: ArrayStream) -> None:
    # Written, not mapped: on a full disk a write is an error, a mapped page kills the process.
    dtype = np.dtype(stream.dtype)
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": stream.shape,
    }
    written = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in stream.rows:
            assert row.shape == stream.shape[1:], f"{row.shape} instead of {stream.shape[1:]}"
            file.write(np.ascontiguousarray(row, dtype).data)
            written += 1
    assert written == stream.shape[0], f"{written} rows instead of {stream.shape[0]}"
