"""Kinds of images that exist are found without labels, and Q is told of them in the game."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from infogan.clustering import Apprentice, _some, frozen, likeness, untaught
from infogan.errors import UserError
from infogan.evaluation import contingency, error_rate, match_one_to_one
from infogan.networks import Discriminator, build, to_pixels
from infogan.options import Clustering, Model, Training
from infogan.training import State, d_q_step, g_step, infogan, regular_gan, start, train

CPU = torch.device("cpu")
NOTHING = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}
CLUSTERING: dict[str, Any] = {
    "code": "c1",
    "weight": 1.0,
    "iterations": 40,
    "refinements": 40,
    "lr": 2e-3,
    "temperature": 0.5,
    "certainty": 0.3,
    **NOTHING,
    "shift": 0.13,
}


def kinds(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars that stand, bars that lie, and rings, here and there and of several strengths."""
    random = np.random.default_rng(3)
    images = np.zeros((count, 1, 8, 8), np.uint8)
    labels = random.integers(0, 3, count)
    for image, label in zip(images[:, 0], labels, strict=True):
        row, column = random.integers(1, 4, 2)
        bright = random.integers(150, 255)
        if label == 0:
            image[1:7, column + 1 : column + 3] = bright
        elif label == 1:
            image[row + 1 : row + 3, 1:7] = bright
        else:
            image[row : row + 4, column : column + 4] = bright
            image[row + 1 : row + 3, column + 1 : column + 3] = 0
    return images, labels


def taught(model: Model, training: Training, images: np.ndarray) -> Discriminator:
    apprentice = Apprentice(model, clustering(training), training, (1, 8, 8), CPU)
    return learned(apprentice, images)


def learned(apprentice: Apprentice, images: np.ndarray) -> Discriminator:
    steps = apprentice.learn(torch.from_numpy(images))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            teacher: Discriminator = end.value
            return teacher


def clustering(training: Training) -> Clustering:
    assert training.clustering is not None
    return training.clustering


def with_teacher(model: Model, training: Training) -> State:
    state = start(model, training, (1, 8, 8), CPU)
    state.teacher = frozen(build(model, (1, 8, 8), seed=5).discriminator)
    return state


@pytest.fixture
def make_clustering(make_training: Callable[..., Training]) -> Callable[..., Training]:
    return lambda batch_size=8, **changes: make_training(
        clustering={**CLUSTERING, **changes}, batch_size=batch_size
    )


@pytest.fixture
def real() -> Tensor:
    return torch.rand(8, 1, 8, 8)


# --- The teacher ---------------------------------------------------------------------------------


def test_likeness_is_the_cross_entropy_of_finding_the_copy_among_all_others() -> None:
    images, copies = torch.randn(2, 5, 4, dtype=torch.float64)
    both = torch.cat([images, copies])
    losses = []
    for place in range(10):
        partner = (place + 5) % 10
        scores = [
            math.exp(torch.cosine_similarity(both[place], both[other], dim=0).item() / 0.3)
            for other in range(10)
        ]
        others = sum(score for other, score in enumerate(scores) if other != place)
        losses.append(-math.log(scores[partner] / others))
    found = likeness(images, copies, 0.3)
    assert found.item() == pytest.approx(sum(losses) / 10)


def test_kinds_of_images_become_categories_without_labels(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    """Not with every seed: networks this small may find places instead of kinds."""
    images, labels = kinds(400)
    training = make_clustering(iterations=150, refinements=60, batch_size=32)
    found = []
    for seed in (0, 1, 2):
        teacher = taught(model, training.alone(seed), images)
        logits = teacher(to_pixels(torch.from_numpy(images), (0.0, 1.0)))[1][:, :3]
        certainty = logits.softmax(dim=1).amax(dim=1).mean().item()
        categories = logits.argmax(dim=1).numpy()
        matched = match_one_to_one(contingency(categories, labels, (3, 3)))
        found.append((error_rate(matched, categories, labels), certainty))
    (best, certainty), (median, _), _ = sorted(found)
    assert best < 0.03
    assert certainty > 0.9
    assert median < 0.25  # two kinds of three would be 0.33


def test_a_teacher_follows_from_the_seed_and_learns_nothing_more(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    images, _ = kinds(60)
    first, again, other = (
        taught(model, make_clustering(iterations=3, refinements=2).alone(seed), images)
        for seed in (0, 0, 1)
    )
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert any(
        not torch.equal(value, other.state_dict()[name])
        for name, value in first.state_dict().items()
    )
    assert not first.training
    assert not any(each.requires_grad for each in first.parameters())


@pytest.mark.parametrize("done", [2, 3, 4])
def test_an_apprentice_goes_on_from_its_state_as_if_nothing_had_been(
    model: Model, make_clustering: Callable[..., Training], done: int
) -> None:
    """While it tells images apart, when it has just done so, and while it refines."""
    images, _ = kinds(60)
    training = make_clustering(iterations=3, refinements=2)
    given = model, clustering(training), training, (1, 8, 8), CPU
    first = Apprentice(*given)
    steps = first.learn(torch.from_numpy(images))
    for _ in range(done):
        next(steps)
    state = copy.deepcopy(first.state_dict())
    expected = learned(Apprentice(*given), images)
    again = Apprentice(*given)
    again.load_state_dict(state)
    assert again.done == done
    for name, value in learned(again, images).state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name


def test_an_apprentice_that_diverges_is_named_with_what_may_help(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    training = make_clustering(iterations=3, refinements=2, lr=1e30)
    with pytest.raises(UserError, match=r"after 3 iterations .* finite; a smaller lr than 1e\+30"):
        taught(model, training, kinds(60)[0])


@pytest.mark.parametrize("done", [2, 5])
def test_a_loss_that_is_no_number_makes_no_teacher(
    model: Model,
    make_clustering: Callable[..., Training],
    monkeypatch: pytest.MonkeyPatch,
    done: int,
) -> None:
    """Neither while it tells images apart nor at the very end."""
    training, real = make_clustering(iterations=3, refinements=2), Apprentice._step

    def step(apprentice: Apprentice, loss: Tensor) -> None:
        real(apprentice, loss * math.nan if apprentice.done + 1 == done else loss)

    monkeypatch.setattr(Apprentice, "_step", step)
    with pytest.raises(UserError, match=r"iterations the teacher is not finite"):
        taught(model, training, kinds(60)[0])


def test_images_that_are_all_the_same_have_no_clusters(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    training = make_clustering(iterations=3, refinements=2)
    with (
        pytest.warns(UserWarning, match="distinct clusters"),
        pytest.raises(
            UserError, match=r"all images look alike, so there are no 3 clusters; .* same"
        ),
    ):
        taught(model, training, np.zeros((60, 1, 8, 8), np.uint8))


def test_copies_may_have_noise(model: Model, make_clustering: Callable[..., Training]) -> None:
    without, with_noise = (
        taught(model, make_clustering(iterations=1, refinements=0, noise=noise), kinds(60)[0])
        for noise in (0.0, 0.3)
    )
    weights = (each.trunk.state_dict().values() for each in (without, with_noise))
    assert any(not torch.equal(*pair) for pair in zip(*weights, strict=True))


def test_an_apprentice_of_another_device_draws_anew_and_always_the_same(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    images, _ = kinds(60)
    training = make_clustering(iterations=3, refinements=2)
    given = model, clustering(training), training, (1, 8, 8), CPU
    first = Apprentice(*given)
    next(first.learn(torch.from_numpy(images)))
    state = copy.deepcopy(first.state_dict())
    found = []
    for device in ("cpu", "cuda", "cuda"):
        again = Apprentice(*given)
        again.load_state_dict({**state, "device": device})
        found.append(again.state_dict()["random"])
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(Apprentice(*given).state_dict()["random"], found[1])


def clustered(
    model: Model, make_clustering: Callable[..., Training]
) -> tuple[Discriminator, Tensor, Tensor, Tensor]:
    """A teacher fresh from k-means; what it makes of images, their categories, and the centres."""
    images, _ = kinds(90)
    teacher = taught(model, make_clustering(iterations=5, refinements=0), images)
    pixels = to_pixels(torch.from_numpy(images), (0.0, 1.0))
    hidden = teacher.q_head[:-1](teacher.trunk(pixels))
    categories = teacher(pixels)[1][:, :3].argmax(dim=1)
    centres = torch.stack([hidden[categories == kind].mean(dim=0) for kind in range(3)])
    return teacher, hidden, categories, centres


def test_its_first_categories_are_those_of_k_means(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    """The likeliest category is that of the nearest centre: all logits differ by distances."""
    _, hidden, categories, centres = clustered(model, make_clustering)
    assert torch.equal(torch.cdist(hidden, centres).argmin(dim=1), categories)


def test_k_means_sees_images_from_all_over_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.clustering._CLUSTERED", 10)
    for images in (np.arange(95, dtype=np.uint8), torch.arange(95)):
        assert _some(images).tolist() == list(range(0, 95, 10))


def test_images_and_their_copies_have_batch_norm_statistics_of_their_own(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    """As real and generated images have them in the game; k-means, in eval mode, moves none."""
    images, _ = kinds(60)
    teacher = taught(model, make_clustering(iterations=3, refinements=2), images)
    assert teacher.trunk.get_buffer("3.num_batches_tracked").item() == 2 * (3 + 2)


def test_at_a_centre_its_own_logit_is_five_larger_than_the_others_on_average(
    model: Model, make_clustering: Callable[..., Training]
) -> None:
    teacher, _, _, centres = clustered(model, make_clustering)
    logits = teacher.q_head[-1](centres)[:, :3]
    gaps = logits.diagonal()[:, None] - logits
    assert gaps.sum().item() / 6 == pytest.approx(5, rel=1e-3)


def test_a_teacher_comes_to_rest_while_it_is_refined(
    model: Model, make_clustering: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noted(optimizer: torch.optim.Adam, *others: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *others)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    images, _ = kinds(60)
    taught(model, make_clustering(iterations=2, refinements=4, lr=1e-3), images)
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 7.5e-4, 5e-4, 2.5e-4])


# --- The game ------------------------------------------------------------------------------------


def test_untaught_is_the_mean_cross_entropy_with_the_teacher() -> None:
    target = torch.randn(6, 3, dtype=torch.float64).softmax(dim=1)
    logits = torch.randn(6, 3, dtype=torch.float64)
    expected = -(target * logits.softmax(dim=1).log()).sum().item() / 6
    assert untaught(target, logits).item() == pytest.approx(expected)


def test_the_loss_has_the_teachers_categories_of_real_images(
    model: Model,
    make_training: Callable[..., Training],
    make_clustering: Callable[..., Training],
    real: Tensor,
    float64: None,
) -> None:
    training = make_clustering(weight=0.7)
    state, game, real = with_teacher(model, training), infogan(model, training), real.double()
    assert game.columns == [*infogan(model, make_training()).columns, "untaught"]
    assert state.teacher is not None
    target = state.teacher(real)[1][:, :3].softmax(dim=1)
    networks = build(model, (1, 8, 8), 0)
    networks.load_state_dict(state.networks.state_dict())
    q = networks.train().discriminator(real)[1][:, :3]

    numbers = d_q_step(state, game, real)
    torch.testing.assert_close(numbers[-1], untaught(target, q).detach())
    plain = make_training()
    expected = d_q_step(start(model, plain, (1, 8, 8), CPU), infogan(model, plain), real)
    torch.testing.assert_close(numbers[0], expected[0] + 0.7 * numbers[-1])
    torch.testing.assert_close(numbers[1:-1], expected[1:])


def test_the_teacher_sees_real_images_without_noise(
    model: Model, make_training: Callable[..., Training], real: Tensor
) -> None:
    training = make_training(clustering=CLUSTERING, instance_noise=0.5)
    state = with_teacher(model, training)
    assert state.teacher is not None
    seen: list[Tensor] = []
    state.teacher.trunk.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    d_q_step(state, infogan(model, training), real)
    (given,) = seen
    assert torch.equal(given, real)


def test_neither_d_nor_g_nor_the_teacher_learns_from_it(
    model: Model, make_clustering: Callable[..., Training], real: Tensor
) -> None:
    found = []
    for weight in (0.0, 1.0):
        training = make_clustering(weight=weight)
        state, game = with_teacher(model, training), infogan(model, training)
        assert state.teacher is not None
        before = {name: each.clone() for name, each in state.teacher.state_dict().items()}
        d_q_step(state, game, real)
        assert all(torch.equal(each, before[n]) for n, each in state.teacher.state_dict().items())
        found.append({n: p.grad for n, p in state.networks.discriminator.named_parameters()})
        g_step(with_teacher(model, training), game, 8)
    without, told = found
    same = {
        name
        for name, each in told.items()
        if each is not None and torch.equal(each, without[name])
    }
    # A bias before batch norm has no gradient but that of rounding.
    weights = {name for name in told if name.endswith("weight")}
    assert same & weights == {name for name in weights if name.startswith("d_head")}
    assert same >= {name for name in told if name.startswith("d_head")}


def test_the_regular_gan_has_no_teacher(
    model: Model,
    make_training: Callable[..., Training],
    make_clustering: Callable[..., Training],
    images: np.ndarray,
) -> None:
    rows = []
    for training in (make_training(), make_clustering()):
        state = start(model, training, (1, 8, 8), CPU)
        steps = train(state, regular_gan(model, training), torch.from_numpy(images))
        rows.append(torch.stack([next(steps) for _ in range(3)]))
    assert torch.equal(*rows)
