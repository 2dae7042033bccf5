"""The nouns that travel between nodes. Node signatures name them, so numpy is all they need."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RawSplit:
    """One split as distributed: images, read when asked for, and labels if there are any."""

    images: Sequence[np.ndarray] | np.ndarray  # uint8 (C, H, W) each
    labels: np.ndarray | None  # int64 (N,)


@dataclass(frozen=True)
class RawImages:
    """All splits of a raw data set, by the names their authors gave them."""

    splits: Mapping[str, RawSplit]


@dataclass(frozen=True)
class ArrayStream:
    """An array too large to hold: its final shape, and its rows one at a time."""

    shape: tuple[int, ...]
    dtype: str
    rows: Iterator[np.ndarray]


@dataclass(frozen=True)
class Arrays:
    """Arrays by split (``train``, ``test``), read-only and memory-mapped when loaded.

    As images: uint8 (N, C, H, W). As labels: int64 (N,).
    """

    splits: Mapping[str, np.ndarray | ArrayStream]

    def __getitem__(self, split: str) -> np.ndarray:
        array = self.splits[split]
        assert isinstance(array, np.ndarray), f"{split} has not been saved and loaded yet"
        return array


@dataclass(frozen=True)
class Weights:
    """Named arrays, and a card of plain values from which alone the model can be rebuilt."""

    arrays: Mapping[str, np.ndarray]
    card: Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """Column names, and one row of numbers per record; None where nothing was measured."""

    columns: tuple[str, ...]
    rows: list[tuple[float | None, ...]]

    def column(self, name: str) -> np.ndarray:
        """One column as float64 (N,), NaN where nothing was measured."""
        place = self.columns.index(name)
        return np.array([np.nan if r[place] is None else r[place] for r in self.rows], float)
