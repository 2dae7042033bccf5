"""What two processes compute in test_distributed.py; they import this file by its name."""

import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infogan import checkpoint
from infogan.batches import Share, batches
from infogan.clustering import frozen
from infogan.distributed import Peers, distribute
from infogan.networks import build, to_arrays, to_pixels
from infogan.options import Model, Training
from infogan.pipelines.training.nodes import _Fit, _Stop
from infogan.training import Game, State, d_q_step, g_step, infogan, regular_gan, start

CPU = torch.device("cpu")
GAMES = {"infogan": infogan, "baseline": regular_gan}
Curve = tuple[list[list[float]], dict[str, np.ndarray]]


@contextmanager
def double_precision() -> Iterator[None]:
    """Laws that hold up to rounding are seen to hold."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def rows(state: State, game: Game, images: Tensor, count: int) -> Tensor:
    """As training.train, but with double precision from the first pixel on."""
    options = game.training
    supply = batches(images, options.batch_size, options.seed, 0, CPU, game.share)
    found = []
    for batch in itertools.islice(supply, count):
        loss_d, *others = d_q_step(state, game, to_pixels(batch, game.pixel_range).double())
        found.append(torch.stack([loss_d, g_step(state, game, len(batch)), *others]).detach())
    return torch.stack(found)


def _teach(state: State, game: Game, model: Model) -> None:
    """Any teacher will do."""
    if game.clustering:
        state.teacher = frozen(build(model, (1, 8, 8), seed=1).discriminator)


def curve(
    peers: Peers, name: str, model: Model, training: Training, images: np.ndarray, count: int
) -> Curve:
    """Numbers of every iteration, and weights and statistics after the last."""
    with double_precision():
        state = start(model, training, (1, 8, 8), CPU)
        if not peers.alone:
            distribute(state, synchronised=training.batch_norm == "synchronised")
        game = GAMES[name](model, training, peers.share)
        _teach(state, game, model)
        numbers = peers.mean(rows(state, game, torch.from_numpy(images), count))
    arrays = to_arrays(state.networks)
    firsts = peers.from_first(lambda: arrays)
    weights = [name for name, _ in state.networks.named_parameters()]
    assert all(np.array_equal(arrays[name], firsts[name]) for name in weights)
    return numbers.tolist(), arrays


def curves(peers: Peers, cases: dict[str, tuple[Any, ...]]) -> dict[str, Curve]:
    """Several, since it takes long to start processes."""
    assert peers.any(peers.first)
    assert not peers.any(False)
    return {label: curve(peers, *case) for label, case in cases.items()}


def share_alone(rank: int, model: Model, training: Training, images: np.ndarray) -> list[float]:
    """The first row of one of two processes that know nothing of each other."""
    share = Share(rank, 2)
    with double_precision():
        state = start(model, training, (1, 8, 8), CPU)
        game = infogan(model, training, share)
        _teach(state, game, model)
        row: list[float] = rows(state, game, torch.from_numpy(images), 1)[0].tolist()
    return row


def fail(peers: Peers, how: BaseException) -> None:
    """One raises; the other waits for it in vain."""
    if peers.first:
        raise how
    peers.any(False)


def die(peers: Peers) -> None:
    """The second one is killed; the first waits for it in vain."""
    if not peers.first:
        signal.raise_signal(signal.SIGKILL)
    peers.any(False)


def die_late(peers: Peers) -> None:
    """The first one has lost the second before that is seen to be dead."""
    if peers.first:
        raise RuntimeError("gloo: connection closed by peer")
    time.sleep(2)
    signal.raise_signal(signal.SIGKILL)


def stopped(
    peers: Peers, folder: Path, model: Model, training: Training, images: np.ndarray, look: int
) -> tuple[int, dict[str, np.ndarray]]:
    """At which iteration both stop, if the second one is told to when it looks after the third
    for the first, second, … time; and what the first then has: weights, statistics, random state.
    """
    card = {"shape": [1, 8, 8], "splits": {"train": {"sha256": "abc", "images": len(images)}}}
    fit = _Fit(peers, "infogan", images, card, folder, model, training)
    looks = itertools.count(1)
    with suppress(_Stop):
        for _ in fit.steps(
            lambda: not peers.first and fit._state.iteration == 3 and next(looks) >= look
        ):
            pass
    saved = peers.from_first(lambda: checkpoint.reached(next(folder.iterdir()), "infogan.0"))
    assert saved == [fit._state.iteration]
    arrays = {name: each.numpy() for name, each in fit._state.networks.state_dict().items()}
    return saved[0], arrays | {"random": fit._state.random.get_state().numpy()}


def stopped_at_each_look(
    peers: Peers, folder: Path, model: Model, training: Training, images: np.ndarray
) -> list[tuple[int, dict[str, np.ndarray]]]:
    """After an iteration, and at each of the three looks of the next one before it updates D."""
    given = model, training, images
    return [stopped(peers, folder / str(look), *given, look) for look in (1, 2, 3, 4)]


def taught(
    peers: Peers, folder: Path, model: Model, training: Training, images: np.ndarray
) -> dict[str, np.ndarray]:
    """The teacher's arrays, the same in all, which were stopped after its third iteration."""
    card = {"shape": [1, 8, 8], "splits": {"train": {"sha256": "abc", "images": len(images)}}}
    given = peers, "infogan", images, card, folder, model, training

    def third() -> bool:
        last = peers.share.rank == peers.share.processes - 1
        return last and fit._apprentice is not None and fit._apprentice.done == 3

    fit = _Fit(*given)
    with suppress(_Stop):
        for _ in fit.steps(third):
            pass
    assert fit._apprentice is not None
    assert fit._apprentice.done == 3
    fit = _Fit(*given)
    steps = fit.steps(lambda: False)
    next(steps)
    assert fit._apprentice is not None
    assert fit._apprentice.done == 4
    for _ in steps:
        pass
    assert fit._state.teacher is not None
    assert not fit._state.teacher.training
    arrays = {name: value.numpy() for name, value in fit._state.teacher.state_dict().items()}
    firsts = peers.from_first(lambda: arrays)
    assert arrays.keys() == firsts.keys()
    assert all(np.array_equal(arrays[name], firsts[name]) for name in arrays)
    return arrays
