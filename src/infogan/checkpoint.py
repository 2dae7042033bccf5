"""A training state to disk and back: whole or not at all, and never another one's.

A checkpoint is ``<folder>/<name>.<iteration>.pt``: the SHA-256 of what follows, then what torch
saves, which says the names of folder and checkpoint again. The last two are kept, so that a good
one is left should the last one be lost. What is damaged or another's is never deleted.
"""

import hashlib
import io
import logging
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import torch

from infogan.files import atomic

_logger = logging.getLogger(__name__)

_KEPT = 2
_FORMAT = 1  # of what is in it
_DIGEST = hashlib.sha256().digest_size
DAMAGED, FOREIGN = ".damaged", ".foreign"  # suffixes of what is set aside

_LARGE = 1 << 16  # bytes whose hash is worth a thread
_known: dict[Path, tuple[int, int, int]] = {}  # to be whole, as this process wrote or read them


def save(
    folder: Path, name: str, iteration: int, content: dict[str, Any], *, anew: bool = False
) -> None:
    """Write tensors and plain values; then older checkpoints but one are removed.

    Later ones, of a training that was to last longer, stay. ``anew``: all others are removed.
    """
    payload = {"of": _owner(folder, name), "format": _FORMAT, "content": content}
    path = _path(folder, name, iteration)
    if path.exists() and _known.get(path) != _stamp(path):
        _read(path, folder, name, torch.device("cpu"))  # which sets aside what is not to be lost
    with atomic(path) as temporary, temporary.open("wb") as file, ThreadPoolExecutor(1) as aside:
        file.write(bytes(_DIGEST))
        hashed = _Hashed(file, aside)
        try:
            torch.save(payload, hashed)  # type: ignore[arg-type]  # it only writes
        except RuntimeError as error:
            # Where writing fails, torch fails once more, as it closes the file, and hides why.
            reason = error.__context__
            raise (reason if isinstance(reason, OSError | KeyboardInterrupt) else error) from None
        file.seek(0)
        file.write(hashed.digest())
    _known[path] = _stamp(path)
    others = {at: each for at, each in _newest_first(folder, name).items() if at != iteration}
    earlier = [each for at, each in others.items() if at < iteration]
    for each in others.values() if anew else earlier[_KEPT - 1 :]:
        _remove(each, folder, name)
    _remove_unfinished(folder, name)


class _Hashed(io.RawIOBase):
    """Writes to a file and hashes aside, so that no second copy has to be in memory.

    With large pieces neither holds Python's lock, so both take as long as the slower one.
    """

    def __init__(self, file: BinaryIO, aside: ThreadPoolExecutor) -> None:
        self._file, self._aside, self._hash = file, aside, hashlib.sha256()

    def write(self, data: Any) -> int:
        if len(data) < _LARGE:
            self._hash.update(data)
            return self._file.write(data)
        hashed = self._aside.submit(self._hash.update, data)
        try:
            return self._file.write(data)
        finally:
            hashed.result()  # then the memory may be torch's own again

    def digest(self) -> bytes:
        return self._hash.digest()


def load(
    folder: Path, name: str, device: torch.device, up_to: int | None = None
) -> dict[str, Any] | None:
    """The newest checkpoint, of at most the iteration ``up_to``, that is whole; or None.

    One that is damaged, or of another training, is set aside under another name, with a warning,
    for whoever wants to know.
    """
    for iteration, path in _newest_first(folder, name).items():
        if up_to is not None and iteration > up_to:
            continue
        stamp = _stamp(path)
        found = _read(path, folder, name, device)
        if found is not None:
            _known[path] = stamp
            return found
    return None


def reached(folder: Path, name: str) -> list[int]:
    """At which iterations there is a checkpoint."""
    return list(_newest_first(folder, name))


def discard(folder: Path, name: str, up_to: int) -> None:
    """Remove the checkpoints of a training that has ended, of at most the iteration ``up_to``."""
    for iteration, path in _newest_first(folder, name).items():
        if iteration <= up_to:
            _remove(path, folder, name)
    _remove_unfinished(folder, name)


def _remove(path: Path, folder: Path, name: str) -> None:
    """Unless it has to be set aside. To look takes as long as to save, so what this process has
    written or read, and nobody has written since, is believed.
    """
    if _known.pop(path, None) == _stamp(path) or (
        _read(path, folder, name, torch.device("cpu")) is not None
    ):
        path.unlink()


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _remove_unfinished(folder: Path, name: str) -> None:
    for left in folder.glob(f".{name}.*.tmp.pt"):  # by a killed process
        left.unlink()


def _read(path: Path, folder: Path, name: str, device: torch.device) -> dict[str, Any] | None:
    """What was saved there; None if the file has had to be set aside."""
    stored = memoryview(path.read_bytes())
    digest, payload = bytes(stored[:_DIGEST]), stored[_DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        _set_aside(path, DAMAGED, "is damaged")
        return None
    content = _content(payload, device) or {}
    if content.get("of") != _owner(folder, name):
        _set_aside(path, FOREIGN, "is of another training")
        return None
    if content.get("format", 1) != _FORMAT:
        _set_aside(path, FOREIGN, "is of another version of this program")
        return None
    found: dict[str, Any] = content["content"]
    return found


def _content(payload: memoryview, device: torch.device) -> dict[str, Any] | None:
    """What was saved, or None if it is more than tensors and plain values, which we never save."""
    try:
        content = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        return None
    return content if isinstance(content, dict) else None


def _set_aside(path: Path, suffix: str, what: str) -> None:
    names = (f"{path.name}{suffix}{number or ''}" for number in count())
    aside = next(each for name in names if not (each := path.with_name(name)).exists())
    path.rename(aside)
    _logger.warning("%s %s and is not used; it is kept as %s", path, what, aside.name)


def _owner(folder: Path, name: str) -> str:
    return f"{folder.name}/{name}"


def _path(folder: Path, name: str, iteration: int) -> Path:
    return folder / f"{name}.{iteration:09d}.pt"


def _newest_first(folder: Path, name: str) -> dict[int, Path]:
    """Checkpoints by their iterations; a file of any other name is somebody's own."""
    found = {
        int(known[1]): path
        for path in folder.glob(f"{name}.*.pt")
        if (known := re.fullmatch(rf"{re.escape(name)}\.(\d{{9}})\.pt", path.name))
    }
    return dict(sorted(found.items(), reverse=True))
