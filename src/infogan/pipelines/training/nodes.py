"""The loop around the game: numbers, checkpoints, progress and interruptions."""

import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infogan import tracking
from infogan.datasets.values import Arrays, Rows, Weights
from infogan.errors import UserError
from infogan.options import Model, Training, fingerprint

if TYPE_CHECKING:  # for private functions only: the signatures of nodes must resolve at run time
    import torch
    from torch import Tensor

    from infogan.training import Game

_logger = logging.getLogger(__name__)

SATURATED_ITERATIONS = 200  # of an almost perfect D, before that is worth a warning


def fit(
    images: Arrays, card: dict[str, Any], checkpoints: Path, model: Model, training: Training
) -> tuple[Weights, Rows, dict[str, Any]]:
    """Train InfoGAN: weights, history, and a record of how it was done."""
    from infogan.training import infogan

    game = infogan(model, training)
    return _fit("infogan", game, training.iterations, images, card, checkpoints, model)


def fit_baseline(
    images: Arrays, card: dict[str, Any], checkpoints: Path, model: Model, training: Training
) -> tuple[Weights, Rows, dict[str, Any]]:
    """Train the regular GAN of Figure 1, whose generator is not told about the codes."""
    from infogan.training import regular_gan

    game = regular_gan(model, training)
    return _fit("baseline", game, training.baseline_iterations, images, card, checkpoints, model)


def _fit(
    name: str,
    game: "Game",
    iterations: int,
    images: Arrays,
    card: dict[str, Any],
    checkpoints: Path,
    model: Model,
) -> tuple[Weights, Rows, dict[str, Any]]:
    """Train to the given iteration, from a checkpoint of the same training if there is one."""
    import torch
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from infogan import checkpoint
    from infogan.information import fresh_lower_bounds
    from infogan.interrupts import postponed_interrupts
    from infogan.networks import to_arrays
    from infogan.training import HELD_OUT, choose_device, derive_seed, resident, start, train

    options = game.training
    device = choose_device(options.device)
    image_shape = tuple(card["shape"])
    data_sha256 = card["splits"]["train"]["sha256"]
    identity = fingerprint(model, options, data_sha256)
    path = checkpoints / f"{name}.pt"

    # 1. Start, or continue.
    provenance = tracking.provenance()
    state = start(model, options, image_shape, device)
    history = _History(name, game)
    seconds_before = 0.0
    saved = _checkpoint(path, identity, iterations, device)
    if saved:
        state.load_state_dict(saved["state"])
        history.rows = [tuple(row) for row in saved["rows"]]
        seconds_before = saved["seconds"]
    _logger.info("%s: from iteration %d to %d on %s", name, state.iteration, iterations, device)

    def held_out() -> list[float]:
        random = torch.Generator(device).manual_seed(derive_seed(options.seed, HELD_OUT))
        samples = options.evaluation_samples
        return list(fresh_lower_bounds(state.networks, game.space, samples, random).values())

    def save() -> None:
        tracking.current().flush()  # what counts as trained is on record, too
        seconds = seconds_before + time.perf_counter() - began
        content = {"fingerprint": identity, "state": state.state_dict(), "rows": history.rows}
        checkpoint.save(path, {**content, "seconds": seconds})

    # 2. Train. Numbers stay on the device until somebody needs one.
    began = time.perf_counter()
    if not history.rows:
        history.open(held_out())
    pixels = resident(images["train"], device)
    with (
        postponed_interrupts() as interrupted,
        logging_redirect_tqdm(),
        tqdm(
            total=iterations,
            initial=state.iteration,
            desc=name,
            unit="it",
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 15,  # a log file wants few lines
        ) as bar,
    ):
        for numbers in train(state, game, pixels) if state.iteration < iterations else ():
            history.append(numbers)
            done = state.iteration
            stop, last = interrupted(), done == iterations
            evaluates = done % options.evaluate_every == 0 or last
            saves = done % options.checkpoint_every == 0 or last or stop
            if evaluates or saves or done % options.log_every == 0:
                history.collect(done, held_out() if evaluates else None)
                bar.set_postfix_str(history.summary(), refresh=False)
                bar.update(done - bar.n)
            if saves:
                save()
            if stop:
                _logger.warning("%s stops at iteration %d, which is saved", name, done)
                raise KeyboardInterrupt
            if last:
                break

    # 3. Hand over.
    weights_card = {
        "name": name,
        "model": model.model_dump(mode="json"),
        "training": options.model_dump(mode="json"),
        "image_shape": list(image_shape),
        "iterations": state.iteration,
        "data_sha256": data_sha256,
    }
    record = {
        "iterations": state.iteration,
        "seconds": round(seconds_before + time.perf_counter() - began, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "data_sha256": data_sha256,
        **provenance,
    }
    rows = Rows(tuple(history.columns), history.rows)
    return Weights(to_arrays(state.networks), weights_card), rows, record


def _checkpoint(
    path: Path, identity: str, iterations: int, device: "torch.device"
) -> dict[str, Any] | None:
    """What this training left when it was interrupted; a checkpoint of another one is removed.

    One at the last iteration counts, too: should a later step of the same run be interrupted, the
    next run need not train again.
    """
    from infogan import checkpoint

    saved = checkpoint.load(path, device)
    if saved and saved["fingerprint"] == identity and saved["state"]["iteration"] <= iterations:
        return saved
    if path.exists():
        _logger.info("%s is of another training and is dropped", path)
        path.unlink()
    return None


class _History:
    """One row an iteration: what the minibatch gave, and now and then L_I on fresh codes.

    Row 0 is the untrained model. A row's minibatch numbers are those before its update, its
    held-out numbers those after it.
    """

    def __init__(self, name: str, game: "Game") -> None:
        self.rows: list[tuple[float | None, ...]] = []
        self.columns = [
            "iteration",
            *game.columns,
            *(f"held_out.{code}" for code in game.space.codes),
        ]
        self._name = name
        self._batch_columns = game.columns
        self._codes = list(game.space.codes)
        self._pending: list[Tensor] = []
        self._saturated = 0

    def open(self, held_out: Sequence[float]) -> None:
        """Begin with row 0."""
        self.rows.append((0, *[None] * len(self._batch_columns), *held_out))
        tracking.current().log_row(self._name, self.columns, self.rows[0])

    def append(self, numbers: "Tensor") -> None:
        """Keep the numbers of one iteration where they are."""
        self._pending.append(numbers)

    def collect(self, iteration: int, held_out: Sequence[float] | None) -> None:
        """Bring all numbers up to this iteration to the host, check them, and log the last."""
        import torch

        batches = torch.stack(self._pending).cpu().tolist()
        self._pending.clear()
        for offset, numbers in enumerate(batches, start=iteration - len(batches) + 1):
            self._watch(offset, dict(zip(self._batch_columns, numbers, strict=True)))
            self.rows.append((offset, *numbers, *[None] * len(self._codes)))
        if held_out is not None:
            self.rows[-1] = (*self.rows[-1][: -len(self._codes)], *held_out)
        tracking.current().log_row(self._name, self.columns, self.rows[-1])

    def summary(self) -> str:
        """The bounds of the last row, for the progress bar."""
        row = dict(zip(self.columns, self.rows[-1], strict=True))
        return ", ".join(f"L_I({code}) {row[f'lower_bound.{code}']:.2f}" for code in self._codes)

    def _watch(self, iteration: int, numbers: dict[str, float]) -> None:
        for column, value in numbers.items():
            if not math.isfinite(value):
                raise UserError(
                    f"{self._name} diverged: {column} is {value} at iteration {iteration}. Lower "
                    "training.lr_d and training.lr_g, or set model.spread to fixed."
                )
        saturated = numbers["d_real"] > 0.99 and numbers["d_fake"] < 0.01
        self._saturated = self._saturated + 1 if saturated else 0
        if self._saturated == SATURATED_ITERATIONS:
            _logger.warning(
                "%s: for %d iterations, up to %d, D has told real from generated images almost "
                "perfectly, so G learns little. Lower training.lr_d or raise training.lr_g, and "
                "check that the images fill model.pixel_range.",
                self._name,
                SATURATED_ITERATIONS,
                iteration,
            )
