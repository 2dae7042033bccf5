"""A training state to disk and back: whole or not at all, and never another one's.

A checkpoint is ``<folder>/<name>.<iteration>.pt``: the SHA-256 of what follows, then what torch
saves, which says the names of folder and checkpoint again. The last two are kept, so that a good
one is left should the last one be lost.
"""

import hashlib
import io
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from infogan.files import atomic

_logger = logging.getLogger(__name__)

_KEPT = 2
_DIGEST = hashlib.sha256().digest_size
DAMAGED, FOREIGN = ".damaged", ".foreign"  # suffixes of what is set aside


def save(
    folder: Path, name: str, iteration: int, content: dict[str, Any], *, anew: bool = False
) -> None:
    """Write tensors and plain values; then older checkpoints but one are removed.

    Later ones, of a training that was to last longer, stay. ``anew``: all others are removed.
    """
    buffer = io.BytesIO()
    torch.save({"of": _owner(folder, name), "content": content}, buffer)
    payload = buffer.getbuffer()
    path = _path(folder, name, iteration)
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(payload).digest())
        file.write(payload)
    others = [each for each in _newest_first(folder, name) if each != path]
    for each in others if anew else [each for each in others if each < path][_KEPT - 1 :]:
        each.unlink()
    for left in folder.glob(f".{name}.*.tmp.pt"):  # by a killed process
        left.unlink()


def load(
    folder: Path, name: str, device: torch.device, up_to: int | None = None
) -> dict[str, Any] | None:
    """The newest checkpoint, of at most the iteration ``up_to``, that is whole; or None.

    One that is damaged, or of another training, is set aside under another name, with a warning,
    for whoever wants to know.
    """
    for path in _newest_first(folder, name):
        if up_to is not None and path > _path(folder, name, up_to):
            continue
        stored = memoryview(path.read_bytes())
        digest, payload = bytes(stored[:_DIGEST]), stored[_DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            _set_aside(path, DAMAGED, "is damaged")
            continue
        content = _content(payload, device)
        if content is None or content.get("of") != _owner(folder, name):
            _set_aside(path, FOREIGN, "is of another training")
            continue
        found: dict[str, Any] = content["content"]
        return found
    return None


def _content(payload: memoryview, device: torch.device) -> dict[str, Any] | None:
    """What was saved, or None if it is more than tensors and plain values, which we never save."""
    try:
        content = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        return None
    return content if isinstance(content, dict) else None


def _set_aside(path: Path, suffix: str, what: str) -> None:
    aside = path.with_name(path.name + suffix)
    path.replace(aside)
    _logger.warning("%s %s and is not used; it is kept as %s", path, what, aside.name)


def _owner(folder: Path, name: str) -> str:
    return f"{folder.name}/{name}"


def _path(folder: Path, name: str, iteration: int) -> Path:
    return folder / f"{name}.{iteration:09d}.pt"


def _newest_first(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}.*.pt"), reverse=True)
