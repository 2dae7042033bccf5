"""A folder that nodes may use as they like: the one place where a path enters a node."""

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class FolderDataset(AbstractDataset[NoReturn, Path]):
    """Loads as the path of the folder, which is created."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def save(self, data: NoReturn) -> NoReturn:  # noqa: ARG002
        """Not possible: the folder's user writes into it."""
        raise DatasetError("a folder is not saved; its user writes into it")

    def load(self) -> Path:
        """The path of the existing folder."""
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
