"""The node `fit` in a process of its own, without kedro, and told of from outside."""

import json
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from infogan import tracking
from infogan.datasets import ArraysDataset
from infogan.options import Model, Training
from infogan.pipelines.training import nodes

SLOW_TO_LOAD = [
    "infogan.alarms",
    "infogan.datasets",
    "infogan.distributed",
    "infogan.information",
    "infogan.training",
    "sklearn.cluster",
    "torch._dynamo",
    "tqdm",
]
SLOW_DISK = 0.05  # seconds a write takes, so that a kill can meet it


class _Watched(tracking.Tracker):
    """Tells the iteration of each row."""

    def __init__(self, told: Connection) -> None:
        self._told = told

    def log_row(self, name: str, columns: Any, row: Any) -> None:  # noqa: ARG002
        self._told.send(int(row[0] or 0))


def fit(data: Path, blocks: dict[str, Any], told: Connection) -> None:
    """Train digits as `kedro run` does, on a slow disk."""
    torch.set_num_threads(1)
    fsync = os.fsync

    def slowly(file: int) -> None:
        time.sleep(SLOW_DISK)
        fsync(file)

    os.fsync = slowly  # type: ignore[assignment]
    tracking.activate(_Watched(told))
    folder = data / "05_model_input" / "digits"
    nodes.fit(
        ArraysDataset(str(folder), "images").load(),
        json.loads((folder / "card.json").read_text()),
        data / "06_checkpoints" / "digits",
        Model.model_validate(blocks["model"]),
        Training.model_validate(blocks["training"]),
    )
