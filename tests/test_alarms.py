"""Each alarm is provoked once, and is silent just short of it."""

import math
from collections.abc import Callable

import pytest
import torch

from infogan.alarms import ADVICE, GRACE, WINDOW, Alarms, least_information
from infogan.codes import LatentSpace
from infogan.errors import UserError
from infogan.options import Model


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def alarms(told: list[tuple[str, str]]) -> Alarms:
    least = {"c1": (0.05 * math.log(10), "5% of H(c1) = 2.303")}
    return Alarms("infogan", least, lambda *words: told.append(words))


def numbers(**changes: float) -> dict[str, float]:
    usual = {"loss_d": 1.3, "d_real": 0.6, "d_fake": 0.4, "lower_bound.c1": 2.0}
    return usual | {name.replace("bound", "lower_bound.c1"): v for name, v in changes.items()}


def watch(alarms: Alarms, first: int, count: int, **changes: float) -> None:
    for iteration in range(first, first + count):
        alarms.watch(iteration, numbers(**changes))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["loss_d", "d_fake", "lower_bound.c1"])
def test_a_number_that_is_none_stops_the_training(
    alarms: Alarms, column: str, value: float
) -> None:
    with pytest.raises(UserError, match=f"infogan diverged: {column} is .* at iteration 7"):
        alarms.watch(7, numbers() | {column: value})


@pytest.mark.parametrize(
    "short", [{"d_real": 0.99, "d_fake": 0.0}, {"d_real": 1.0, "d_fake": 0.01}]
)
def test_d_wins_only_if_it_is_certain_of_both_without_a_break(
    alarms: Alarms, told: list[tuple[str, str]], short: dict[str, float]
) -> None:
    watch(alarms, 1, WINDOW - 1, d_real=0.995, d_fake=0.005)
    alarms.watch(WINDOW, numbers(**short))
    watch(alarms, WINDOW + 1, WINDOW - 1, d_real=0.995, d_fake=0.005)
    assert told == []
    alarms.watch(2 * WINDOW, numbers(d_real=0.995, d_fake=0.005))
    ((kind, words),) = told
    assert kind == "d_wins"
    assert f"up to {2 * WINDOW}, D has told real from generated images" in words
    assert words.endswith(ADVICE["d_wins"])


def test_little_information_is_told_after_the_grace(
    alarms: Alarms, told: list[tuple[str, str]]
) -> None:
    little = 0.05 * math.log(10)
    watch(alarms, 1, GRACE - 1, bound=0.0)
    assert told == []
    alarms.watch(GRACE, numbers(bound=0.0))
    assert [kind for kind, _ in told] == ["no_information"]
    assert "L_I(c1) was 0.000 nats, less than 5% of H(c1) = 2.303" in told[0][1]

    told.clear()
    other = Alarms("infogan", {"c1": (little, "")}, lambda *words: told.append(words))
    watch(other, 1, 2 * GRACE, bound=little * 1.001)
    assert told == []


def test_of_several_codes_each_that_g_ignores_is_told(told: list[tuple[str, str]]) -> None:
    least = {"c1": (0.1, "a"), "c2": (-0.3, "b"), "c3": (-0.3, "c")}
    alarms = Alarms("infogan", least, lambda *words: told.append(words))
    for iteration in range(1, 3 * GRACE):
        early = iteration < 2 * GRACE
        of_codes = {"c1": 2.0 if early else 0.0, "c2": -0.4, "c3": -0.2}
        alarms.watch(iteration, numbers() | {f"lower_bound.{c}": v for c, v in of_codes.items()})
    assert [kind for kind, _ in told] == ["no_information.c2", "no_information"]
    assert all(words.endswith(ADVICE["no_information"]) for _, words in told)


@pytest.mark.parametrize("spread", ["fixed", "learned"])
@pytest.mark.parametrize(("told_of_it", "ignored"), [(0.0, True), (0.04, True), (0.06, False)])
def test_a_continuous_code_is_ignored_if_the_best_q_can_tell_little_of_it(
    make_model: Callable[..., Model], spread: str, told_of_it: float, ignored: bool
) -> None:
    model = make_model(spread=spread, codes=["c1 uniform -2 1 x2"])
    space, variance, random = LatentSpace(model), 9 / 12, torch.Generator().manual_seed(0)
    codes = space.codes["c1"].sample(400_000, random)
    # A reading from which that share of the variance is known, and the sigma that fits the rest.
    noise = torch.randn(codes.shape, generator=random)
    means = -0.5 + told_of_it * (codes + 0.5)
    means += (told_of_it * (1 - told_of_it) * variance) ** 0.5 * noise
    log_sigma = math.log((1 - told_of_it) * variance) / 2
    outputs = torch.cat([means, torch.full_like(means, log_sigma)], dim=1)
    likelihood = float(space.codes["c1"].log_likelihood(outputs, codes).mean())
    least, words = least_information(model)["c1"]
    assert (likelihood + space.entropies()["c1"] < least) == ignored
    assert words == f"{least:.3f}, where Q can tell 5% of the variance of c1"


def test_of_a_categorical_code_the_least_is_a_share_of_its_entropy(
    make_model: Callable[..., Model],
) -> None:
    least, words = least_information(make_model(codes=["c1 categorical 10"]))["c1"]
    assert least == pytest.approx(0.05 * math.log(10))
    assert words == "5% of H(c1) = 2.303"


def test_a_regular_gan_is_not_blamed_for_little_information(
    told: list[tuple[str, str]],
) -> None:
    alarms = Alarms("baseline", {}, lambda *words: told.append(words))
    watch(alarms, 1, 2 * GRACE, bound=-1.0)
    alarms.examine(GRACE, 0.2, {"c1": [3]})
    assert told == []


@pytest.mark.parametrize(("iteration", "alarmed"), [(GRACE - 1, False), (GRACE, True)])
def test_unused_categories_are_named(
    alarms: Alarms, told: list[tuple[str, str]], iteration: int, alarmed: bool
) -> None:
    alarms.examine(iteration, 0.2, {"c1": [3, 7]})
    assert [kind for kind, _ in told] == ["unused_category"] * alarmed
    if alarmed:
        assert "no real image looked at falls into category 3, 7 of c1" in told[0][1]


@pytest.mark.parametrize(("contrast", "alarmed"), [(0.0, True), (0.0099, True), (0.0101, False)])
def test_images_that_do_not_vary_are_told(
    alarms: Alarms, told: list[tuple[str, str]], contrast: float, alarmed: bool
) -> None:
    alarms.examine(GRACE - 1, contrast, {"c1": []})
    assert told == []
    alarms.examine(GRACE, contrast, {"c1": []})
    assert [kind for kind, _ in told] == ["no_variance"] * alarmed


def test_an_alarm_is_raised_once_and_kept(
    alarms: Alarms, told: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    for iteration in (600, 700):
        alarms.examine(iteration, 0.0, {"c1": [1]})
    assert [kind for kind, _ in told] == ["no_variance", "unused_category"]
    assert alarms.raised == dict(told)
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == f"infogan: {told[0][1]}"
