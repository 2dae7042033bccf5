"""What only a GPU can show: recorded iterations, seeds on streams of their own, nobody waits."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infogan import checkpoint
from infogan.batches import resident
from infogan.clustering import frozen
from infogan.datasets.values import Arrays
from infogan.devices import configure
from infogan.networks import build
from infogan.options import Model, Training
from infogan.pipelines.training.nodes import fit
from infogan.training import State, infogan, start, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

DEFORMED = {"rotation": 0.3, "scale": 0.1, "shear": 0.1, "shift": 0.1}
EXTENDED: dict[str, Any] = {
    "lr_d": "2.0e-3 to 1.0e-3 from 2 until 8",
    "instance_noise": "0.1 to 0 until 8",
    "steps_g": 2,
    "average_g": 0.9,
    "consistency": {
        "codes": ["c1"],
        "weight": "1 to 0.5 until 8",
        "balance": 1.0,
        "generated": 0.5,
        **DEFORMED,
        "elastic": 0.1,
        "thickness": 0.3,
    },
}
TAUGHT: dict[str, Any] = {
    "clustering": {
        "code": "c1",
        "weight": 1.0,
        "iterations": 3,
        "refinements": 2,
        "lr": 1e-3,
        "temperature": 0.5,
        "certainty": 0.3,
        **DEFORMED,
    }
}
EXACT = {"deterministic": True}  # the same kernels, however they are launched

MakeTraining = Callable[..., Training]
Data = tuple[Arrays, dict[str, Any]]


@pytest.fixture(autouse=True)
def usual(training: Training) -> Iterator[None]:
    """Precision and determinism are settings of the process, and other tests share it."""
    yield
    configure(training)


@pytest.fixture
def gpu() -> torch.device:
    return torch.device("cuda")


@pytest.fixture
def on_gpu(make_training: MakeTraining) -> MakeTraining:
    return lambda **changes: make_training(**{"device": "cuda", **changes})


@pytest.fixture
def data(images: np.ndarray) -> Data:
    card = {"shape": [1, 8, 8], "splits": {"train": {"sha256": "made"}}}
    return Arrays({"train": images}), card


def begin(model: Model, training: Training, device: torch.device) -> State:
    configure(training)
    state = start(model, training, (1, 8, 8), device)
    if training.clustering:
        teacher = build(model, (1, 8, 8), seed=5).discriminator
        state.teacher = frozen(teacher.to(device))
    return state


def rows(
    state: State, model: Model, training: Training, images: np.ndarray, count: int
) -> np.ndarray:
    steps = train(state, infogan(model, training), resident(images, state.random.device))
    return torch.stack(list(itertools.islice(steps, count))).cpu().numpy()


def everything(state: State) -> list[torch.Tensor]:
    """Weights and statistics, also of the average of G, if there is one."""
    networks, average = state.networks.state_dict(), state.evaluated.generator.state_dict()
    return [*networks.values(), *average.values()]


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first.keys() | second.keys())


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("changes", [{}, EXTENDED, TAUGHT], ids=["paper", "extended", "taught"])
@pytest.mark.parametrize("before", [0, 4])
def test_a_recorded_iteration_is_an_iteration(
    gpu: torch.device,
    model: Model,
    on_gpu: MakeTraining,
    images: np.ndarray,
    changes: dict[str, Any],
    precision: str,
    before: int,
) -> None:
    """Also one that goes on from a saved state."""
    options = {**EXACT, "precision": precision, **changes}
    found, states = [], []
    for recorded in (True, False):
        training = on_gpu(**options, cuda_graph=recorded)
        state = begin(model, training, gpu)
        if before:
            rows(state, model, on_gpu(**options, cuda_graph=False), images, before)
            saved = state.state_dict()
            state = begin(model, training, gpu)
            state.load_state_dict(saved)
        found.append(rows(state, model, training, images, 5))
        states.append(state)
    mine, theirs = found
    half = precision == "bfloat16"
    loose = {"rtol": 2e-2, "atol": 2e-2} if half else {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(mine, theirs, **loose)
    one, other = states
    for first, second in zip(everything(one), everything(other), strict=True):
        torch.testing.assert_close(first, second, rtol=0.01, atol=1e-3, equal_nan=False)
    assert one.iteration == other.iteration == before + 5
    assert one.clock.item() == other.clock.item() == before + 5
    assert torch.equal(one.random.get_state(), other.random.get_state())


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_nobody_waits_for_the_gpu(
    gpu: torch.device, model: Model, on_gpu: MakeTraining, images: np.ndarray
) -> None:
    for recorded in (True, False):
        training = on_gpu(cuda_graph=recorded)
        state = begin(model, training, gpu)
        steps = train(state, infogan(model, training), resident(images, gpu))
        next(steps)
        torch.cuda.set_sync_debug_mode("error")
        try:
            next(steps), next(steps)  # within an epoch, which has three batches
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("changes", [{}, TAUGHT], ids=["paper", "taught"])
def test_seeds_side_by_side_are_those_trained_alone(
    data: Data,
    tmp_path: Path,
    model: Model,
    on_gpu: MakeTraining,
    changes: dict[str, Any],
) -> None:
    options = {**EXACT, **changes, "seeds": [0, 1, 2]}
    results = []
    for at_once in (3, 1):
        training = on_gpu(**options, seeds_at_once=at_once)
        first, table, _, others, more, _ = fit(*data, tmp_path / str(at_once), model, training)
        numbers = np.array([*table.rows[1:], *(r[1:] for r in more.rows if r[1])], np.float64)
        results.append((numbers, [first, *others.values()]))
    (beside, networks), (alone, theirs) = results
    assert not same(networks[0].arrays, networks[1].arrays)
    np.testing.assert_allclose(beside, alone, rtol=1e-3, atol=1e-4)
    for one, other in zip(networks, theirs, strict=True):
        for name, value in one.arrays.items():
            np.testing.assert_allclose(value, other.arrays[name], rtol=1e-2, atol=1e-3)


def test_models_of_full_size_do_not_wait_for_each_other_for_ever() -> None:
    """As they did with cuDNN's batch norm, whose kernels want the whole GPU."""
    benchmarks = Path(__file__).parents[1] / "benchmarks"
    program = "import gpu; gpu.ROUNDS = 1; gpu.side_by_side('mnist', range(4))"
    command = [sys.executable, "-c", program]
    subprocess.run(command, check=True, cwd=benchmarks, timeout=120)


def test_a_deterministic_training_repeats_itself_and_goes_on_where_it_stopped(
    data: Data, tmp_path: Path, model: Model, on_gpu: MakeTraining
) -> None:
    whole = on_gpu(**EXACT, iterations=10)
    first, table, *_ = fit(*data, tmp_path / "first", model, whole)
    again, repeated, *_ = fit(*data, tmp_path / "again", model, whole)
    assert same(first.arrays, again.arrays)
    assert table == repeated
    fit(*data, tmp_path / "parts", model, on_gpu(**EXACT, iterations=5))
    continued, its_table, *_ = fit(*data, tmp_path / "parts", model, whole)
    assert same(first.arrays, continued.arrays)
    assert table.rows[-1] == its_table.rows[-1]


def test_a_checkpoint_of_a_gpu_can_be_read_without_one(
    data: Data, tmp_path: Path, model: Model, on_gpu: MakeTraining
) -> None:
    fit(*data, tmp_path, model, on_gpu(iterations=5))
    (folder,) = (path.parent for path in tmp_path.glob("*/infogan.0.*.pt"))
    saved = checkpoint.load(folder, "infogan.0", torch.device("cpu"), 10)
    assert saved
    assert saved["state"]["iteration"] == 5
    assert saved["state"]["networks"]["generator.layers.0.weight"].device.type == "cpu"


@pytest.mark.parametrize("changes", [{}, EXTENDED], ids=["paper", "extended"])
@pytest.mark.parametrize("places", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_training_goes_on_on_the_other_kind_of_device(
    data: Data,
    tmp_path: Path,
    model: Model,
    on_gpu: MakeTraining,
    changes: dict[str, Any],
    places: tuple[str, str],
) -> None:
    first, second = places
    fit(*data, tmp_path, model, on_gpu(**changes, iterations=5, device=first))
    whole = on_gpu(**changes, iterations=10, device=second)
    _, table, record, *_ = fit(*data, tmp_path, model, whole)
    assert [row[0] for row in table.rows] == list(range(11))
    assert np.isfinite(table.column("loss_g")[1:]).all()
    assert (record["device"] == "cpu") == (second == "cpu")
