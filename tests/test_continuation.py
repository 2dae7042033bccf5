"""In which run of MLflow a training goes on."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset

from infogan import checkpoint
from infogan.continuation import SIDECAR, forget, interrupted_run, note_training
from infogan.options import Model, Training, fingerprint


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [((9, 300), "300"), ((30, 300), "300"), ((100, 300), "100"), ((9, 40), None)],
)
def test_a_training_goes_on_in_the_shortest_run_that_reached_its_checkpoint(
    tmp_path: Path,
    make_training: Callable[..., Training],
    lengths: tuple[int, ...],
    expected: str | None,
) -> None:
    sidecar = tmp_path / SIDECAR
    noted = [{"seeds": [0], "iterations": length, "run_id": str(length)} for length in lengths]
    sidecar.write_text(json.dumps({"runs": noted}))
    for seed, iteration in product((0, 1), (20, 50, 400)):  # the last of a longer training
        (tmp_path / f"infogan.{seed}.{iteration:09}.pt").touch()
    (tmp_path / "infogan.0.000000300.backup.pt").touch()  # somebody's copy
    assert interrupted_run(sidecar, make_training(iterations=300)) == expected
    assert interrupted_run(sidecar, make_training(iterations=300, seeds=[1])) is None


def test_a_shorter_training_leaves_a_longer_one_its_run(
    tmp_path: Path, make_training: Callable[..., Training]
) -> None:
    """Though it begins with an earlier checkpoint of the longer one."""
    sidecar = tmp_path / SIDECAR
    note_training(sidecar, make_training(iterations=300), "longer")
    for iteration in (0, 20):
        (tmp_path / f"infogan.0.{iteration:09}.pt").touch()
    assert interrupted_run(sidecar, make_training(iterations=9)) is None
    for iterations in (20, 30, 300):
        assert interrupted_run(sidecar, make_training(iterations=iterations)) == "longer"
    note_training(sidecar, make_training(iterations=9), "shorter")
    assert interrupted_run(sidecar, make_training(iterations=9)) == "shorter"
    assert interrupted_run(sidecar, make_training(iterations=300)) == "longer"


@pytest.mark.parametrize(
    ("trained", "left"),
    [
        ({"toy.record"}, ["baseline.0.000000010.pt", "infogan.0.000000400.pt"]),
        ({"toy.baseline_record"}, ["infogan.0.000000010.pt", "infogan.0.000000400.pt"]),
        ({"toy.record", "toy.baseline_record"}, ["infogan.0.000000400.pt"]),
    ],
)
def test_what_is_trained_needs_no_checkpoint_any_longer_and_nothing_else_loses_its_own(
    tmp_path: Path,
    model: Model,
    make_training: Callable[..., Training],
    trained: set[str],
    left: list[str],
) -> None:
    training = make_training(iterations=300, baseline_iterations=300)
    values = {
        "toy.card": {"splits": {"train": {"sha256": "abc"}}},
        "params:toy.model": model,
        "params:toy.training": training,
        "toy.checkpoints": tmp_path,
    }
    folder = tmp_path / fingerprint(model, training, "abc")
    for name, iteration in (("infogan.0", 10), ("infogan.0", 400), ("baseline.0", 10)):
        checkpoint.save(folder, name, iteration, {})
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in values.items()})
    note_training(folder / SIDECAR, training, "its run")
    forget("toy", catalog, trained)
    assert sorted(path.name for path in folder.glob("*.pt")) == left
    waits = "toy.record" not in trained
    assert interrupted_run(folder / SIDECAR, training) == ("its run" if waits else None)
