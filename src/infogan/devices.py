"""Where it is computed, and how exactly."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from infogan.errors import UserError
from infogan.options import Training


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; UserError if ``cuda`` is asked for without one.

    A seed gives other numbers on other devices.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise UserError(
            "The parameters have device cuda, but torch finds no NVIDIA GPU here: write auto or "
            "cpu."
        )
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def configure(training: Training) -> None:
    """Set what torch knows once a process: how exact, and whether the same every time."""
    fast = training.precision != "float32"
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.allow_tf32 = fast
    torch.backends.cudnn.benchmark = not training.deterministic
    if training.deterministic:  # or cuBLAS refuses
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(training.deterministic)


def exact() -> None:
    """Full float32, whatever a training has had that this process has seen before."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def stream(device: torch.device) -> AbstractContextManager[Any]:
    """A new queue of work on a GPU, to be entered again and again; on a CPU there is but one."""
    if device.type != "cuda":
        return nullcontext()
    own = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    own.wait_stream(torch.cuda.current_stream(device))  # for what was prepared before
    found: AbstractContextManager[Any] = torch.cuda.stream(own)
    return found
