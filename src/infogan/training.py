"""The game between G, D and Q: an explicit state, and a generator of one row of numbers a step.

One iteration is two updates (published code; paper, sections 5 and 6, Appendix C):

1. D/Q step, Adam with ``lr_d`` over trunk, D head and Q head:
   loss_D = -E[log D(x)] - E[log(1 - D(G(z,c)))] - sum_i lambda_i L_I(c_i)
2. G step, Adam with ``lr_g`` over G, with z and c drawn anew and D and Q already updated:
   loss_G = -E[log D(G(z,c))] - sum_i lambda_i L_I(c_i)    (non-saturating)

Real and generated images pass D apart, each with its own batch-norm statistics. Only generated
images enter L_I. The regular GAN of Figure 1 differs in one thing: L_I is missing from loss_G.

Extensions of the paper, each absent unless the options ask for it: the consistency term, a teacher
that has clustered real images, noise on the images, rates and lambdas that change, several G steps
an iteration, an average of G's weights.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from infogan.batches import ALONE, Share, batches
from infogan.clustering import frozen, untaught
from infogan.codes import LatentSpace
from infogan.consistency import copied, inconsistency, noisy
from infogan.networks import Discriminator, Judgement, Networks, build, settle, to_pixels
from infogan.options import (
    CategoricalPrior,
    Clustering,
    Consistency,
    Model,
    Shape,
    Training,
)
from infogan.schedules import Amount, Schedule, at
from infogan.seeds import INITIALISATION, LATENT, derive_seed


@dataclass(frozen=True)
class Game:
    """What is fixed while a model trains: the rules."""

    space: LatentSpace
    training: Training
    pixel_range: tuple[float, float]
    informs_generator: bool  # False: the regular GAN, whose generator is not told about codes
    informs_trunk: bool
    share: Share = ALONE

    def latent(self, count: int, random: torch.Generator) -> Tensor:
        """The own ``count`` latent vectors, of those that are drawn for all processes: (n, L)."""
        return self.share.of(self.space.sample(count * self.share.processes, random))

    @property
    def weights(self) -> dict[str, Amount]:
        """Lambda of each code."""
        options = self.training
        return {
            name: options.lambda_categorical
            if isinstance(code.prior, CategoricalPrior)
            else options.lambda_continuous
            for name, code in self.space.codes.items()
        }

    @property
    def consistency(self) -> Consistency | None:
        """What real images must be consistent under; nothing in the regular GAN."""
        return self.training.consistency if self.informs_generator else None

    @property
    def clustering(self) -> Clustering | None:
        """How the teacher of Q was trained; the regular GAN has none."""
        return self.training.clustering if self.informs_generator else None

    @property
    def columns(self) -> list[str]:
        """Names of the numbers in a row."""
        bounds = [f"lower_bound.{name}" for name in self.space.codes]
        own = ["inconsistency"] if self.consistency else []
        own += ["untaught"] if self.clustering else []
        return ["loss_d", "loss_g", "d_real", "d_fake", *bounds, *own]


def infogan(model: Model, training: Training, share: Share = ALONE) -> Game:
    """The paper's game."""
    informs_trunk = training.mi_trains_trunk
    return Game(LatentSpace(model), training, model.pixel_range, True, informs_trunk, share)


def regular_gan(model: Model, training: Training, share: Share = ALONE) -> Game:
    """The baseline of Figure 1: Q learns to read the code, but the generator is not told.

    ``joint`` reproduces the printed curve: Q's loss also trains the shared trunk. ``head``: it
    reaches the Q head alone.
    """
    joint = training.baseline == "joint"
    return Game(LatentSpace(model), training, model.pixel_range, False, joint, share)


@dataclass
class State:
    """What changes while a model trains; together with the options, all a continuation needs.

    Networks learn through ``judge``, which is ``Discriminator.judge``, and ``generate``, which is
    the generator; several processes wrap both, so that gradients are averaged. ``evaluated`` are
    the networks to be judged and kept: the same ones, or with the average of G's weights.
    """

    networks: Networks
    optimizer_d: torch.optim.Optimizer
    optimizer_g: torch.optim.Optimizer
    random: torch.Generator
    iteration: int
    clock: Tensor  # the iteration, where the networks are
    evaluated: Networks
    judge: Callable[..., Judgement]
    generate: Callable[[Tensor], Tensor]
    everybody: Callable[[Tensor], Tensor] = lambda rows: rows  # the rows of all processes
    teacher: Discriminator | None = None  # knows the categories of real images; does not change

    def state_dict(self) -> dict[str, Any]:
        """Everything as plain values and tensors."""
        averaged = self.evaluated is not self.networks
        return {
            "networks": self.networks.state_dict(),
            "average_g": self.evaluated.generator.state_dict() if averaged else None,
            "optimizer_d": self.optimizer_d.state_dict(),
            "optimizer_g": self.optimizer_g.state_dict(),
            "random": self.random.get_state(),
            "device": self.clock.device.type,  # whose generator that is
            "iteration": self.iteration,
            "teacher": self.teacher.state_dict() if self.teacher else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave, on this state's device."""
        self.networks.load_state_dict(state["networks"])
        here = self.clock.device.type
        for optimizer, name in (
            (self.optimizer_d, "optimizer_d"),
            (self.optimizer_g, "optimizer_g"),
        ):
            optimizer.load_state_dict(state[name])
            for group in optimizer.param_groups:
                group["capturable"] = here == "cuda"  # as it was there, until now
        self.iteration = state["iteration"]
        if state["device"] == here:
            self.random.set_state(state["random"].cpu())
        else:  # which cannot be gone on with; so what is drawn is new
            seed = derive_seed(self.random.initial_seed(), LATENT, self.iteration)
            self.random.manual_seed(seed)
        self.clock.fill_(self.iteration)
        if state["teacher"] is not None:
            self.teacher = frozen(copy.deepcopy(self.networks.discriminator))
            self.teacher.load_state_dict(state["teacher"])
        if state["average_g"] is not None:
            self.evaluated.generator.load_state_dict(state["average_g"])


def start(model: Model, training: Training, image_shape: Shape, device: torch.device) -> State:
    """A new state: weights and latent variables follow from the seed. It has no teacher yet."""
    networks = build(model, image_shape, derive_seed(training.seed, INITIALISATION))
    # Convolutions are faster on images whose channels lie side by side.
    networks.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    networks.train()

    def adam(module: nn.Module, lr: Amount) -> torch.optim.Adam:
        return torch.optim.Adam(
            module.parameters(),
            # A rate that changes is a tensor, so that a recorded iteration sees the change.
            lr=torch.tensor(lr.start, device=device) if isinstance(lr, Schedule) else lr,
            betas=training.betas,
            fused=True,
            capturable=device.type == "cuda",  # may become part of a recorded iteration
        )

    evaluated = networks
    if training.average_g is not None:
        evaluated = copy.copy(networks)  # D and Q are the same ones
        evaluated._modules = dict(networks._modules)
        evaluated.generator = copy.deepcopy(networks.generator).requires_grad_(False)
    return State(
        networks,
        adam(networks.discriminator, training.lr_d),
        adam(networks.generator, training.lr_g),
        torch.Generator(device).manual_seed(derive_seed(training.seed, LATENT)),
        iteration=0,
        clock=torch.zeros((), device=device),
        evaluated=evaluated,
        judge=networks.discriminator.judge,
        generate=networks.generator,
    )


def information(game: Game, bounds: dict[str, Tensor], clock: Tensor) -> Tensor:
    """sum_i lambda_i L_I(c_i): summed over codes, each a mean over the batch."""
    weights = game.weights
    return torch.stack([at(weights[name], clock) * bound for name, bound in bounds.items()]).sum()


def seen(state: State, game: Game, images: Tensor) -> Tensor:
    """What D and Q see of images: with instance noise (Sonderby et al. 2017), if there is any."""
    deviation, pixel_range = game.training.instance_noise, game.pixel_range
    return noisy(images, deviation, state.clock, pixel_range, state.random, game.share)


def _deformed(state: State, game: Game, options: Consistency, images: Tensor) -> Tensor:
    return copied(images, options, state.clock, game.pixel_range, state.random, game.share)


Pause = Callable[[], None]


def _no_pause() -> None:
    pass


def d_q_step(state: State, game: Game, real: Tensor, pause: Pause = _no_pause) -> list[Tensor]:
    """Update trunk, D head and Q head; G stays. Gives loss_d, d_real, d_fake and L_I per code.

    All numbers are those of the minibatch before the update. With the consistency term, its value
    follows, a mean over its codes; with clustering, the cross entropy with the teacher.

    ``pause`` is called between its parts, up to the update, and may raise.
    """
    options, clustering, clock = game.consistency, game.clustering, state.clock
    latent = game.latent(len(real), state.random)
    with torch.no_grad():
        fake = state.networks.generator(latent)
    pause()
    images = [real, fake]
    if options:
        images.append(_deformed(state, game, options, real))
        if options.generated:
            images.append(_deformed(state, game, options, fake))

    judgement = state.judge(
        *(seen(state, game, each) for each in images),
        reads_real=bool(options or clustering),
        informs_trunk=game.informs_trunk,
        joint=game.training.joint_batch_norm,
    )
    real_logit, fake_logit = judgement.real_logit, judgement.fake_logit
    bounds = game.space.lower_bounds(judgement.of_fake, latent)
    # -log D(x) = softplus(-logit), -log(1 - D(x)) = softplus(logit): no epsilon needed
    loss = (
        softplus(-real_logit).mean()
        + softplus(fake_logit).mean()
        - information(game, bounds, clock)
    )
    numbers = [real_logit.sigmoid().mean(), fake_logit.sigmoid().mean(), *bounds.values()]
    if options:
        disagreement = _disagreement(state, game, options, judgement)
        loss = loss + at(options.weight, clock) * disagreement
        if options.generated:
            again = game.space.lower_bounds(judgement.of_others[1], latent)
            told = torch.stack([again[name] for name in options.codes]).sum()
            loss = loss - options.generated * told
        numbers.append(disagreement)
    if clustering:
        cross_entropy = _untaught(state, game, clustering, real, judgement)
        loss = loss + at(clustering.weight, clock) * cross_entropy
        numbers.append(cross_entropy)

    pause()
    state.optimizer_d.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    pause()
    _set_rate(state.optimizer_d, game.training.lr_d, clock)
    state.optimizer_d.step()
    return [loss, *numbers]


def _disagreement(state: State, game: Game, options: Consistency, judgement: Judgement) -> Tensor:
    assert judgement.of_real is not None
    places = dict(game.space.q_columns())
    everybody = state.everybody(judgement.of_real)
    return torch.stack(
        [
            inconsistency(
                judgement.of_real[:, places[name]],
                judgement.of_others[0][:, places[name]],
                options.balance,
                everybody[:, places[name]],
            )
            for name in options.codes
        ]
    ).mean()


def _untaught(
    state: State, game: Game, options: Clustering, real: Tensor, judgement: Judgement
) -> Tensor:
    assert judgement.of_real is not None
    assert state.teacher is not None
    place = dict(game.space.q_columns())[options.code]
    with torch.no_grad():
        target = state.teacher.q_outputs(state.teacher.trunk(real))[:, place].softmax(dim=1)
    return untaught(target, judgement.of_real[:, place])


def _set_rate(optimizer: torch.optim.Optimizer, rate: Amount, clock: Tensor) -> None:
    if isinstance(rate, Schedule):
        for group in optimizer.param_groups:
            group["lr"].copy_(rate.at(clock))


def g_step(state: State, game: Game, count: int) -> Tensor:
    """Update G with fresh z and c; trunk, D and Q stay. Gives loss_g."""
    discriminator = state.networks.discriminator
    latent = game.latent(count, state.random)
    discriminator.requires_grad_(False)  # gradients pass through, none are kept
    features = discriminator.trunk(seen(state, game, state.generate(latent)))
    loss = softplus(-discriminator.d_logit(features)).mean()
    if game.informs_generator:
        bounds = game.space.lower_bounds(discriminator.q_outputs(features), latent)
        loss = loss - information(game, bounds, state.clock)

    state.optimizer_g.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    _set_rate(state.optimizer_g, game.training.lr_g, state.clock)
    state.optimizer_g.step()
    discriminator.requires_grad_(True)
    return loss


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    """Move the average of G's weights and batch-norm statistics; the rest is taken over.

    It begins quickly, as TensorFlow's ExponentialMovingAverage does, to forget the first weights.
    """
    share = 1 - ((1 + state.clock) / (10 + state.clock)).clamp(max=decay)
    present = state.networks.generator.state_dict()
    for name, value in state.evaluated.generator.state_dict().items():
        if value.is_floating_point() and not name.endswith(("._u", "._v")):
            value.lerp_(present[name], share)
        else:
            value.copy_(present[name])
    settle(state.evaluated.generator)  # spectral norm is that of the averaged weights


def one_iteration(state: State, game: Game, batch: Tensor, pause: Pause = _no_pause) -> Tensor:
    """Both steps on a batch of uint8 images: a row of numbers, as ``game.columns`` names them.

    ``pause`` is called until something is updated, and may raise; then comes the rest, too.
    """
    # Each step anew, since autocast keeps its copies of the weights, which each step changes.
    half = partial(
        torch.autocast,
        batch.device.type,
        torch.bfloat16,
        enabled=game.training.precision == "bfloat16",
    )
    with half():
        loss_d, *others = d_q_step(state, game, to_pixels(batch, game.pixel_range), pause)
    for _ in range(game.training.steps_g):
        with half():
            loss_g = g_step(state, game, len(batch))
    if game.training.average_g is not None:
        _average(state, game.training.average_g)
    state.clock.add_(1)
    return torch.stack([loss_d, loss_g, *others]).detach()


Record = Callable[[Callable[[], None], torch.Generator], Callable[[], None]]


def _cuda_graph(work: Callable[[], None], random: torch.Generator) -> Callable[[], None]:
    """The kernels that ``work`` launches, to be launched again as one."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries choose and allocate before anything is recorded
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(random)
    with torch.cuda.graph(graph):
        work()
    return graph.replay


class Recorded:
    """The iteration, recorded once and then replayed.

    These networks are so small that a GPU computes faster than a program can launch kernels.
    Recording runs the iteration a few times; the state is then put back, in place, since the
    recording knows its tensors by their addresses.
    """

    def __init__(
        self, state: State, game: Game, batch: Tensor, record: Record = _cuda_graph
    ) -> None:
        self._batch = batch.clone()

        def work() -> None:
            self._row = one_iteration(state, game, self._batch)

        before = {name: value.clone() for name, value in _tensors(state)}
        random = state.random.get_state()
        state.networks.zero_grad()
        self._replay = record(work, state.random)
        with torch.no_grad():
            for name, value in _tensors(state):
                # What the optimizers had not made yet begins with zeros.
                value.copy_(before[name]) if name in before else value.zero_()
        state.random.set_state(random)

    def __call__(self, batch: Tensor) -> Tensor:
        """A row of numbers."""
        self._batch.copy_(batch)
        self._replay()
        return self._row.clone()


def _tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that an iteration changes."""
    yield from state.networks.state_dict().items()
    yield "clock", state.clock
    if state.evaluated is not state.networks:
        for name, value in state.evaluated.generator.state_dict().items():
            yield f"average.{name}", value
    for letter, optimizer in (("d", state.optimizer_d), ("g", state.optimizer_g)):
        for place, values in enumerate(optimizer.state.values()):
            for name, value in values.items():
                yield f"{letter}.{place}.{name}", value


def _undoing(state: State, pause: Pause) -> Pause:
    """``pause`` in an iteration that begins here: if it raises, the iteration is undone.

    Before its first update that has drawn numbers, and moved statistics of batch norm and vectors
    of spectral norm.
    """
    random = state.random.get_state()
    buffers = [(each, each.clone()) for each in state.networks.buffers()]

    def undoing() -> None:
        try:
            pause()
        except BaseException:
            state.random.set_state(random)
            for each, before in buffers:
                each.copy_(before)
            raise

    return undoing


def train(
    state: State, game: Game, images: Tensor | np.ndarray, pause: Pause | None = None
) -> Iterator[Tensor]:
    """Endless iterations; after each, its numbers in the order of ``game.columns``, on the device.

    The state is advanced in place and may be saved whenever the generator waits. Nothing here
    waits for the device: whoever reads a number does.

    ``pause`` is called before an iteration and several times until it updates something; if it
    raises, the iteration is undone. A recorded iteration has no such moments.
    """
    options = game.training
    device = state.random.device
    supply = batches(images, options.batch_size, options.seed, state.iteration, device, game.share)
    first = next(supply)

    def eager(batch: Tensor) -> Tensor:
        if pause is None:
            return one_iteration(state, game, batch)
        pause()
        return one_iteration(state, game, batch, _undoing(state, pause))

    alone = game.share.processes == 1
    recorded = device.type == "cuda" and options.cuda_graph and alone
    step = Recorded(state, game, first) if recorded else eager
    for batch in itertools.chain([first], supply):
        row = step(batch)
        state.iteration += 1
        yield row
