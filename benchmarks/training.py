"""Our training loop beside a plain textbook loop and the arithmetic limit; and what grows how.

For each data set's networks and settings, on made images of its shape. Each case is measured in a
process of its own, one after another, so that memory does not add up and nothing competes; within
a case, loops take turns, so that a machine that drifts harms them alike. Prints tables, and
writes them as JSON, of which `make bench-docs` makes docs/benchmarks.md.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import page
from machine import RESULTS, ROOT, machine

from infogan.pipeline_registry import DATASETS

BATCH_SIZES = (32, 64, 128, 256, 512)  # with the networks of MNIST
LENGTHS = (10_000, 100_000, 1_000_000, 2_000_000)  # images of 3x32x32, with those of SVHN
SEEDS = (1, 2, 4)  # with the networks of digits
SEED_ITERATIONS = 200
PIPELINE_ITERATIONS = 250  # one evaluation and one checkpoint
COMMANDS = ("registry list", "run --env=smoke --pipelines=digits.ingestion")
STARTS = 3

Run = Callable[..., dict[str, Any]]


def in_child(case: str, **arguments: Any) -> dict[str, Any]:
    """What a case finds in a fresh process."""
    print(case, *arguments.values(), file=sys.stderr, flush=True)
    command = [sys.executable, str(Path(__file__).with_name("cases.py"))]
    child = subprocess.run(
        [*command, json.dumps({"case": case} | arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        sys.exit(f"{case} {arguments}: {child.stderr[-2000:]}")
    return json.loads(child.stdout.splitlines()[-1])


def loops(run: Run, datasets: list[str], iterations: int | None) -> dict[str, Any]:
    """Ours and the textbook's for each data set."""
    found = {}
    for dataset in datasets:
        found[dataset] = run("compare", dataset=dataset, iterations=iterations)
        theirs = run("alone", dataset=dataset, loop="textbook", iterations=1)
        found[dataset]["textbook"]["peak_mb"] = theirs["peak_mb"]
        found[dataset]["products_ms"] = run("products", dataset=dataset)["ms"]
    return found


def growth_in_batch_size(run: Run, iterations: int | None) -> dict[str, Any]:
    """Ours with small and large batches."""
    return {
        str(size): run("alone", dataset="mnist", iterations=iterations, batch_size=size)
        for size in BATCH_SIZES
    }


def growth_in_images(run: Run, iterations: int | None, folder: Path) -> dict[str, Any]:
    """Ours from files of any length; a length that the disk may not hold is left out."""
    found = {}
    for length in LENGTHS:
        # The files are sparse, but a file system need not know that.
        if shutil.disk_usage(folder).free < length * 3 * 32 * 32 + (1 << 30):
            print(f"{length:,} images: the disk is too full", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found[str(length)] = run(
                "alone", dataset="svhn", iterations=iterations, images=length, folder=place
            )
    return found


def growth_in_seeds(run: Run, iterations: int | None) -> dict[str, Any]:
    """The training node with several seeds."""
    each = iterations or SEED_ITERATIONS
    return {
        str(count): run("seeds", dataset="digits", count=count, iterations=each) for count in SEEDS
    }


def start_up() -> dict[str, float]:
    """Wall seconds of commands in the project, the median of a few."""
    kedro = str(Path(sys.executable).parent / "kedro")
    environment = os.environ | {"INFOGAN_TRACKING": "0"}

    def seconds(command: str) -> float:
        began = time.perf_counter()
        subprocess.run(
            [kedro, *command.split()], cwd=ROOT, check=True, capture_output=True, env=environment
        )
        return time.perf_counter() - began

    return {
        f"kedro {command}": statistics.median(seconds(command) for _ in range(STARTS))
        for command in COMMANDS
    }


def measure(run: Run, datasets: list[str], iterations: int | None, folder: Path) -> dict[str, Any]:
    """Everything, one case after another."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    return {
        "machine": machine(),
        "nothing": run("nothing"),
        "loops": loops(run, datasets, iterations),
        "choices": run("choices", dataset="mnist", iterations=iterations),
        "arithmetic": run("arithmetic", dataset="mnist", iterations=iterations),
        "growth": {
            "batch_size": growth_in_batch_size(run, iterations),
            "images": growth_in_images(run, iterations, folder),
            "seeds": growth_in_seeds(run, iterations),
            "seed_iterations": iterations or SEED_ITERATIONS,
        },
        "pipeline": run(
            "pipeline", dataset="mnist", iterations=max(2, iterations or PIPELINE_ITERATIONS)
        ),
        "start_up_seconds": start_up(),
        "iterations": iterations,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument(
        "--iterations", type=int, help="of each loop and block; left out: as many as take seconds"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "training.json")
    arguments = parser.parse_args()
    path = arguments.json.resolve()
    found = measure(in_child, arguments.datasets, arguments.iterations, path.parent)
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(page.tables(found))
    print(f"\n{found['seconds']:.0f} s; written to {path}")


if __name__ == "__main__":
    main()
