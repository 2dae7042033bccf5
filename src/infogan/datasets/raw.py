"""The base of all readers of raw data."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from infogan.datasets.values import RawImages
from infogan.errors import UserError
from infogan.options import Source
from infogan.sources import MIRROR_VARIABLE, fetch


class RawDataset(AbstractDataset[Source, RawImages]):
    """A folder of files as distributed.

    Saving a ``Source`` makes the folder hold exactly the verified files it lists; loading reads
    them, one image in memory at a time. A reader says how (``read``).
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @abstractmethod
    def read(self, folder: Path) -> RawImages:
        """The splits found in the folder; UserError says what is wrong with a file."""

    def save(self, data: Source) -> None:
        """Fetch the source's files."""
        fetch(data, self._folder, os.environ.get(MIRROR_VARIABLE))

    def load(self) -> RawImages:
        """Read the folder's files."""
        return self.read(self._folder)

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
        f"{folder} has no {' or '.join(names)}: "
        f"run `kedro run --pipelines={folder.name}.ingestion`."
    )
