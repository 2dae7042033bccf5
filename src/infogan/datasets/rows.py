"""A table of numbers as CSV."""

import csv
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from infogan.datasets.values import Rows
from infogan.errors import UserError
from infogan.files import atomic


class RowsDataset(AbstractDataset[Rows, Rows]):
    """Numbers with seven significant digits, the precision of float32, whole ones with all of
    theirs; empty where None.
    """

    def __init__(self, filepath: str) -> None:
        self._path = Path(filepath)

    def save(self, data: Rows) -> None:
        """Write header and rows."""
        with atomic(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(data.columns)
            for row in data.rows:
                writer.writerow(map(_text, row))

    def load(self) -> Rows:
        """Read what ``save`` wrote."""
        if not self._path.exists():
            raise UserError(f"{self._path} is missing: run the stage that writes it first.")
        try:
            with self._path.open(newline="") as file:
                header, *rows = csv.reader(file, strict=True)
            cells = [tuple(float(cell) if cell else None for cell in row) for row in rows]
            if any(len(row) != len(header) for row in cells):
                raise ValueError(f"not every row has {len(header)} cells")
        except (ValueError, csv.Error) as error:
            raise UserError(f"{self._path} is not a table of numbers: {error}.") from None
        return Rows(tuple(header), cells)

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self._path

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


def _text(cell: float | None) -> str:
    if cell is None:
        return ""
    return str(cell) if isinstance(cell, int) else f"{cell:.7g}"
