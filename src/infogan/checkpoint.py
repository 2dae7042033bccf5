"""A training state to disk and back, whole or not at all."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from infogan.files import atomic


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; an older checkpoint stays until the new one is on disk."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What ``save`` wrote, or None where there is nothing readable to continue from."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError):
        return None
    return content
