"""Which columns the figures of a run have, and of what its report is."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from infogan.datasets.values import Weights
from infogan.errors import UserError
from infogan.options import Evaluation, Model, Reporting, Training
from infogan.pipelines.reporting import nodes

EVALUATION = Evaluation.model_validate(
    {
        "seed": 0,
        "device": "cpu",
        "batch_size": 10,
        "samples": 10,
        "recalibration_images": 10,
        "generated_images": 0,
        "kmeans_restarts": 1,
        "traversal_rows": 2,
        "traversal_columns": 2,
        "traversal_range": [-1.0, 1.0],
    }
)
CATEGORIES = {"code": "c1", "class_of_category": [1, 0, 2], "test_table": [[5, 1, 0]] * 3}


def traversals() -> Weights:
    arrays = {
        "c1": np.zeros((2, 3, 1, 8, 8), np.uint8),
        "c2": np.zeros((2, 2, 1, 8, 8), np.uint8),
        "samples": np.zeros((4, 1, 8, 8), np.uint8),
    }
    return Weights(arrays, {"values": {"c1": [0, 1, 2], "c2": [-1, 1]}})


def reporting(**changes: Any) -> Reporting:
    words = {"title": "t", "dpi": 60, "captions": {}, "claims": []}
    return Reporting.model_validate(words | changes)


def headings(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts][:3]


@pytest.mark.parametrize(
    ("order", "first"), [({}, ["0", "1", "2"]), ({"c1": [2, 0, 1]}, ["2", "0", "1"])]
)
def test_columns_stand_as_the_user_says_or_as_matched(
    model: Model, order: dict[str, list[int]], first: list[str]
) -> None:
    options = reporting(column_order=order)
    drawn = nodes.draw_panels(traversals(), CATEGORIES, model, options)
    assert set(drawn) == {"traversal_c1", "traversal_c2", "samples", "confusion"}
    assert headings(drawn["traversal_c1"]) == first


def test_the_order_is_not_that_of_the_regular_gans_categories(model: Model) -> None:
    options = reporting(column_order={"c1": [2, 0, 1]})
    drawn = nodes.draw_baseline_panels(traversals(), model, options)
    assert headings(drawn["traversal_baseline_c1"]) == ["0", "1", "2"]


METRICS: dict[str, float] = {"iterations": 10, "seconds_training": 0.3}
RECORD = {
    "data_sha256": "a",
    "iterations": 10,
    "seconds": 0.3,
    "started": "now",
    "commit": "abc",
    "mlflow_run_id": None,
    "device": "cpu",
    "threads": 1,
    "versions": {},
    "alarms": {},
}
CARD = {"splits": {"train": {"images": 3, "from": "all[0:3]", "sha256": "a"}}, "source": {}}


def written(model: Model, training: Training, **record: Any) -> str:
    """A report of what was trained with another rate, and of the first seed."""
    card = {
        "model": model.model_dump(mode="json"),
        "training": {**training.alone(0).model_dump(mode="json"), "lr_g": 0.0123},
    }
    options = training, EVALUATION, reporting()
    baseline = {"alarms": {"d_wins": "it was certain"}}
    own = RECORD | record, baseline, Weights({}, card), CARD
    return nodes.write_report({}, METRICS, {}, *own, *options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_sha256": "b"}, "trained on other images"),
        ({"iterations": 60}, "trained again since it was evaluated"),
        ({"seconds": 0.6}, "trained again since it was evaluated"),
    ],
)
def test_a_report_is_of_one_run(
    model: Model, training: Training, change: dict[str, Any], words: str
) -> None:
    assert "0.0123" in written(model, training)  # as it was trained
    with pytest.raises(UserError, match=words):
        written(model, training, **change)


def test_a_report_names_the_command_that_trained_if_it_is_known(
    model: Model, training: Training
) -> None:
    assert "trained by" not in written(model, training)
    page = written(model, training, command="kedro run --pipelines=a --env=quick")
    assert re.search("trained by.*kedro run --pipelines=a --env=quick", page)


def test_a_report_names_every_seed(model: Model, make_training: Callable[..., Training]) -> None:
    page = written(model, make_training(seeds=[0, 3, 17]))
    assert page.count("0, 3, 17") == 2  # in its facts and its parameters


def test_a_report_has_the_alarms_of_every_model(model: Model, training: Training) -> None:
    alarms = {"d_wins": "up to 300", "d_wins, seed 3": "Seed 3: up to 500"}
    page = written(model, training, alarms=alarms)
    for words in ("up to 300", "Seed 3: up to 500", "Regular GAN: it was certain"):
        assert f"Alarm: {words}" in page
