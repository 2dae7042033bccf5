"""Which training goes on, and in which run of MLflow: notes beside the checkpoints.

Trainings that differ in seeds or length alone share a folder of checkpoints. One may wait there,
interrupted, while another is made, so the note has a run for each.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol

from infogan.files import atomic, remove_empty
from infogan.options import Training, fingerprint

SIDECAR = "mlflow_run.json"  # beside the checkpoints: which run they belong to


def identity(dataset: str, inputs: dict[str, Any]) -> str:
    """The fingerprint of a dataset's training, by which the folder of its checkpoints is named."""
    return fingerprint(
        inputs[f"params:{dataset}.model"],
        inputs[f"params:{dataset}.training"],
        inputs[f"{dataset}.card"]["splits"]["train"]["sha256"],
    )


def interrupted_run(sidecar: Path, training: Training) -> str | None:
    """The run whose training was interrupted, if there is a checkpoint to continue from."""
    from infogan.checkpoint import reached

    every = {
        iteration
        for seed in training.seeds
        for iteration in reached(sidecar.parent, f"infogan.{seed}")
    }
    found = {iteration for iteration in every if iteration <= training.iterations}

    def goes_on(run: dict[str, Any]) -> bool:
        """The length may be another than before, but the run has come as far as its checkpoints.
        One that has come further than is now wanted waits for its own length.
        """
        came_further = any(iteration <= run["iterations"] for iteration in every - found)
        return bool(found) and run["iterations"] >= max(found) and not came_further

    runs = [
        run
        for run in _noted(sidecar).get("runs", [])
        if run["seeds"] == list(training.seeds) and goes_on(run)
    ]
    return min(runs, key=lambda run: run["iterations"])["run_id"] if runs else None


def noted_run(sidecar: Path) -> str | None:
    """The run of a study, if there has been one."""
    return _noted(sidecar).get("run_id")


def note_training(sidecar: Path, training: Training, run_id: str) -> None:
    """Add the run of a training that begins or goes on."""
    others = [run for run in _waiting(sidecar, training) if run["run_id"] != run_id]
    own = {"seeds": list(training.seeds), "iterations": training.iterations, "run_id": run_id}
    _write(sidecar, {"runs": [*others, own]})


def note_study(sidecar: Path, run_id: str) -> None:
    """Note the run of a study, which has but one, however often it is gone on with."""
    _write(sidecar, {"run_id": run_id})


def forget(dataset: str, catalog: CatalogProtocol, outputs: Collection[str]) -> None:
    """Remove the checkpoints of what is now trained, InfoGAN or the regular GAN, and of no other.

    Those of seeds and iterations that it did not reach belong to one that may still go on.
    ``outputs`` are those of the run.
    """
    from infogan.checkpoint import discard

    folder = catalog.load(f"{dataset}.checkpoints")
    names = [f"{dataset}.card", f"params:{dataset}.model", f"params:{dataset}.training"]
    inputs = {name: catalog.load(name) for name in names}
    own = folder / identity(dataset, inputs)
    training: Training = inputs[f"params:{dataset}.training"]
    finished: dict[str, int] = {}
    if f"{dataset}.record" in outputs:
        finished |= {f"infogan.{seed}": training.iterations for seed in training.seeds}
    if f"{dataset}.baseline_record" in outputs:
        finished[f"baseline.{training.seed}"] = training.baseline_iterations
    for label, iterations in finished.items():
        discard(own, label, iterations)
    if any(own.glob("*.pt")):
        if f"{dataset}.record" in outputs:  # else InfoGAN, whose run it is, may be waiting
            _write(own / SIDECAR, {"runs": _waiting(own / SIDECAR, training)})
    else:
        (own / SIDECAR).unlink(missing_ok=True)
    remove_empty(own, folder)


def _waiting(sidecar: Path, training: Training) -> list[dict[str, Any]]:
    """The noted runs of trainings with other seeds or of another length."""
    own = (list(training.seeds), training.iterations)
    runs = _noted(sidecar).get("runs", [])
    return [run for run in runs if (run["seeds"], run["iterations"]) != own]


def _noted(sidecar: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = json.loads(sidecar.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return noted


def _write(sidecar: Path, noted: dict[str, Any]) -> None:
    with atomic(sidecar) as temporary:
        temporary.write_text(json.dumps(noted))
