from pathlib import Path

import pytest
from kedro.io import DatasetError

from infogan.datasets import FolderDataset


def test_loading_gives_the_path_of_a_folder_that_exists(tmp_path: Path) -> None:
    dataset = FolderDataset(str(tmp_path / "06_checkpoints" / "mnist"))
    assert dataset.load() == tmp_path / "06_checkpoints" / "mnist"
    assert dataset.load().is_dir()


def test_loading_again_leaves_the_files_in_it(tmp_path: Path) -> None:
    dataset = FolderDataset(str(tmp_path / "mnist"))
    (dataset.load() / "state.pt").write_text("kept")
    assert (dataset.load() / "state.pt").read_text() == "kept"


def test_a_folder_always_exists_for_those_who_ask(tmp_path: Path) -> None:
    assert FolderDataset(str(tmp_path / "not yet")).exists()


def test_a_folder_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a folder is not saved; its user writes into it"):
        FolderDataset(str(tmp_path)).save(tmp_path)  # type: ignore[arg-type]
