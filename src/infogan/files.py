"""Files that are either whole or not there, and folders that do not stay empty."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without error.

    The suffix is kept, since writers choose their format by it. The content is on disk before the
    name appears, so a crash leaves the old file or the new one, never half of it; what a killed
    process leaves under the temporary name is overwritten by the next. One writer at a time. An
    OSError from within names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        temporary.write_bytes(b"")
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the new name on disk, too, before anything is removed in its favour."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_empty(*folders: Path) -> None:
    """Remove those of the folders, one after the other, that are there and hold nothing."""
    for folder in folders:
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def digest(path: Path, algorithm: str) -> str:
    """Hash of a file's content by ``sha256`` or another algorithm of hashlib, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
