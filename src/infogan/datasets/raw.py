"""The base of all readers of raw data."""

import logging
import os
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from infogan.datasets.archives import FolderMembers, Members
from infogan.datasets.values import RawImages, RawReader
from infogan.errors import UserError
from infogan.files import digest
from infogan.options import Source
from infogan.sources import MIRROR_VARIABLE, fetch, own_path, verify

_logger = logging.getLogger(__name__)


class RawDataset(AbstractDataset[Source, RawReader]):
    """A folder of files as distributed.

    Saving a ``Source`` makes the folder hold exactly the verified files it lists; loading gives a
    function from a ``Source`` to its images, one of which is in memory at a time. A reader says
    how (``read``).
    """

    def __init__(self, path: str) -> None:
        self._folder = Path(path)

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
        return {"path": str(self._folder)}


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
    return own_path(source) or folder


def origin(source: Source, *opened: Path | Members) -> dict[str, str]:
    """What was read: each file and its sha256, each folder and how much is in it.

    UserError if a file is not what the source pins under its name. Where it pins nothing, that is
    said here and in the log.
    """
    told = {} if source.path is None else {"path": source.path}
    for each in opened:
        if isinstance(each, FolderMembers):
            path = each.path / each.names[0].partition("/")[0]
            found, known = each.extent(), False
        else:
            path = each.path if isinstance(each, Members) else each
            found, known = digest(path, "sha256"), _is_pinned(path, source)
        if source.files and not known:
            _logger.warning("%s is not verified: the source pins no hash of it.", path)
            found += " (not verified)"
        told[path.name] = found
    return told


def _is_pinned(path: Path, source: Source) -> bool:
    """Whether there is a hash of this file, which then is right; UserError if it is not."""
    pins = [
        file
        for file in (*source.files, *source.samples)
        if file.name == path.name and (file.sha256 or file.md5)
    ]
    problems = [verify(path, pin) for pin in pins]
    if pins and None not in problems:
        raise UserError(
            f"{path} {problems[0]}: put the original there, or pin your own in source.files."
        )
    return bool(pins)
