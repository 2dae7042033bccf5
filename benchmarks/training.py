"""What the pipeline costs around the bare training loop, and how long commands take to start.

Everything is measured in one process on one machine, with the networks and settings of
conf/base/parameters_mnist.yml, on random images of MNIST's shape (the arithmetic does not depend
on what they show). Prints a table and one line of JSON.
"""

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from infogan import tracking
from infogan.batches import resident
from infogan.datasets.values import Arrays
from infogan.devices import choose_device
from infogan.options import Model, Training
from infogan.pipelines.training.nodes import fit
from infogan.training import infogan, start, train

ROOT = Path(__file__).parents[1]


def _processor() -> str:
    """The CPU's name where the system tells it, and its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except FileNotFoundError:
        names = [platform.processor() or platform.machine()]
    return f"{names[0]}, {os.cpu_count()} cores"


def options(iterations: int) -> tuple[Model, Training]:
    """The paper's settings for MNIST."""
    written = yaml.safe_load((ROOT / "conf/base/parameters_mnist.yml").read_text())["mnist"]
    training = written["training"] | {"iterations": iterations}
    return Model.model_validate(written["model"]), Training.model_validate(training)


def bare(model: Model, training: Training, images: np.ndarray, iterations: int) -> float:
    """Seconds an iteration of the loop alone: no row is looked at, nothing is saved."""
    device = choose_device(training.device)
    state = start(model, training, images.shape[1:], device)
    steps = train(state, infogan(model, training), resident(images, device))
    next(steps)
    began = time.perf_counter()
    for _ in range(iterations):
        numbers = next(steps)
    numbers.sum().item()  # wait for the device
    return (time.perf_counter() - began) / iterations


def pipeline(images: np.ndarray, iterations: int, folder: Path) -> float:
    """Seconds an iteration of the node: history, L_I on fresh codes, checkpoint, MLflow.

    Measured as the continuation of a training of one iteration, so that what happens once (start,
    the untrained model's row) is not counted.
    """
    card: dict[str, Any] = {
        "shape": list(images.shape[1:]),
        "splits": {"train": {"sha256": "of random images"}},
    }
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    tracker = tracking.open_run(uri, (folder / "artifacts").as_uri(), "bench", "bench", None)
    tracking.activate(tracker)
    arrays = Arrays({"train": images})
    fit(arrays, card, folder, *options(1))
    began = time.perf_counter()
    fit(arrays, card, folder, *options(iterations))
    seconds = time.perf_counter() - began
    tracking.current().end("FINISHED")
    tracking.activate(tracking.Tracker())
    return seconds / (iterations - 1)


def command_seconds(*command: str) -> float:
    """Wall time of a command in the project."""
    began = time.perf_counter()
    environment = os.environ | {"INFOGAN_TRACKING": "0"}
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environment)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=250, help="of each loop")
    iterations = parser.parse_args().iterations
    logging.basicConfig(level=logging.WARNING)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6000, 1, 28, 28), dtype=np.uint8)

    with tempfile.TemporaryDirectory() as folder:
        # Bare before and after, since a shared machine drifts.
        first = bare(*options(1), images, iterations)
        inside = pipeline(images, iterations, Path(folder))
        second = bare(*options(1), images, iterations)
    outside = (first + second) / 2
    kedro = str(Path(sys.executable).parent / "kedro")
    device = choose_device("auto")
    results = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "iterations": iterations,
        "bare_ms_per_iteration": round(1000 * outside, 1),
        "bare_drift": round(second / first, 3),
        "pipeline_ms_per_iteration": round(1000 * inside, 1),
        "pipeline_to_bare": round(inside / outside, 3),
        "registry_list_seconds": round(command_seconds(kedro, "registry", "list"), 2),
        "ingest_digits_smoke_seconds": round(
            command_seconds(kedro, "run", "--env=smoke", "--pipelines=digits.ingestion"), 2
        ),
    }
    width = max(len(name) for name in results)
    for name, value in results.items():
        print(f"{name:{width}}  {value}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
