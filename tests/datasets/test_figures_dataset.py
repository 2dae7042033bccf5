from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure

from infogan.datasets import FiguresDataset

PNG = b"\x89PNG\r\n\x1a\n"


def figure(dpi: int = 50, value: float = 0.5) -> Figure:
    made = Figure(figsize=(2, 1), dpi=dpi)
    made.add_axes((0, 0, 1, 1)).imshow(np.full((4, 8), value), vmin=0, vmax=1)
    return made


class Unfinished:
    """Writes half a file, then fails."""

    def savefig(self, path: Path, dpi: str) -> None:
        assert dpi == "figure"
        path.write_bytes(PNG + b"half")
        raise MemoryError("no memory for the canvas")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What it holds in the end has no temporary files."""
    made = tmp_path / "reporting"
    yield made
    assert not list(made.glob(".*"))


def test_figures_are_saved_as_png_files_of_their_names(folder: Path) -> None:
    dataset = FiguresDataset(str(folder))
    assert not dataset.exists()
    dataset.save({"traversal_c1": figure(), "samples": figure(value=0.9)})
    assert dataset.exists()
    assert dataset.path == folder
    found = dataset.load()
    assert list(found) == ["samples", "traversal_c1"]
    for name, content in found.items():
        assert content == (folder / f"{name}.png").read_bytes()
        assert content.startswith(PNG)
    assert found["samples"] != found["traversal_c1"]


@pytest.mark.parametrize("dpi", [50, 200])
def test_every_figure_keeps_its_own_resolution(folder: Path, dpi: int) -> None:
    FiguresDataset(str(folder)).save({"a": figure(dpi)})
    content = (folder / "a.png").read_bytes()
    size = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    assert size == (2 * dpi, dpi)


def test_the_same_figure_gives_the_same_bytes(folder: Path) -> None:
    dataset = FiguresDataset(str(folder))
    dataset.save({"a": figure()})
    before = dataset.load()
    dataset.save({"a": figure()})
    assert dataset.load() == before


def test_figures_of_an_earlier_configuration_go_and_other_files_stay(folder: Path) -> None:
    dataset = FiguresDataset(str(folder))
    dataset.save({"traversal_c3": figure(), "samples": figure()})
    for name in ("report.html", "history.csv", "notes.txt"):
        (folder / name).write_text("kept")
    dataset.save({"samples": figure()})
    found = {path.name for path in folder.iterdir()}
    assert found == {"samples.png", "report.html", "history.csv", "notes.txt"}


def test_a_figure_that_cannot_be_drawn_leaves_the_old_ones(folder: Path) -> None:
    dataset = FiguresDataset(str(folder))
    dataset.save({"a": figure(), "b": figure()})
    before = dataset.load()
    with pytest.raises(DatasetError, match="no memory for the canvas"):
        dataset.save({"a": Unfinished()})  # type: ignore[dict-item]
    assert dataset.load() == before


def test_a_folder_of_other_files_holds_no_figures(folder: Path) -> None:
    folder.mkdir()
    (folder / "report.html").write_text("kept")
    assert not FiguresDataset(str(folder)).exists()
    assert FiguresDataset(str(folder)).load() == {}
