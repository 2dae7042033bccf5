"""On a GPU: our training loop, recorded and not, beside a plain textbook loop; and several seeds.

For each data set's networks and settings, on made images of its shape. Loops of a data set take
turns. Prints tables, and writes what they are made of as JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import page
import torch
from cases import IMAGES, node, options, random_images, seconds_of, textbook
from choices import CONSISTENCY, compile_parts
from machine import RESULTS, machine
from torch.profiler import ProfilerActivity, profile

from infogan.clustering import frozen
from infogan.devices import configure, stream
from infogan.networks import build
from infogan.options import Training
from infogan.pipeline_registry import DATASETS
from infogan.training import infogan, start, train

GPU = torch.device("cuda")
ROUNDS = 3
SECONDS = 0.2  # of each loop in each round
PRODUCT = 8192  # rows and columns of the matrices whose product tells the card's rate
ORDERED = ("mnist", "svhn")
SEEDS = (1, 2, 4)
COMPILED = ("float32", "tf32", "bfloat16")  # precisions
PROFILED = 20  # iterations
TOP = 12  # kinds of kernels
LENGTH = 5000  # iterations of the paper's MNIST run

EAGER = {"cuda_graph": False}
HALF = {"precision": "bfloat16"}
LOOPS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, not recorded": EAGER,
    "tf32": {"precision": "tf32"},
    "bfloat16": HALF,
}
# Extensions, whose D/Q step has more to do. Of the clustering, how the teacher came to be does not
# matter here.
CLUSTERING = {
    "code": "c1",
    "weight": 1.0,
    "iterations": 1,
    "refinements": 0,
    "lr": 1e-3,
    "temperature": 0.5,
    "certainty": 0.3,
    **{name: CONSISTENCY[name] for name in ("rotation", "scale", "shear", "shift")},
}
EXTENDED: dict[str, dict[str, Any]] = {
    "clustering": {"clustering": CLUSTERING},
    "clustering, bfloat16": {"clustering": CLUSTERING, **HALF},
    "consistency": {"consistency": CONSISTENCY},
    "consistency, bfloat16": {"consistency": CONSISTENCY, **HALF},
}


def loop(
    dataset: str,
    images: np.ndarray,
    *,
    channels_last: bool | None = None,
    compiled: bool = False,
    **changes: Any,
) -> tuple[Training, Iterator[Any]]:
    """Ours with some settings changed, begun; with another order of channels; or compiled."""
    model, training, shape = options(dataset, **changes)
    configure(training)
    state = start(model, training, shape, GPU)
    if channels_last is not None:
        order = torch.channels_last if channels_last else torch.contiguous_format
        state.networks.to(memory_format=order)  # type: ignore[call-overload]
    if compiled:
        compile_parts(state.networks)
    if training.clustering:
        state.teacher = frozen(build(model, shape, seed=0).discriminator.to(GPU))
    steps = train(state, infogan(model, training), torch.from_numpy(images).to(GPU))
    seconds_of(steps, 3, GPU)
    return training, steps


def in_turn(loops: dict[str, tuple[Training, Iterator[Any]]]) -> dict[str, dict[str, float]]:
    """Median, fastest and slowest ms an iteration over rounds in which all take turns."""
    counts = {}
    for name, (training, steps) in loops.items():
        configure(training)
        counts[name] = max(2, min(1000, round(SECONDS / seconds_of(steps, 2, GPU))))
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, (training, steps) in loops.items():
            configure(training)
            found[name].append(1e3 * seconds_of(steps, counts[name], GPU))
    return {
        name: {"ms": statistics.median(each), "fastest": min(each), "slowest": max(each)}
        for name, each in found.items()
    }


def compare(dataset: str) -> dict[str, Any]:
    """All loops of a data set, and the memory of the card that the recorded one needs."""
    model, training, shape = options(dataset)
    images = random_images(IMAGES, shape)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loops = {"float32": loop(dataset, images)}
    memory = torch.cuda.max_memory_allocated() - before
    loops |= {name: loop(dataset, images, **LOOPS[name]) for name in LOOPS if name not in loops}
    loops["textbook"] = (training, textbook(model, training, images, GPU))
    seconds_of(loops["textbook"][1], 3, GPU)
    return {"batch_size": training.batch_size, "memory_mb": memory / 1e6, "loops": in_turn(loops)}


def orders(dataset: str) -> dict[str, dict[str, float]]:
    """Channels side by side, as ours has them, or one after another."""
    images = random_images(IMAGES, options(dataset)[2])
    return in_turn(
        {
            f"{precision}, {order}": loop(dataset, images, channels_last=last, precision=precision)
            for precision in ("float32", "tf32", "bfloat16")
            for order, last in (("channels last", True), ("channels first", False))
        }
    )


def compiled(dataset: str) -> dict[str, Any]:
    """Each precision as it is and compiled, recorded in any case; and how long compiling took."""
    images = random_images(IMAGES, options(dataset)[2])
    loops, seconds, counted = {}, {}, {}
    for precision in COMPILED:
        began = time.perf_counter()
        loops[f"{precision}, compiled"] = loop(dataset, images, compiled=True, precision=precision)
        seconds[precision] = time.perf_counter() - began
        counted[precision] = kernels(dataset, compiled=True, precision=precision)
        loops[precision] = loop(dataset, images, precision=precision)
    return {"loops": in_turn(loops), "seconds": seconds, "kernels": counted}


def kernels(dataset: str, **changes: Any) -> dict[str, Any]:
    """How many kernels an iteration is, how long the card computes, and with what."""
    _, steps = loop(dataset, random_images(IMAGES, options(dataset)[2]), **changes)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(PROFILED):
            next(steps)
        torch.cuda.synchronize()
    events = [each for each in profiler.key_averages() if each.self_device_time_total > 0]
    events.sort(key=lambda each: -each.self_device_time_total)
    return {
        "kernels": sum(each.count for each in events) / PROFILED,
        "busy_ms": sum(each.self_device_time_total for each in events) / PROFILED / 1e3,
        "top": [
            {
                "name": each.key[:120],
                "ms": each.self_device_time_total / PROFILED / 1e3,
                "count": each.count / PROFILED,
            }
            for each in events[:TOP]
        ],
    }


def side_by_side(dataset: str, seeds: Sequence[int], **changes: Any) -> float:
    """Ms in which every one of the seeds advances an iteration, each on a stream of its own."""
    images = random_images(IMAGES, options(dataset)[2])
    loops = []
    for seed in seeds:
        own = stream(GPU)
        with own:
            loops.append((own, loop(dataset, images, seeds=[seed], **changes)[1]))

    def all_of_them() -> Iterator[None]:
        while True:
            for own, steps in loops:
                with own:
                    next(steps)
            yield

    together = all_of_them()
    seconds_of(together, 5, GPU)
    count = max(5, min(500, round(SECONDS / seconds_of(together, 5, GPU))))
    return 1e3 * statistics.median(seconds_of(together, count, GPU) for _ in range(ROUNDS))


def whole(dataset: str, iterations: int, **changes: Any) -> dict[str, float]:
    """Seconds of the training node: recording, history, L_I on fresh codes, checkpoints."""
    changes = {"log_every": 50, "baseline_iterations": 0} | changes
    model, training, shape = options(dataset, **changes)
    images = random_images(IMAGES, shape)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        node(model, training, images, Path(folder), iterations)
        return {"seconds": time.perf_counter() - began, "iterations": iterations}


def product_rates() -> dict[str, float]:
    """TFLOP/s of the best of several products of random square matrices."""
    found = {}
    for name, kind, precise in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "high"),
    ):
        torch.set_float32_matmul_precision(precise)
        matrix = torch.randn(PRODUCT, PRODUCT, device=GPU).to(kind)

        def products(matrix: torch.Tensor = matrix) -> Iterator[None]:
            while True:
                torch.mm(matrix, matrix)
                yield

        steps = products()
        seconds_of(steps, 2, GPU)
        best = min(seconds_of(steps, 2, GPU) for _ in range(5))
        found[name] = 2 * PRODUCT**3 / best / 1e12
    return found


def measure(datasets: Sequence[str], keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Everything, one after another; what is found is kept at once."""
    began = time.perf_counter()
    found: dict[str, Any] = {
        "machine": machine(),
        "device": torch.cuda.get_device_name(),
        "memory_gib": torch.cuda.get_device_properties(GPU).total_memory / 2**30,
        "products": product_rates(),
        "loops": {},
    }

    def add(**more: Any) -> None:
        found.update(more)
        found["seconds"] = time.perf_counter() - began
        keep(found)

    images = random_images(IMAGES, options("mnist")[2])
    extended = {name: loop("mnist", images, **each) for name, each in EXTENDED.items()}
    add(extended=in_turn(extended))
    add(kernels={name: kernels("mnist", **LOOPS[name]) for name in LOOPS})
    add(orders={dataset: orders(dataset) for dataset in ORDERED})
    add(
        seeds={
            name: {
                str(count): side_by_side("mnist", range(count), **LOOPS[name]) for count in SEEDS
            }
            for name in ("float32", "tf32")
        }
    )
    add(
        whole={
            name: whole("mnist", LENGTH, checkpoint_every=every, **LOOPS[kind])
            for name, kind, every in (
                ("tf32", "tf32", 250),
                ("tf32, one checkpoint", "tf32", LENGTH),
            )
        }
    )
    for dataset in datasets:
        found["loops"][dataset] = compare(dataset)
        add()
    add(compiled=compiled("mnist"))  # last, since it may be long, or want a compiler
    return found


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--json", type=Path, default=RESULTS / "gpu.json")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU here; `make bench` measures the CPU")
    path: Path = arguments.json.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)

    def keep(found: dict[str, Any]) -> None:
        path.write_text(json.dumps(found, indent=2) + "\n")

    print(page.gpu_tables(measure(arguments.datasets, keep)))
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
