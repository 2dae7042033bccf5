"""A checkpoint is whole, or it is as if it were not there."""

from pathlib import Path
from typing import Any

import pytest
import torch

from infogan import checkpoint

CPU = torch.device("cpu")


def content(value: float) -> dict[str, Any]:
    return {
        "networks": {"weight": torch.full((300, 100), value), "count": torch.tensor(3)},
        "random": torch.Generator().manual_seed(1).get_state(),
        "iteration": 12,
        "rows": [(1, 0.5, None)],
        "fingerprint": "abc",
    }


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "new" / "state.pt", content(0.1))
    found = checkpoint.load(tmp_path / "new" / "state.pt", CPU)
    assert found is not None
    expected = content(0.1)
    for name, tensor in expected.pop("networks").items():
        assert torch.equal(found["networks"].pop(name), tensor)
    assert found.pop("networks") == {}
    assert torch.equal(found.pop("random"), expected.pop("random"))
    assert found == expected


def test_where_nothing_was_saved_there_is_nothing_to_load(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "state.pt", CPU) is None


def test_a_newer_checkpoint_replaces_the_older(tmp_path: Path) -> None:
    for value in (0.1, 0.2):
        checkpoint.save(tmp_path / "state.pt", content(value))
    found = checkpoint.load(tmp_path / "state.pt", CPU)
    assert found is not None
    assert torch.equal(found["networks"]["weight"], torch.full((300, 100), 0.2))
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_failed_save_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "state.pt", content(0.1))
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(Exception, match="local object"):
        checkpoint.save(tmp_path / "state.pt", {"iteration": lambda: 0})
    assert (tmp_path / "state.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.6, 0.9, 0.999])
def test_a_truncated_checkpoint_is_as_none(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save(path, content(0.1))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert checkpoint.load(path, CPU) is None


def test_a_file_that_is_no_checkpoint_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_text("hello")
    assert checkpoint.load(path, CPU) is None


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"path": Path("somewhere")}, path)  # needs a class of its own to be built
    assert checkpoint.load(path, CPU) is None
