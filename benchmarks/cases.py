"""What is measured in a process of its own, so that memory does not add up.

``python benchmarks/cases.py '{"case": "alone", "loop": "ours", …}'`` prints one line of JSON.
"""

import json
import logging
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from choices import arithmetic, choices
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from infogan import tracking
from infogan.batches import batches, resident
from infogan.datasets.values import Arrays
from infogan.devices import choose_device, configure
from infogan.networks import to_pixels
from infogan.options import Data, Model, Training
from infogan.pipelines.training.nodes import fit
from infogan.training import infogan, one_iteration, start, train

ROOT = Path(__file__).parents[1]

IMAGES = 6000
BLOCKS = 5  # of each loop, in turn
SECONDS = 2.0  # of a block of ours, where no number of iterations is given
DRAWN = 20  # batches, to see what data cost
PRODUCT = 2048  # rows and columns of the matrices whose product tells the machine's rate
PRODUCTS = 10
ALONE = 3  # times that each product of an iteration is done alone


def options(dataset: str, **changes: Any) -> tuple[Model, Training, tuple[int, ...]]:
    """A data set's networks and settings, some of them changed, and the shape of its images.

    Without clusters, an extension that the textbook's loop does not have.
    """
    path = ROOT / "conf" / "base" / f"parameters_{dataset}.yml"
    blocks = yaml.safe_load(path.read_text())[dataset]
    changes = {"clustering": None} | changes
    training = Training.model_validate(blocks["training"] | changes)
    return Model.model_validate(blocks["model"]), training, Data(**blocks["data"]).shape


def random_images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Made images; the arithmetic does not depend on what they show."""
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def peak_bytes() -> int:
    """The most memory this process has had.

    Linux counts what a process was before it became this program towards ru_maxrss, so its status
    is asked first.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(steps: Iterator[Any], count: int, device: torch.device) -> float:
    """Seconds a step."""
    wait(device)
    began = time.perf_counter()
    for _ in range(count):
        next(steps)
    wait(device)
    return (time.perf_counter() - began) / count


def ours(
    model: Model, training: Training, images: np.ndarray, device: torch.device
) -> Iterator[Tensor]:
    """The loop as the training node has it, with nobody looking at its rows."""
    state = start(model, training, images.shape[1:], device)
    return train(state, infogan(model, training), resident(images, device))


def textbook(
    model: Model, training: Training, images: np.ndarray, device: torch.device
) -> Iterator[tuple[float, float]]:
    """The loop as tutorials have it."""
    from textbook import Textbook

    return Textbook(model, training, images.shape[1:], device).train(images)


def product_rate(device: torch.device) -> float:
    """Floating-point operations a second of the best of several float32 matrix products."""
    matrix = torch.rand(PRODUCT, PRODUCT, device=device)
    out = torch.empty_like(matrix)

    def products() -> Iterator[None]:
        while True:
            torch.mm(matrix, matrix, out=out)
            yield

    best = min(seconds_of(products(), 1, device) for _ in range(PRODUCTS))
    return 2 * PRODUCT**3 / best


def operations(model: Model, training: Training, images: np.ndarray, device: torch.device) -> int:
    """Floating-point operations of the products and convolutions of one iteration of ours."""
    state = start(model, training, images.shape[1:], device)
    batch = torch.from_numpy(images[: training.batch_size]).to(device)
    with FlopCounterMode(display=False) as counter:
        one_iteration(state, infogan(model, training), batch)
    return counter.get_total_flops()


class _Products(TorchDispatchMode):
    """Notes every product and convolution, so that it can be done again."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Callable[[], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._overloadpacket in flop_registry:  # those that FlopCounterMode counts
            self.noted.append(partial(func, *args, **kwargs))
        return func(*args, **kwargs)


def products(dataset: str) -> dict[str, float]:
    """Products and convolutions of one iteration of ours, each done alone and again at once.

    The sum of their best times: what the libraries reach with these shapes.
    """
    model, training, shape = options(dataset)
    configure(training)
    device = choose_device(training.device)
    state = start(model, training, shape, device)
    batch = torch.from_numpy(random_images(training.batch_size, shape)).to(device)
    with _Products() as products:
        one_iteration(state, infogan(model, training), batch)
    best = [
        min(seconds_of(iter(call, None), 1, device) for _ in range(ALONE))
        for call in products.noted
    ]
    return {"ms": 1e3 * sum(best)}


def data_seconds(
    model: Model, training: Training, images: np.ndarray, device: torch.device
) -> tuple[float, float]:
    """Seconds to draw a batch and turn it into pixels: ours, textbook."""
    from textbook import Textbook

    tensors = batches(resident(images, device), training.batch_size, training.seed, 0, device)
    pixels = (to_pixels(batch, model.pixel_range) for batch in tensors)
    loader = Textbook(model, training, images.shape[1:], device).loader(images)
    next(pixels), next(loader)
    return seconds_of(pixels, DRAWN, device), seconds_of(loader, DRAWN, device)


def compare(dataset: str, iterations: int | None) -> dict[str, Any]:
    """Ours and the textbook's, block by block in turn, and what the arithmetic alone needs.

    A machine that becomes faster or slower meanwhile does so for both, and for the limit.
    """
    model, training, shape = options(dataset)
    configure(training)
    device = choose_device(training.device)
    images = random_images(IMAGES, shape)

    our_steps = ours(model, training, images, device)
    seconds_of(our_steps, 1, device)  # the first is slower
    estimate = seconds_of(our_steps, 1, device)
    our_peak = peak_bytes()  # before anything else takes memory
    count = iterations or max(1, round(SECONDS / estimate))

    their_steps = textbook(model, training, images, device)
    seconds_of(their_steps, 1, device)
    our_data, their_data = data_seconds(model, training, images, device)
    flops = operations(model, training, images, device)

    before = product_rate(device)
    blocks = [
        (seconds_of(our_steps, count, device), seconds_of(their_steps, count, device))
        for _ in range(BLOCKS)
    ]
    after = product_rate(device)

    our_blocks, their_blocks = zip(*blocks, strict=True)
    limit = flops / ((before + after) / 2)
    return {
        "batch_size": training.batch_size,
        "iterations_per_block": count,
        "ours": _loop(our_blocks, our_data, training.batch_size) | {"peak_mb": our_peak / 1e6},
        "textbook": _loop(their_blocks, their_data, training.batch_size),
        "speedup": statistics.median(their / our for our, their in blocks),
        "gflop_per_iteration": flops / 1e9,
        "gflops_of_products": [before / 1e9, after / 1e9],
        "drift": after / before,
        "limit_ms": 1e3 * limit,
        "ratio_to_limit": statistics.median(our_blocks) / limit,
    }


def _loop(blocks: tuple[float, ...], data: float, batch_size: int) -> dict[str, Any]:
    """The numbers of one of the two loops."""
    median = statistics.median(blocks)
    return {
        "ms": 1e3 * median,
        "ms_of_blocks": [1e3 * block for block in blocks],
        "images_per_second": batch_size / median,
        "data_ms": 1e3 * data,
        "data_share": data / median,
    }


def alone(
    dataset: str,
    loop: str = "ours",
    iterations: int | None = None,
    images: int = IMAGES,
    folder: str | None = None,
    **changes: Any,
) -> dict[str, float]:
    """Time and peak memory of one loop; with a folder, its images are mapped from a file there.

    That file is sparse: it takes neither room nor time to write, and reads as zeros.
    """
    model, training, shape = options(dataset, **changes)
    configure(training)
    device = choose_device(training.device)
    array = random_images(images, shape) if folder is None else _mapped(folder, images, shape)
    steps = {"ours": ours, "textbook": textbook}[loop](model, training, array, device)
    first = seconds_of(steps, 1, device)
    count = iterations or max(1, round(SECONDS / seconds_of(steps, 1, device)))
    seconds = seconds_of(steps, count, device)
    return {
        "first_ms": 1e3 * first,
        "ms": 1e3 * seconds,
        "images_per_second": training.batch_size / seconds,
        "peak_mb": peak_bytes() / 1e6,
    }


def _mapped(folder: str, count: int, shape: tuple[int, ...]) -> np.ndarray:
    path = Path(folder) / "images.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (count, *shape)).flush()
    return np.load(path, mmap_mode="r")


def nothing() -> dict[str, Any]:
    """What torch and the program's modules take before anything is trained, and where it runs."""
    device = choose_device("auto")
    torch.ones(1, device=device).sum().item()
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "peak_mb": peak_bytes() / 1e6,
    }


def node(
    model: Model, training: Training, images: np.ndarray, checkpoints: Path, iterations: int
) -> None:
    """The training node."""
    card = {"shape": list(images.shape[1:]), "splits": {"train": {"sha256": "made"}}}
    of_length = training.model_copy(update={"iterations": iterations})
    fit(Arrays({"train": images}), card, checkpoints, model, of_length)


def seeds(dataset: str, count: int, iterations: int) -> dict[str, float]:
    """Time and peak memory of the training node with so many seeds, one after another."""
    model, training, shape = options(dataset, seeds=list(range(count)))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        node(model, training, random_images(IMAGES, shape), Path(folder), iterations)
        seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "seconds_per_seed": seconds / count,
        "peak_mb": peak_bytes() / 1e6,
    }


def pipeline(dataset: str, iterations: int) -> dict[str, Any]:
    """The bare loop against the node: history, L_I on fresh codes, checkpoints, MLflow.

    The node is measured as the continuation of a training of one iteration, so that what happens
    once (start, the untrained model's row) is not counted; the bare loop before and after it.
    """
    model, training, shape = options(dataset)
    images = random_images(IMAGES, shape)
    configure(training)
    device = choose_device(training.device)
    steps = ours(model, training, images, device)
    seconds_of(steps, 1, device)
    beside = max(1, iterations // 2)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        uri = f"sqlite:///{place / 'mlflow.db'}"
        artifacts = (place / "artifacts").as_uri()
        tracking.activate(tracking.open_run(uri, artifacts, "bench", "bench", None))
        node(model, training, images, place, 1)

        before = seconds_of(steps, beside, device)
        began = time.perf_counter()
        node(model, training, images, place, iterations)
        inside = (time.perf_counter() - began) / (iterations - 1)
        after = seconds_of(steps, beside, device)

        tracking.current().end("FINISHED")
        tracking.activate(tracking.Tracker())
    outside = (before + after) / 2
    return {
        "dataset": dataset,
        "iterations": iterations,
        "bare_ms": 1e3 * outside,
        "bare_drift": after / before,
        "pipeline_ms": 1e3 * inside,
        "pipeline_to_bare": inside / outside,
    }


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    each.__name__: each
    for each in (alone, arithmetic, choices, compare, nothing, pipeline, products, seeds)
}


def run(case: str, **arguments: Any) -> dict[str, Any]:
    """What a case finds."""
    return CASES[case](**arguments)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    print(json.dumps(run(**json.loads(sys.argv[1]))))
