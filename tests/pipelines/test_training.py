"""The loop around the game, run as the node that it is."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infogan import batches, checkpoint, clustering, information, profiling, tracking
from infogan import training as game
from infogan.alarms import ADVICE
from infogan.datasets.values import Arrays, Rows, Weights
from infogan.errors import UserError
from infogan.networks import to_arrays, to_pixels
from infogan.options import Model, Training
from infogan.pipelines.training.nodes import _at_once, fit, fit_baseline, fit_observed

MakeTraining = Callable[..., Training]


class Remembering(tracking.Tracker):
    """What it is told."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.artifacts: dict[str, set[str]] = {}
        self.steps: list[int] = []
        self.pictures: dict[tuple[str, int], np.ndarray] = {}
        self.numbers: dict[int, dict[str, float]] = {}  # of the last model, by iteration
        self.at_flush: Callable[[], None] = lambda: None

    def set_tags(self, tags: Any) -> None:
        self.tags |= tags

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        self.artifacts[folder or ""] = {each.name for each in path.iterdir()}

    def log_row(self, name: str, columns: Any, row: Any) -> None:  # noqa: ARG002
        self.steps.append(row[0])
        self.numbers[row[0]] = dict(zip(columns, row, strict=True))

    def log_image(self, name: str, step: int, make: Any) -> None:
        self.pictures[name, step] = make()

    def flush(self) -> None:
        self.at_flush()


@pytest.fixture(autouse=True)
def tracker() -> Iterator[Remembering]:
    remembering = Remembering()
    tracking.activate(remembering)
    yield remembering
    tracking.activate(tracking.Tracker())


@pytest.fixture
def data(images: np.ndarray) -> tuple[Arrays, dict[str, Any]]:
    card = {"shape": [1, 8, 8], "splits": {"train": {"sha256": "abc", "images": len(images)}}}
    return Arrays({"train": images}), card


Data = tuple[Arrays, dict[str, Any]]


def same(mine: Weights, theirs: Weights) -> bool:
    return mine.arrays.keys() == theirs.arrays.keys() and all(
        np.array_equal(value, theirs.arrays[name]) for name, value in mine.arrays.items()
    )


def iterations(folder: Path, name: str = "infogan.0") -> list[int]:
    return sorted(int(path.name.split(".")[2]) for path in folder.glob(f"*/{name}.*.pt"))


# --- Alarms --------------------------------------------------------------------------------------


def test_a_training_that_diverges_stops_and_leaves_its_last_good_checkpoint(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = game.one_iteration

    def diverging(state: game.State, *others: Any) -> torch.Tensor:
        row = whole(state, *others)
        return row * float("nan") if state.iteration >= 22 else row

    monkeypatch.setattr(game, "one_iteration", diverging)
    training = make_training(iterations=1000, evaluate_every=1000)
    with pytest.raises(UserError, match=r"infogan diverged: .* at iteration \d+\. Lower") as met:
        fit(*data, tmp_path, model, training)
    saved = iterations(tmp_path)
    assert "at iteration 23" in str(met.value)
    assert saved == [15, 20]
    (folder,) = tmp_path.iterdir()
    content = checkpoint.load(folder, "infogan.0", torch.device("cpu"))
    assert content is not None
    assert all(value.isfinite().all() for value in content["state"]["networks"].values())
    # The same command again comes to the same end.
    with pytest.raises(UserError) as again:
        fit(*data, tmp_path, model, training)
    assert str(again.value) == str(met.value)
    assert iterations(tmp_path) == saved


@pytest.mark.parametrize("kind", ["parameter", "statistic"])
def test_a_weight_that_is_not_finite_is_never_saved(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    real = game.one_iteration

    def spoil(state: game.State, *rest: Any) -> Any:
        row = real(state, *rest)
        if state.iteration + 1 == 7:
            networks = state.networks
            tensors = networks.parameters() if kind == "parameter" else networks.buffers()
            last = [value for value in tensors if value.is_floating_point()][-1]
            with torch.no_grad():
                last.view(-1)[0] = torch.nan
        return row

    monkeypatch.setattr(game, "one_iteration", spoil)
    options = make_training(iterations=7, checkpoint_every=2, evaluate_every=100)
    with pytest.raises(UserError, match="infogan diverged: a weight is not finite at iteration 7"):
        fit(*data, tmp_path, model, options)
    assert iterations(tmp_path) == [4, 6]


def test_an_alarm_is_in_record_and_tags_and_survives_a_continuation(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    tracker: Remembering,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("infogan.alarms.GRACE", 20)
    monkeypatch.setattr("infogan.alarms.WINDOW", 10)
    blind = make_training(lambda_categorical=0.0, iterations=30)
    _, _, record, *_ = fit(*data, tmp_path, model, blind)
    words = record["alarms"]["no_information"]
    assert words.endswith(ADVICE["no_information"])
    assert tracker.tags["alarm.no_information"] == words
    assert f"infogan: {words}" in caplog.messages

    caplog.clear()
    _, _, record, *_ = fit(
        *data,
        tmp_path,
        model,
        make_training(lambda_categorical=0.0, iterations=35),
    )
    assert record["alarms"]["no_information"] == words
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_an_alarm_counts_the_iterations_before_an_interruption(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infogan.alarms.GRACE", 20)
    monkeypatch.setattr("infogan.alarms.WINDOW", 10)
    for length in (15, 20):
        blind = make_training(lambda_categorical=0.0, iterations=length)
        _, _, record, *_ = fit(*data, tmp_path, model, blind)
        assert ("no_information" in record["alarms"]) == (length == 20)


def test_unused_categories_are_looked_for_all_over_the_data_set(
    data: Data,
    tmp_path: Path,
    model: Model,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infogan.pipelines.training.nodes._DIAGNOSED", 10)
    seen: list[torch.Tensor] = []
    real = information.read_categories

    def noted(networks: Any, space: Any, images: torch.Tensor, *others: Any) -> Any:
        seen.append(images)
        return real(networks, space, images, *others)

    monkeypatch.setattr(information, "read_categories", noted)
    fit(*data, tmp_path, model, training)
    expected = to_pixels(torch.from_numpy(data[0]["train"][::3].copy()), (0.0, 1.0))
    assert len(seen) == 3
    assert all(torch.equal(each, expected) for each in seen)


def test_alarms_of_all_seeds_are_told_and_those_of_the_regular_gan_apart(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    tracker: Remembering,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infogan.alarms.GRACE", 10)
    monkeypatch.setattr(information, "contrast", lambda *_: 0.0)
    monkeypatch.setattr(information, "unused", lambda _: [])
    once = make_training(seeds=[0, 3], evaluate_every=100, iterations=10, baseline_iterations=10)
    _, _, record, _, _, more = fit(*data, tmp_path, model, once)
    assert set(record["alarms"]) == {"no_variance", "no_variance, seed 3"}
    words = record["alarms"]["no_variance, seed 3"]
    assert words == f"Seed 3: {more['3']['alarms']['no_variance']}"

    tracker.tags.clear()
    _, _, of_baseline = fit_baseline(*data, tmp_path, model, once)
    assert tracker.tags == {"alarm.baseline.no_variance": of_baseline["alarms"]["no_variance"]}


# --- Checkpoints ---------------------------------------------------------------------------------


def test_a_shorter_training_neither_uses_nor_removes_what_a_longer_one_left(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining
) -> None:
    fit(*data, tmp_path, model, make_training(iterations=20))
    assert iterations(tmp_path) == [15, 20]
    weights, rows, *_ = fit(*data, tmp_path, model, make_training(iterations=9))
    assert iterations(tmp_path) == [5, 9, 15, 20]
    again, _, *_ = fit(*data, tmp_path / "other", model, make_training(iterations=9))
    assert same(weights, again)
    assert [row[0] for row in rows.rows] == list(range(10))


def test_a_training_begun_anew_replaces_checkpoints_once_it_has_one_of_its_own(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining
) -> None:
    fit(*data, tmp_path, model, make_training(iterations=20))
    fit(*data, tmp_path, model, make_training(iterations=4, resume="never"))
    assert iterations(tmp_path) == [4]


def test_a_checkpoint_of_another_training_is_set_aside_wherever_it_lies(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fit(*data, tmp_path / "other", model, make_training(lr_d=1e-3))
    expected, *_ = fit(*data, tmp_path / "own", model, make_training(iterations=5))
    (other,) = (tmp_path / "other").glob("*/infogan.0.000000010.pt")
    (own,) = (tmp_path / "own").iterdir()
    other.rename(own / "infogan.0.000000004.pt")
    (own / "infogan.0.000000005.pt").unlink()
    found, *_ = fit(*data, tmp_path / "own", model, make_training(iterations=5))
    assert same(found, expected)
    assert "infogan.0.000000004.pt is of another training and is not used" in caplog.text
    assert (own / "infogan.0.000000004.pt.foreign").exists()


def test_a_server_that_hangs_costs_no_iteration_and_what_it_missed_is_sent_again(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining, tracker: Remembering
) -> None:
    training = make_training(log_every=2)
    fit(*data, tmp_path / "whole", model, training)
    expected = tracker.numbers.copy()

    def hang() -> None:  # until somebody loses patience
        raise KeyboardInterrupt

    tracker.at_flush = hang
    with pytest.raises(KeyboardInterrupt):
        fit(*data, tmp_path / "broken", model, training)
    assert iterations(tmp_path / "broken") == [5]

    tracker.at_flush = lambda: None
    tracker.numbers.clear()
    fit(*data, tmp_path / "broken", model, training)
    assert tracker.numbers.keys() == expected.keys() == {0, 2, 4, 5, 6, 8, 10}
    # What categories tell of real images is in no history, so it is not sent again.
    for step, numbers in tracker.numbers.items():
        told = {name for name in expected[step] if name.startswith("information_real")}
        assert numbers.keys() | told == expected[step].keys()
        assert numbers == {name: expected[step][name] for name in numbers}


# --- What is tracked -----------------------------------------------------------------------------


def test_every_evaluation_gives_a_picture_and_changes_no_number(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    tracker: Remembering,
) -> None:
    training = make_training(iterations=10, baseline_iterations=5, evaluate_every=5)
    watched, *_ = fit(*data, tmp_path / "a", model, training)
    fit_baseline(*data, tmp_path / "a", model, training)
    expected = [("infogan", step) for step in (0, 5, 10)] + [("baseline", 0), ("baseline", 5)]
    assert list(tracker.pictures) == expected
    first, *later = tracker.pictures.values()
    assert all(each.shape == first.shape for each in later)
    # Both models begin with the same weights, and are shown what the same codes give.
    np.testing.assert_array_equal(tracker.pictures["baseline", 0], first)
    assert not np.array_equal(tracker.pictures["infogan", 5], first)

    tracking.activate(tracking.Tracker())
    unwatched, *_ = fit(*data, tmp_path / "b", model, training)
    assert same(watched, unwatched)


def test_pictures_are_always_of_the_same_codes(
    data: Data,
    tmp_path: Path,
    make_model: Callable[..., Model],
    make_training: MakeTraining,
    tracker: Remembering,
) -> None:
    """A generator that does not learn gives the same picture every time."""
    model = make_model(generator=["fc 2x2x8 relu", "upconv 6 s2 relu", "upconv 1 s2 sigmoid"])
    fit(*data, tmp_path, model, make_training(iterations=6, evaluate_every=3, lr_g=1e-30))
    first, *later = tracker.pictures.values()
    assert len(np.unique(first)) > 2
    assert len(later) == 2
    for each in later:
        np.testing.assert_array_equal(each, first)


def test_h_of_each_code_is_sent_where_l_i_on_fresh_codes_is(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining, tracker: Remembering
) -> None:
    fit(*data, tmp_path, model, make_training(iterations=4, evaluate_every=2, log_every=1))
    entropies = {f"entropy.{code.name}": code.entropy for code in model.codes}
    for step, numbers in tracker.numbers.items():
        sent = {name: value for name, value in numbers.items() if name.startswith("entropy.")}
        assert sent == (entropies if step % 2 == 0 else {})
        assert (numbers["held_out.c1"] is not None) == (step % 2 == 0)


def test_what_categories_tell_of_real_images_is_sent_beside(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    tracker: Remembering,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[float] = []
    estimate = information.category_information

    def noted(probabilities: torch.Tensor) -> float:
        assert len(probabilities) == len(data[0]["train"])
        looked.append(estimate(probabilities))
        return looked[-1]

    monkeypatch.setattr(information, "category_information", noted)
    fit(*data, tmp_path, model, make_training(iterations=4, evaluate_every=2, log_every=1))
    found = {
        step: numbers["information_real.c1"]
        for step, numbers in tracker.numbers.items()
        if "information_real.c1" in numbers
    }
    assert found == dict(zip((0, 2, 4), looked, strict=True))
    assert not any("information_real.c2" in numbers for numbers in tracker.numbers.values())


# --- Signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "at"), [(10, 0), (10, 5), (10, 7), (10, 8), (10, 10), (9, 9)])
def test_a_signal_ends_the_training_and_the_continued_one_logs_the_same_rows(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    tracker: Remembering,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
    at: int,
) -> None:
    """At 0, 5 and the end it breaks off an evaluation on fresh codes, which is made up for.

    In the iteration after 7 it comes before D's update, and the iteration is undone, or after it,
    and the iteration is finished.
    """
    training = make_training(iterations=length, log_every=2)
    expected, rows, *_ = fit(*data, tmp_path / "whole", model, training)
    steps = tracker.steps[:]
    tracker.steps.clear()

    with monkeypatch.context() as patch:
        real_bounds = information.fresh_lower_bounds
        calls = iter((0, 5, length))

        def evaluate(*given: Any) -> Any:
            if next(calls) == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return real_bounds(*given)

        def interrupted(step: Callable[..., Any]) -> Callable[..., Any]:
            def interrupts(state: game.State, *rest: Any) -> Any:
                if state.iteration == 7:
                    os.kill(os.getpid(), signal.SIGTERM)
                return step(state, *rest)

            return interrupts

        patch.setattr(information, "fresh_lower_bounds", evaluate)
        if at in {7, 8}:
            step = "d_q_step" if at == 7 else "g_step"
            patch.setattr(game, step, interrupted(getattr(game, step)))
        with pytest.raises(KeyboardInterrupt):
            fit(*data, tmp_path / "broken", model, training)
    assert iterations(tmp_path / "broken")[-1] == at

    found, again, *_ = fit(*data, tmp_path / "broken", model, training)
    assert same(found, expected)
    assert again == rows
    assert sorted(set(tracker.steps)) == steps


def test_a_signal_during_the_last_write_is_not_lost(
    data: Data,
    tmp_path: Path,
    model: Model,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = checkpoint.save

    def save(folder: Path, name: str, iteration: int, *rest: Any, **more: Any) -> None:
        if iterations(folder.parent) == [5]:
            os.kill(os.getpid(), signal.SIGTERM)
        real(folder, name, iteration, *rest, **more)

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(KeyboardInterrupt):
        fit(*data, tmp_path, model, training)
    assert iterations(tmp_path) == [5, 10]


def test_a_signal_after_the_last_look_is_not_lost(
    data: Data,
    tmp_path: Path,
    model: Model,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def while_the_result_is_made(*networks: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return to_arrays(*networks)

    expected, *_ = fit(*data, tmp_path / "whole", model, training)
    with monkeypatch.context() as patch:
        patch.setattr("infogan.networks.to_arrays", while_the_result_is_made)
        with pytest.raises(KeyboardInterrupt):
            fit(*data, tmp_path, model, training)
    found, *_ = fit(*data, tmp_path, model, training)
    assert same(found, expected)


# --- Several seeds side by side ------------------------------------------------------------------


def test_seeds_side_by_side_are_what_they_are_alone(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining
) -> None:
    seeds = [4, 0, 7]
    together = make_training(seeds=seeds, seeds_at_once=2)  # two, then one
    *found, found_records = fit(*data, tmp_path / "together", model, together)
    *expected, records = fit(*data, tmp_path / "apart", model, make_training(seeds=seeds))
    weights, rows, _, more, others = found
    alone_weights, alone_rows, _, alone_more, alone_others = expected
    assert same(weights, alone_weights)
    assert more.keys() == alone_more.keys() == {"0", "7"}
    assert all(same(each, alone_more[name]) for name, each in more.items())
    assert rows == alone_rows
    assert others == alone_others
    assert found_records.keys() == records.keys()


def test_side_by_side_each_seed_is_told_to_a_run_of_its_own(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining, tracker: Remembering
) -> None:
    runs: dict[str, Remembering] = {}
    ended: dict[str, str] = {}

    class Child(Remembering):
        def end(self, status: str) -> None:
            ended[self.name] = status

    def child(part: str, params: Any, identity: str) -> Remembering:
        assert not identity
        runs[part] = Child()
        runs[part].name = part  # type: ignore[attr-defined]
        assert params == {"training.seeds": int(part.split()[1])}
        return runs[part]

    tracker.child = child  # type: ignore[method-assign, assignment]
    training = make_training(seeds=[0, 1], seeds_at_once=2, log_every=1)
    fit(*data, tmp_path, model, training)
    assert tracker.steps == []
    assert tracking.current() is tracker
    assert ended == {"seed 0": "FINISHED", "seed 1": "FINISHED"}
    zero, one = runs.values()
    assert zero.steps == one.steps == list(range(training.iterations + 1))
    last = training.iterations
    assert zero.numbers[last]["loss_d"] != one.numbers[last]["loss_d"]


def test_side_by_side_a_signal_saves_every_seed(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = make_training(seeds=[0, 1, 2], seeds_at_once=3, checkpoint_every=100)
    expected, rows, _, more, *_ = fit(*data, tmp_path / "whole", model, training)
    real = game.one_iteration

    def iterate(state: game.State, rules: game.Game, *rest: Any) -> torch.Tensor:
        if (rules.training.seed, state.iteration) == (1, 7):
            os.kill(os.getpid(), signal.SIGTERM)
        return real(state, rules, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(game, "one_iteration", iterate)
        with pytest.raises(KeyboardInterrupt):
            fit(*data, tmp_path / "broken", model, training)
    # Seed 0 has had its turn.
    at = [iterations(tmp_path / "broken", f"infogan.{seed}") for seed in (0, 1, 2)]
    assert at == [[8], [7], [7]]
    found, again, _, more_again, *_ = fit(*data, tmp_path / "broken", model, training)
    assert same(found, expected)
    assert again == rows
    assert all(same(each, more[name]) for name, each in more_again.items())


def test_side_by_side_a_seed_that_diverges_is_said_when_the_others_are_saved(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = game.one_iteration

    def diverging(state: game.State, rules: game.Game, *rest: Any) -> torch.Tensor:
        row = real(state, rules, *rest)
        spoiled = rules.training.seed == 1 and state.iteration >= 5
        return row * float("nan") if spoiled else row

    monkeypatch.setattr(game, "one_iteration", diverging)
    options = {"checkpoint_every": 100, "log_every": 2, "evaluate_every": 100}
    training = make_training(seeds=[0, 1, 2], seeds_at_once=3, **options)
    with pytest.raises(UserError, match=r"diverged: .* at iteration 6"):
        fit(*data, tmp_path, model, training)
    saved = {seed: iterations(tmp_path, f"infogan.{seed}") for seed in (0, 1, 2)}
    assert saved == {0: [6], 1: [], 2: [5]}  # what they were at, nothing updated yet, is undone


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"device": "cpu"}, 1),
        ({"device": "cuda"}, 3),
        ({"device": "cuda", "seeds_at_once": 2}, 2),
        ({"device": "cpu", "seeds_at_once": 2}, 2),
        ({"device": "cuda", "devices": 2, "seeds_at_once": 2}, 1),
    ],
)
def test_a_gpu_trains_all_seeds_at_once_unless_told_otherwise(
    make_training: MakeTraining,
    changes: dict[str, Any],
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert _at_once(make_training(seeds=[0, 1, 2], **changes)) == expected


# --- Clock ---------------------------------------------------------------------------------------


def test_nothing_depends_on_the_time_of_day(
    data: Data,
    tmp_path: Path,
    model: Model,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock goes back an hour with every look at it."""
    expected, rows, *_ = fit(*data, tmp_path / "usual", model, training)
    now = [2e9]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    found, again, record, *_ = fit(*data, tmp_path / "backwards", model, training)
    assert same(found, expected)
    assert again == rows
    assert 0 <= record["seconds"] < 60


def test_seconds_count_what_came_before_an_interruption_and_not_the_looking(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only iterations, a second each, and looking, a hundred, move the clock."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    real = game.one_iteration

    def iterate(*given: Any) -> torch.Tensor:
        now[0] += 1
        return real(*given)

    def look(_: game.State) -> dict[str, Any]:
        now[0] += 100
        return {}

    monkeypatch.setattr(game, "one_iteration", iterate)
    for length in (5, 10, 15):  # the last one goes on in one that had gone on itself
        training = make_training(iterations=length)
        _, _, record = fit_observed(*data, tmp_path, model, training, look)
        assert record["seconds"] == length
    assert [each["seconds"] for each in record["observations"]] == [0, 5, 10, 15]


# --- Extensions of the paper ---------------------------------------------------------------------

CONSISTENCY = {
    "codes": ["c1"],
    "weight": 1.0,
    "balance": 1.0,
    "rotation": 0.2,
    "scale": 0.1,
    "shear": 0.1,
    "shift": 0.1,
}


@pytest.mark.parametrize("at", [7, 8])
@pytest.mark.parametrize(
    ("clustered", "changes"),
    [
        (True, {"consistency": CONSISTENCY}),
        (False, {"consistency": CONSISTENCY, "instance_noise": 0.5, "steps_g": 2}),
        (False, {"average_g": 0.9, "joint_batch_norm": True, "precision": "bfloat16"}),
    ],
    ids=["teacher", "noise", "bfloat16"],
)
def test_a_signal_within_an_iteration_of_an_extension_changes_nothing(
    data: Data,
    tmp_path: Path,
    make_model: Callable[..., Model],
    make_training: MakeTraining,
    make_clustered: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
    clustered: bool,
    changes: dict[str, Any],
    at: int,
) -> None:
    """At 7 the eighth iteration is undone, at 8 it is finished; of images that stay in a file."""
    monkeypatch.setattr(batches, "IN_MEMORY", 1)
    model = make_model(trunk=["conv 6 s2 sn lrelu", "conv 8 s2 sn bn lrelu"])
    training = (make_clustered if clustered else make_training)(**changes)
    expected, rows, *_ = fit(*data, tmp_path / "whole", model, training)

    real, asked = game.information, iter((7, 8))  # by D's step, then by G's

    def interrupted(rules: game.Game, bounds: Any, clock: torch.Tensor) -> torch.Tensor:
        if clock == 7 and next(asked, None) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(rules, bounds, clock)

    with monkeypatch.context() as patch:
        patch.setattr(game, "information", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(*data, tmp_path / "broken", model, training)
    assert iterations(tmp_path / "broken")[-1] == at
    found, again, *_ = fit(*data, tmp_path / "broken", model, training)
    assert same(found, expected)
    assert again == rows


def test_the_average_of_g_is_what_is_estimated_and_saved(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining, images: np.ndarray
) -> None:
    training = make_training(average_g=0.9)
    found, rows, *_ = fit(*data, tmp_path / "averaged", model, training)
    last, plain, *_ = fit(*data, tmp_path / "plain", model, make_training())

    cpu = torch.device("cpu")
    state = game.start(model, training, (1, 8, 8), cpu)
    steps = game.train(state, game.infogan(model, training), torch.from_numpy(images))
    for _ in range(training.iterations):
        next(steps)
    expected = to_arrays(state.evaluated)
    assert same(found, Weights(expected, {}))
    for name, value in found.arrays.items():
        if name.startswith("discriminator"):
            np.testing.assert_array_equal(value, last.arrays[name])
    assert not same(found, last)

    # The game is the same; estimates on fresh codes are those of the average.
    differ = {
        rows.columns[column]
        for mine, theirs in zip(rows.rows, plain.rows, strict=True)
        for column in range(len(rows.columns))
        if mine[column] != theirs[column] and not np.isnan([mine[column], theirs[column]]).all()
    }
    assert differ
    assert all(name.startswith("held_out") for name in differ)


def test_the_history_has_a_column_for_consistency(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining
) -> None:
    training = make_training(consistency=CONSISTENCY)
    _, rows, *_ = fit(*data, tmp_path / "told", model, training)
    values = [row[rows.columns.index("inconsistency")] for row in rows.rows[1:]]
    assert np.isfinite(values).all()
    _, rows, *_ = fit_baseline(*data, tmp_path / "regular", model, training)
    assert "inconsistency" not in rows.columns


def test_a_clustered_training_goes_on_as_if_nothing_had_been(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_clustered: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It keeps its teacher; the regular GAN has none."""
    training = make_clustered()
    expected, rows, *_ = fit(*data, tmp_path / "whole", model, training)
    assert np.isfinite([row[rows.columns.index("untaught")] for row in rows.rows[1:]]).all()
    _, regular, _ = fit_baseline(*data, tmp_path / "whole", model, training)
    assert "untaught" not in regular.columns

    real = game.one_iteration

    def iterate(state: game.State, *rest: Any) -> Any:
        if state.iteration == 7:
            raise RuntimeError("the power is gone")
        return real(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(game, "one_iteration", iterate)
        with pytest.raises(RuntimeError, match="the power is gone"):
            fit(*data, tmp_path / "broken", model, training)
    assert iterations(tmp_path / "broken") == [0, 5]
    monkeypatch.setattr(clustering, "Apprentice", lambda *_: pytest.fail("it clusters again"))
    found, again, *_ = fit(*data, tmp_path / "broken", model, training)
    assert same(found, expected)
    assert again == rows


@pytest.mark.parametrize("done", [2, 4, 6, 7])
def test_a_signal_while_it_clusters_saves_that_too(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_clustered: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    done: int,
) -> None:
    training = make_clustered()
    expected, rows, *_ = fit(*data, tmp_path / "whole", model, training)
    real, learned = clustering.Apprentice._step, []

    def step(apprentice: clustering.Apprentice, loss: torch.Tensor) -> None:
        real(apprentice, loss)
        learned.append(apprentice.done)
        if learned == list(range(1, done + 1)):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(clustering.Apprentice, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        fit(*data, tmp_path / "broken", model, training)
    assert iterations(tmp_path / "broken") == [0]
    assert (
        f"infogan stops at iteration {done} of the clustering before its first one" in caplog.text
    )
    caplog.set_level(logging.INFO, "infogan")
    found, again, *_ = fit(*data, tmp_path / "broken", model, training)
    assert f"infogan: the clustering goes on from iteration {done}" in caplog.text
    assert learned == list(range(1, 8))
    assert same(found, expected)
    assert again == rows


def test_a_clustering_that_diverges_is_never_saved(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_clustered: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = clustering.Apprentice._step

    def step(apprentice: clustering.Apprentice, loss: torch.Tensor) -> None:
        real(apprentice, loss * (np.nan if apprentice.done == 1 else 1))

    monkeypatch.setattr(clustering.Apprentice, "_step", step)
    training = make_clustered(checkpoint_every=2)
    with pytest.raises(UserError, match="after 2 iterations the teacher is not finite"):
        fit(*data, tmp_path, model, training)
    assert iterations(tmp_path) == []


def test_a_training_that_is_killed_while_it_clusters_goes_on_from_the_last_checkpoint(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_clustered: MakeTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = make_clustered(checkpoint_every=3)
    expected, rows, *_ = fit(*data, tmp_path / "whole", model, training)
    real, learned = clustering.Apprentice._step, []

    def step(apprentice: clustering.Apprentice, loss: torch.Tensor) -> None:
        if len(learned) == 5:
            learned.append(0)
            raise RuntimeError("the power is gone")
        real(apprentice, loss)
        learned.append(apprentice.done)

    monkeypatch.setattr(clustering.Apprentice, "_step", step)
    with pytest.raises(RuntimeError, match="the power is gone"):
        fit(*data, tmp_path / "broken", model, training)
    found, again, *_ = fit(*data, tmp_path / "broken", model, training)
    assert learned == [1, 2, 3, 4, 5, 0, 4, 5, 6, 7]
    assert same(found, expected)
    assert again == rows


# --- Profile -------------------------------------------------------------------------------------


@pytest.fixture
def two_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two iterations are looked into, after ten, since it takes long to write about them."""
    monkeypatch.setattr(profiling, "_PROFILED", 2)
    monkeypatch.setattr(profiling, "NEEDED", 12)


@pytest.mark.usefixtures("two_profiled")
def test_a_profile_changes_no_number_and_is_kept_and_tracked(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    tracker: Remembering,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "infogan")
    expected, rows, *_ = fit(*data, tmp_path / "without", model, make_training(iterations=15))
    training = make_training(iterations=15, profile=True)
    found, again, *_ = fit(*data, tmp_path / "with", model, training)
    assert same(found, expected)
    assert again == rows

    folder = tmp_path / "with" / "profile" / "infogan.0"
    assert {path.name for path in folder.iterdir()} == {"trace.json", "operators.txt"}
    assert tracker.artifacts == {"profile/infogan.0": {"trace.json", "operators.txt"}}
    assert any(str(folder) in message for message in caplog.messages)
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    steps = {each["name"] for each in events if each["name"].startswith("ProfilerStep#")}
    assert len(steps) == 2
    table = (folder / "operators.txt").read_text()
    assert "convolution" in table
    assert "Self CPU" in table


@pytest.mark.usefixtures("two_profiled")
def test_a_profile_that_a_signal_cuts_short_is_not_written(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    tracker: Remembering,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would keep whoever waits."""
    real = game.one_iteration

    def iterate(state: game.State, *rest: Any) -> Any:
        if state.iteration == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(state, *rest)

    monkeypatch.setattr(game, "one_iteration", iterate)
    with pytest.raises(KeyboardInterrupt):
        fit(*data, tmp_path, model, make_training(iterations=15, profile=True))
    assert iterations(tmp_path)[-1] == 11
    assert not (tmp_path / "profile").exists()
    assert not tracker.artifacts


@pytest.mark.usefixtures("two_profiled")
def test_of_seeds_side_by_side_the_first_is_looked_into(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining
) -> None:
    training = make_training(iterations=15, profile=True, seeds=[4, 2], seeds_at_once=2)
    fit(*data, tmp_path, model, training)
    assert [path.name for path in (tmp_path / "profile").iterdir()] == ["infogan.4"]


def test_a_training_too_short_for_a_profile_says_that_it_has_none(
    data: Data,
    tmp_path: Path,
    model: Model,
    make_training: MakeTraining,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fit(*data, tmp_path, model, make_training(iterations=5, profile=True))
    assert not (tmp_path / "profile").exists()
    assert "training.profile looks into 30 iterations, but 5 are left" in caplog.text


@pytest.mark.usefixtures("two_profiled")
def test_of_the_regular_gan_there_is_a_profile_of_its_own(
    data: Data, tmp_path: Path, model: Model, make_training: MakeTraining
) -> None:
    training = make_training(baseline_iterations=12, profile=True)  # not one too many
    _, rows, _ = fit_baseline(*data, tmp_path, model, training)
    assert isinstance(rows, Rows)
    assert (tmp_path / "profile" / "baseline.0" / "trace.json").exists()
