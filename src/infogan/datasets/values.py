"""The nouns that travel between nodes. Node signatures name them, so numpy is all they need."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from infogan.options import Source


@dataclass(frozen=True)
class Factor:
    """A known factor of variation: its name, and what its numbers are."""

    name: str
    kind: Literal["linear", "circular", "binary"]  # circular: degrees, 360 is 0
    of_object: bool = False  # the same in all images of one object, of which there are several


@dataclass(frozen=True)
class RawSplit:
    """One split as distributed: images, read when asked for, and what is known of each.

    ``images[i]`` raises ``Rejected`` if this one image cannot be used. Unless they are an array,
    images must be picklable, since several processes read them.
    """

    images: Sequence[np.ndarray] | np.ndarray  # uint8 (C, H, W) each
    labels: np.ndarray | None  # int64 (N,)
    factors: np.ndarray | None = None  # float32 (N, F)
    # What each image is called, if not by its number; of one name in two splits is one image.
    names: Sequence[str] | None = None
    isolated: bool = False  # read in processes of their own: graphics and torch do not go together


@dataclass(frozen=True)
class RawImages:
    """All splits of a raw data set, by the names their authors gave them.

    ``origin`` says what was opened: names, and hashes of contents or sizes; and, as
    ``class_names``, what classes are called that are no numbers. ``stamp`` changes when a file
    without a hash is written again; results do not show it, since it has to do with dates.
    """

    splits: Mapping[str, RawSplit]
    factors: tuple[Factor, ...] = ()
    origin: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    stamp: str = ""


RawReader = Callable[[Source], RawImages]


@dataclass(frozen=True)
class Arrays:
    """Arrays by split (``train``, ``test``), read-only and memory-mapped when loaded.

    As images: uint8 (N, C, H, W). As labels: int64 (N,). As factors: float32 (N, F).
    """

    splits: Mapping[str, np.ndarray]

    def __getitem__(self, split: str) -> np.ndarray:
        return self.splits[split]


@dataclass(frozen=True)
class Weights:
    """Named arrays, and a card of plain values from which alone the model can be rebuilt."""

    arrays: Mapping[str, np.ndarray]
    card: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of names and arrays, by which other files say to which weights they belong."""
        found = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}\n".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


@dataclass(frozen=True)
class Rows:
    """Column names, and one row of numbers per record; None where nothing was measured."""

    columns: tuple[str, ...]
    rows: list[tuple[float | None, ...]]

    def column(self, name: str) -> np.ndarray:
        """One column as float64 (N,), NaN where nothing was measured."""
        place = self.columns.index(name)
        return np.array([np.nan if r[place] is None else r[place] for r in self.rows], float)
