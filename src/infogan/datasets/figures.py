"""Matplotlib figures as PNG files of one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from infogan.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FiguresDataset(AbstractDataset["Mapping[str, Figure]", dict[str, bytes]]):
    """Saves ``{name: figure}`` as ``<path>/<name>.png``; loads ``{name: PNG bytes}``.

    Other files of the folder stay as they are, but PNGs of another name are removed, so that no
    figure of an earlier configuration remains among the new ones.
    """

    def __init__(self, path: str) -> None:
        self._folder = Path(path)

    def save(self, data: "Mapping[str, Figure]") -> None:
        """Write every figure at its own resolution, each whole or not at all."""
        for name, figure in data.items():
            with atomic(self._folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi="figure")
        for path in self._files():
            if path.stem not in data:
                path.unlink()

    def load(self) -> dict[str, bytes]:
        """The PNG files, by name without the suffix."""
        return {path.stem: path.read_bytes() for path in self._files()}

    def _files(self) -> list[Path]:
        """The PNG files, but not one that a killed process has left unfinished."""
        return sorted(self._folder.glob("[!.]*.png"))

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self._folder

    def _exists(self) -> bool:
        return bool(self._files())

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._folder)}
