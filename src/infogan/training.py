"""The game between G, D and Q: an explicit state, and a generator of one row of numbers a step.

One iteration is two updates (published code; paper, sections 5 and 6, Appendix C):

1. D/Q step, Adam with ``lr_d`` over trunk, D head and Q head:
   loss_D = -E[log D(x)] - E[log(1 - D(G(z,c)))] - sum_i lambda_i L_I(c_i)
2. G step, Adam with ``lr_g`` over G, with z and c drawn anew and D and Q already updated:
   loss_G = -E[log D(G(z,c))] - sum_i lambda_i L_I(c_i)    (non-saturating)

Real and generated images pass D apart, each with its own batch-norm statistics. Only generated
images enter L_I. The regular GAN of Figure 1 differs in one thing: L_I is missing from loss_G.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from infogan.codes import LatentSpace
from infogan.networks import Networks, build, to_pixels
from infogan.options import CategoricalPrior, Model, Shape, Training

# What a seed is used for; each purpose has a stream of its own.
_INITIALISATION, _LATENT, _ORDER, HELD_OUT = range(4)


def derive_seed(seed: int, *purpose: int) -> int:
    """A seed for one purpose, independent of those of all others."""
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1, np.uint64)[0] >> 1)


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one. A seed gives other numbers on other devices."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True)
class Game:
    """What is fixed while a model trains: the rules."""

    space: LatentSpace
    training: Training
    pixel_range: tuple[float, float]
    informs_generator: bool  # False: the regular GAN, whose generator is not told about codes
    informs_trunk: bool

    @property
    def weights(self) -> dict[str, float]:
        """Lambda of each code."""
        options = self.training
        return {
            name: options.lambda_categorical
            if isinstance(code.prior, CategoricalPrior)
            else options.lambda_continuous
            for name, code in self.space.codes.items()
        }

    @property
    def columns(self) -> list[str]:
        """Names of the numbers in a row."""
        bounds = [f"lower_bound.{name}" for name in self.space.codes]
        return ["loss_d", "loss_g", "d_real", "d_fake", *bounds]


def infogan(model: Model, training: Training) -> Game:
    """The paper's game."""
    return Game(LatentSpace(model), training, model.pixel_range, True, training.mi_trains_trunk)


def regular_gan(model: Model, training: Training) -> Game:
    """The baseline of Figure 1: Q learns to read the code, but the generator is not told.

    ``joint`` reproduces the printed curve: Q's loss also trains the shared trunk. ``head``: it
    reaches the Q head alone.
    """
    joint = training.baseline == "joint"
    return Game(LatentSpace(model), training, model.pixel_range, False, joint)


@dataclass
class State:
    """What changes while a model trains; together with the options, all a continuation needs."""

    networks: Networks
    optimizer_d: torch.optim.Optimizer
    optimizer_g: torch.optim.Optimizer
    random: torch.Generator
    iteration: int

    def state_dict(self) -> dict[str, Any]:
        """Everything as plain values and tensors."""
        return {
            "networks": self.networks.state_dict(),
            "optimizer_d": self.optimizer_d.state_dict(),
            "optimizer_g": self.optimizer_g.state_dict(),
            "random": self.random.get_state(),
            "iteration": self.iteration,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave, on this state's device."""
        self.networks.load_state_dict(state["networks"])
        self.optimizer_d.load_state_dict(state["optimizer_d"])
        self.optimizer_g.load_state_dict(state["optimizer_g"])
        self.random.set_state(state["random"].cpu())
        self.iteration = state["iteration"]


def start(model: Model, training: Training, image_shape: Shape, device: torch.device) -> State:
    """A new state: weights and latent variables follow from the seed."""
    networks = build(model, image_shape, derive_seed(training.seed, _INITIALISATION)).to(device)
    networks.train()

    def adam(module: nn.Module, lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(module.parameters(), lr=lr, betas=training.betas, fused=True)

    return State(
        networks,
        adam(networks.discriminator, training.lr_d),
        adam(networks.generator, training.lr_g),
        torch.Generator(device).manual_seed(derive_seed(training.seed, _LATENT)),
        iteration=0,
    )


def resident(images: np.ndarray, device: torch.device) -> Tensor:
    """The uint8 images (N, C, H, W) in memory, on the device if they take at most half of it."""
    tensor = torch.from_numpy(np.array(images))  # a copy: the file is mapped read-only
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return tensor.to(device) if tensor.nbytes <= free // 2 else tensor.pin_memory()
    return tensor


def batches(images: Tensor, batch_size: int, seed: int, iteration: int) -> Iterator[Tensor]:
    """Endless minibatches from the given iteration on: each epoch a new order, rest dropped.

    The order follows from seed and epoch alone, so a continued run needs no stored position.
    """
    each_epoch = len(images) // batch_size
    while True:
        epoch, first = divmod(iteration, each_epoch)
        order_generator = torch.Generator().manual_seed(derive_seed(seed, _ORDER, epoch))
        order = torch.randperm(len(images), generator=order_generator).to(images.device)
        for batch in order[: each_epoch * batch_size].view(each_epoch, batch_size)[first:]:
            yield images[batch]
            iteration += 1


def information(game: Game, bounds: dict[str, Tensor]) -> Tensor:
    """sum_i lambda_i L_I(c_i): summed over codes, each a mean over the batch."""
    weights = game.weights
    return torch.stack([weights[name] * bound for name, bound in bounds.items()]).sum()


def d_q_step(state: State, game: Game, real: Tensor) -> list[Tensor]:
    """Update trunk, D head and Q head; G stays. Gives loss_d, d_real, d_fake and L_I per code.

    All numbers are those of the minibatch before the update.
    """
    discriminator = state.networks.discriminator
    latent = game.space.sample(len(real), state.random)
    with torch.no_grad():
        fake = state.networks.generator(latent)

    real_logit = discriminator.d_logit(discriminator.trunk(real))
    features = discriminator.trunk(fake)
    fake_logit = discriminator.d_logit(features)
    outputs = discriminator.q_outputs(features if game.informs_trunk else features.detach())
    bounds = game.space.lower_bounds(outputs, latent)
    # -log D(x) = softplus(-logit), -log(1 - D(x)) = softplus(logit): no epsilon needed
    loss = softplus(-real_logit).mean() + softplus(fake_logit).mean() - information(game, bounds)

    state.optimizer_d.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer_d.step()
    return [loss, real_logit.sigmoid().mean(), fake_logit.sigmoid().mean(), *bounds.values()]


def g_step(state: State, game: Game, count: int) -> Tensor:
    """Update G with fresh z and c; trunk, D and Q stay. Gives loss_g."""
    discriminator = state.networks.discriminator
    latent = game.space.sample(count, state.random)
    discriminator.requires_grad_(False)  # gradients pass through, none are kept
    features = discriminator.trunk(state.networks.generator(latent))
    loss = softplus(-discriminator.d_logit(features)).mean()
    if game.informs_generator:
        bounds = game.space.lower_bounds(discriminator.q_outputs(features), latent)
        loss = loss - information(game, bounds)

    state.optimizer_g.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer_g.step()
    discriminator.requires_grad_(True)
    return loss


def train(state: State, game: Game, images: Tensor) -> Iterator[Tensor]:
    """Endless iterations; after each, its numbers in the order of ``game.columns``, on the device.

    The state is advanced in place and may be saved whenever the generator waits. Nothing here
    waits for the device: whoever reads a number does.
    """
    options = game.training
    device = state.random.device
    for batch in batches(images, options.batch_size, options.seed, state.iteration):
        real = to_pixels(batch.to(device, non_blocking=True), game.pixel_range)
        loss_d, *others = d_q_step(state, game, real)
        loss_g = g_step(state, game, options.batch_size)
        state.iteration += 1
        yield torch.stack([loss_d, loss_g, *others]).detach()
