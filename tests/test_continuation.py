"""In which run of MLflow a training goes on."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from infogan.continuation import SIDECAR, interrupted_run
from infogan.options import Training


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
    assert interrupted_run(sidecar, make_training(iterations=300)) == expected
    assert interrupted_run(sidecar, make_training(iterations=300, seeds=[1])) is None
