"""A training state to disk and back: whole or not at all, and never another one's.

A checkpoint is ``<name>.<iteration>.pt``: the SHA-256 of what follows, then what torch saves. The
last two are kept, so that a good one is left should the last one be lost.
"""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from infogan.files import atomic

_logger = logging.getLogger(__name__)

_KEPT = 2
_DIGEST = hashlib.sha256().digest_size
SET_ASIDE = ".damaged"


def save(folder: Path, name: str, iteration: int, content: dict[str, Any]) -> None:
    """Write tensors and plain values; then older checkpoints but one are removed."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getbuffer()
    with atomic(folder / f"{name}.{iteration:09d}.pt") as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(payload).digest())
        file.write(payload)
    for path in _newest_first(folder, name)[_KEPT:]:
        path.unlink()


def load(folder: Path, name: str, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None.

    One that is not is set aside under another name, with a warning, for whoever wants to know.
    """
    for path in _newest_first(folder, name):
        stored = memoryview(path.read_bytes())
        digest, payload = bytes(stored[:_DIGEST]), stored[_DIGEST:]
        if hashlib.sha256(payload).digest() == digest:
            content: dict[str, Any] = torch.load(
                io.BytesIO(payload), map_location=device, weights_only=True
            )
            return content
        aside = path.with_name(path.name + SET_ASIDE)
        path.replace(aside)
        _logger.warning("%s is damaged and is not used; it is kept as %s", path, aside.name)
    return None


def _newest_first(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}.*.pt"), reverse=True)
