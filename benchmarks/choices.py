"""What each decision about speed brings: ours against ours without it, one at a time."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar
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
    from cases import IMAGES, options, random_images

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
    rounds = _in_turn(loops, circumstances, iterations, device)
    return {
        "dataset": dataset,
        "ms": 1e3 * statistics.median(each[None] for each in rounds),
        "without": {
            without: statistics.median(each[without] / each[None] for each in rounds)
            for without in CHOICES
        },
    }


# What can be asked of the arithmetic of ours; a term that needs a third batch of images beside.
CONSISTENCY = {
    "codes": ["c1"],
    "weight": 0.3,
    "balance": 1.0,
    "rotation": 0.5,
    "scale": 0.15,
    "shear": 0.25,
    "shift": 0.15,
}
ARITHMETIC: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float32, consistency term": {"consistency": CONSISTENCY},
    "bfloat16, consistency term": {"precision": "bfloat16", "consistency": CONSISTENCY},
}
COMPILED = "float32, torch.compile"


def compile_parts(model: networks.Networks) -> None:
    """Let torch.compile have G, the trunk and the Q head."""
    discriminator = model.discriminator
    for part in (model.generator, discriminator.trunk, discriminator.q_head):
        part.compile()


def arithmetic(dataset: str, iterations: int | None, *, compiled: bool = True) -> dict[str, Any]:
    """Ms an iteration in each precision, with the consistency term, and compiled.

    Compiling needs a C++ compiler, and takes most of a minute.
    """
    from cases import IMAGES, options, random_images, seconds_of

    device = choose_device(options(dataset)[1].device)
    images = resident(random_images(IMAGES, options(dataset)[2]), device)

    def loop(name: str) -> Iterator[Tensor]:
        model, training, shape = options(dataset, **ARITHMETIC.get(name, {}))
        configure(training)
        state = start(model, training, shape, device)
        if name == COMPILED:
            compile_parts(state.networks)
        return train(state, infogan(model, training), images)

    loops = {name: loop(name) for name in (*ARITHMETIC, *([COMPILED] if compiled else []))}
    first = seconds_of(loops[COMPILED], 1, device) if compiled else None
    rounds = _in_turn(loops, lambda _: nullcontext(), iterations, device)
    return {
        "dataset": dataset,
        "ms": {name: 1e3 * statistics.median(each[name] for each in rounds) for name in loops},
        "first_compiled_seconds": first,
    }


Name = TypeVar("Name")


def _in_turn(
    loops: Mapping[Name, Iterator[Tensor]],
    circumstances: Callable[[Name], AbstractContextManager],
    iterations: int | None,
    device: torch.device,
) -> list[dict[Name, float]]:
    """Seconds an iteration of each, in each round."""
    from cases import seconds_of

    for name, steps in loops.items():
        with circumstances(name):
            seconds_of(steps, 1, device)
    count = iterations or max(
        1, round(SECONDS / seconds_of(next(iter(loops.values())), 1, device))
    )
    rounds = []
    for _ in range(ROUNDS):
        found = {}
        for name, steps in loops.items():
            with circumstances(name):
                found[name] = seconds_of(steps, count, device)
        rounds.append(found)
    return rounds
