"""What each decision about speed brings: ours against ours without it, one at a time."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from infogan import networks
from infogan.batches import resident
from infogan.devices import choose_device, configure
from infogan.training import infogan, start, train

ROUNDS = 5
SECONDS = 1.5  # of each loop in each round, where no number of iterations is given


def _each_apart(stack: nn.Sequential, batches: Sequence[Tensor]) -> list[Tensor]:
    return [stack(batch) for batch in batches]


def _adam(module: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=lr, betas=betas)


# What stands in for ours while a loop without it runs.
PATCHES = {
    "one pass for real and generated images": (networks, "_apart", _each_apart),
    "fully connected layers transposed": (networks._Linear, "forward", nn.Linear.forward),
}
CHOICES = (*PATCHES, "channels_last", "fused Adam")


def choices(dataset: str, iterations: int | None) -> dict[str, Any]:
    """Ms an iteration with all of them, and how many times as long it takes without each."""
    from cases import IMAGES, options, random_images, seconds_of

    model, training, shape = options(dataset)
    configure(training)
    device = choose_device(training.device)
    images = resident(random_images(IMAGES, shape), device)

    def loop(without: str | None) -> Iterator[Tensor]:
        state = start(model, training, shape, device)
        if without == "channels_last":
            state.networks.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if without == "fused Adam":
            discriminator, generator = state.networks.discriminator, state.networks.generator
            state.optimizer_d = _adam(discriminator, training.lr_d, training.betas)
            state.optimizer_g = _adam(generator, training.lr_g, training.betas)
        return train(state, infogan(model, training), images)

    def circumstances(without: str | None) -> AbstractContextManager:
        return patch.object(*PATCHES[without]) if without in PATCHES else nullcontext()

    loops = {without: loop(without) for without in (None, *CHOICES)}
    for without, steps in loops.items():
        with circumstances(without):
            seconds_of(steps, 1, device)
    count = iterations or max(1, round(SECONDS / seconds_of(loops[None], 1, device)))
    rounds: list[dict[str | None, float]] = []
    for _ in range(ROUNDS):
        found = {}
        for without, steps in loops.items():
            with circumstances(without):
                found[without] = seconds_of(steps, count, device)
        rounds.append(found)
    return {
        "dataset": dataset,
        "ms": 1e3 * statistics.median(each[None] for each in rounds),
        "without": {
            without: statistics.median(each[without] / each[None] for each in rounds)
            for without in CHOICES
        },
    }
