"""Quantities that change while a model trains: ``0.1 to 0 until 2000``."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_LINE = re.compile(rf"({_NUMBER}) to ({_NUMBER})(?: from (\d+))? until (\d+)")


@dataclass(frozen=True)
class Schedule:
    """One value up to an iteration, another from a later one on, and a straight line between."""

    start: float
    end: float
    first: int
    last: int

    def at(self, clock: "Tensor") -> "Tensor":
        """The value after ``clock`` iterations; a tensor, so that nobody waits for a GPU."""
        done = ((clock - self.first) / (self.last - self.first)).clamp(0, 1)
        return self.start + (self.end - self.start) * done

    def __str__(self) -> str:
        # Every digit, since cards and fingerprints keep this text; 2 rather than 2.0.
        start, end = (repr(value).removesuffix(".0") for value in (self.start, self.end))
        begins = f" from {self.first}" if self.first else ""
        return f"{start} to {end}{begins} until {self.last}"


Amount = float | Schedule


def at(amount: Amount, clock: "Tensor") -> "float | Tensor":
    """The value of a constant or scheduled quantity after ``clock`` iterations."""
    return amount.at(clock) if isinstance(amount, Schedule) else amount


def largest(amount: Amount) -> float:
    """The largest value that the quantity ever has."""
    return max(amount.start, amount.end) if isinstance(amount, Schedule) else amount


def parse_amount(value: object) -> Amount:
    """Read a number, 0 or larger, or a line such as ``0.3 to 0.1 from 500 until 2000``."""
    if isinstance(value, Schedule):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{value!r} is not a number of 0 or more")
        return float(value)
    found = _LINE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(
            f"{value!r} is not understood: write a number such as 2.0e-4, without quotes, or "
            "'A to B until ITERATION', or 'A to B from ITERATION until ITERATION'"
        )
    schedule = Schedule(float(found[1]), float(found[2]), int(found[3] or 0), int(found[4]))
    if largest(schedule) == float("inf"):
        raise ValueError(f"{value!r} goes beyond the largest number that there is")
    if schedule.first >= schedule.last:
        raise ValueError(f"{value!r} ends before it begins: the second iteration must be larger")
    return schedule


def write_amount(amount: Amount) -> float | str:
    """As it is written in a parameter file."""
    return str(amount) if isinstance(amount, Schedule) else amount
