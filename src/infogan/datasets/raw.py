"""The base of all readers of raw data."""

import os
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from infogan.datasets.values import RawImages, RawReader
from infogan.errors import UserError
from infogan.options import Source
from infogan.sources import MIRROR_VARIABLE, fetch


class RawDataset(AbstractDataset[Source, RawReader]):
    """A folder of files as distributed.

    Saving a ``Source`` makes the folder hold exactly the verified files it lists; loading gives a
    function from a ``Source`` to its images, one of which is in memory at a time. A reader says
    how (``read``).
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @abstractmethod
    def read(self, folder: Path, source: Source) -> RawImages:
        """The splits found in the folder; UserError says what is wrong with a file."""

    def save(self, data: Source) -> None:
        """Fetch the source's files."""
        fetch(data, self._folder, os.environ.get(MIRROR_VARIABLE))
        self.complete(self._folder, data)

    def complete(self, folder: Path, source: Source) -> None:
        """What else the folder needs; for most sources nothing."""

    def load(self) -> RawReader:
        """The reader of the folder's files."""
        return partial(self.read, self._folder)

    def _exists(self) -> bool:
        return self._folder.is_dir() and any(self._folder.iterdir())

    def _describe(self) -> dict[str, Any]:
        return {"folder": str(self._folder)}


def raw_file(folder: Path, *names: str) -> Path:
    """The first of these files that exists; UserError if none does."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise UserError(
        f"{folder} has no {' or '.join(names)}: put it there, or run the ingestion, which fetches "
        "what can be fetched."
    )


def brought(folder: Path, source: Source) -> Path:
    """The file or folder that a person brings, else the raw folder itself."""
    return Path(source.path).expanduser() if source.path else folder
