"""What a study measures, on cases whose values are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from infogan.codes import LatentSpace
from infogan.errors import UserError
from infogan.evaluation import category_probabilities
from infogan.information import category_information
from infogan.networks import build
from infogan.options import Model, Recipe, Training
from infogan.study import (
    applied,
    categories_of,
    choices,
    faults,
    information_of_codes,
    lasting,
    matching_kept_since,
    measured_shapes,
    observe,
    shapes_of_codes,
    slightly_deformed,
    studied_code,
    tallies,
)

PIXELS = (0.0, 1.0)


# --- Recipes -------------------------------------------------------------------------------------


def test_a_recipe_changes_what_it_names_and_nothing_else(model: Model, training: Training) -> None:
    recipe = Recipe(model={"spread": "fixed"}, training={"lr_g": "1e-3 to 0 until 100"})
    its_model, its_training = applied(model, training, recipe)
    assert its_model == model.model_copy(update={"spread": "fixed"})
    assert str(its_training.lr_g) == "0.001 to 0 until 100"
    assert its_training.model_copy(update={"lr_g": training.lr_g}) == training


def test_an_empty_recipe_changes_nothing(model: Model, training: Training) -> None:
    assert applied(model, training, Recipe()) == (model, training)


def test_a_recipe_with_an_unknown_key_is_refused(model: Model, training: Training) -> None:
    with pytest.raises(UserError, match=r"training.lr_x is not a known key"):
        applied(model, training, Recipe(training={"lr_x": 1.0}))


def test_a_model_without_categories_cannot_be_studied(make_model: Callable[..., Model]) -> None:
    assert studied_code(make_model()) == "c1"
    with pytest.raises(UserError, match="no such code"):
        studied_code(make_model(codes=["c1 uniform -1 1"]))


# --- What is seen of real images -----------------------------------------------------------------


def test_an_observation_agrees_with_its_own_table(model: Model, images: np.ndarray) -> None:
    networks = build(model, (1, 8, 8), 0).train()
    labels = np.arange(28) % 3
    splits = {"train": images[:20], "test": images[20:]}
    each = {"train": labels[:20], "test": labels[20:]}
    seen = observe(networks.discriminator, LatentSpace(model), "c1", PIXELS, splits, each, 3)
    table = np.array(seen["test_table"])
    assert table.sum() == 8
    right = sum(table[k, c] for k, c in enumerate(seen["class_of_category"]) if c >= 0)
    assert seen["error_one_to_one"] == pytest.approx(1 - right / 8)
    assert 0 <= seen["information"] <= np.log(3)
    assert networks.training  # looking changes nothing
    found = categories_of(networks, LatentSpace(model), "c1", PIXELS, splits["test"])
    np.testing.assert_array_equal(table.sum(axis=1), np.bincount(found, minlength=3))


def test_information_is_that_of_test_images(model: Model, images: np.ndarray) -> None:
    networks, space = build(model, (1, 8, 8), 0).eval(), LatentSpace(model)
    last = networks.discriminator.q_head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(1e6)  # else Q knows nothing of either
    labels = np.arange(28) % 3
    splits = {"train": images[:20], "test": images[20:]}
    each = {"train": labels[:20], "test": labels[20:]}
    seen = observe(networks.discriminator, space, "c1", PIXELS, splits, each, 3)
    read = category_probabilities(networks.discriminator, space, splits["test"], PIXELS, 8)
    assert seen["information"] == pytest.approx(category_information(read["c1"]), rel=1e-3)


def test_information_of_codes_is_that_of_an_observation(model: Model, images: np.ndarray) -> None:
    networks, space = build(model, (1, 8, 8), 0).train(), LatentSpace(model)
    labels = {"train": np.arange(28) % 3, "test": np.arange(28) % 3}
    splits = {"train": images, "test": images}
    seen = observe(networks.discriminator, space, "c1", PIXELS, splits, labels, 3)
    found = information_of_codes(networks, space, PIXELS, images)
    assert found == {"c1": seen["information"]}
    assert networks.training


def test_the_matching_is_fitted_on_the_training_images_alone(
    model: Model, images: np.ndarray
) -> None:
    networks, space = build(model, (1, 8, 8), 0), LatentSpace(model)
    found = categories_of(networks, space, "c1", PIXELS, images)
    splits = {"train": images, "test": images}
    # Labels that the categories of the training images are, and those of the test images are not.
    seen = observe(
        networks.discriminator,
        space,
        "c1",
        PIXELS,
        splits,
        {"train": found, "test": (found + 1) % 3},
        3,
    )
    assert seen["error_one_to_one"] == 1


def test_small_deformations_are_small_seeded_and_not_nothing(images: np.ndarray) -> None:
    smooth = np.repeat(np.repeat(images[:, :, :2, :2], 14, axis=2), 14, axis=3)
    moved = slightly_deformed(smooth, PIXELS, seed=3)
    np.testing.assert_array_equal(moved, slightly_deformed(smooth, PIXELS, seed=3))
    changed = np.abs(moved.astype(int) - smooth) > 1
    assert 0 < changed.mean() < 0.3


# --- Shapes --------------------------------------------------------------------------------------


def bar(slant: float, half_width: int) -> np.ndarray:
    """An upright bar whose rows move by ``slant`` columns each."""
    image = np.zeros((1, 41, 41), np.uint8)
    for row in range(5, 36):
        middle = round(20 + slant * (row - 20))
        image[0, row, middle - half_width : middle + half_width + 1] = 255
    return image


def test_slant_is_the_columns_a_row_moves() -> None:
    shapes = measured_shapes(np.stack([bar(0.0, 2), bar(0.5, 2), bar(-0.5, 2)]))
    np.testing.assert_allclose(shapes["slant"], [0, 0.5, -0.5], atol=0.02)


def test_width_is_the_deviation_across_whatever_the_slant() -> None:
    upright, slanted, wide = measured_shapes(np.stack([bar(0.0, 2), bar(0.5, 2), bar(0.0, 5)]))[
        "width"
    ]
    assert upright == pytest.approx(np.sqrt(2))  # of -2, -1, 0, 1, 2
    assert slanted == pytest.approx(upright, rel=0.05)
    assert wide == pytest.approx(np.sqrt(10))


def test_an_empty_image_has_no_slant() -> None:
    shapes = measured_shapes(np.zeros((1, 1, 8, 8), np.uint8))
    assert shapes["slant"][0] == shapes["width"][0] == 0


def test_continuous_codes_are_compared_with_slant_and_width(
    model: Model, images: np.ndarray
) -> None:
    networks = build(model, (1, 8, 8), 0)
    found = shapes_of_codes(networks, LatentSpace(model), PIXELS, images)
    assert list(found) == ["c2", "c3_0", "c3_1"]
    assert all(set(each) == {"slant", "width"} for each in found.values())
    assert all(0 <= value <= 1 for each in found.values() for value in each.values())


# --- What went wrong -----------------------------------------------------------------------------


def test_a_perfect_table_has_no_faults() -> None:
    assert faults((100 * np.eye(4, dtype=int)).tolist()) == []


def test_merged_and_split_classes_are_named() -> None:
    merged = [[90, 0, 0, 0], [0, 80, 85, 0], [0, 0, 5, 60], [0, 0, 0, 40]]
    assert faults(merged) == ["1+2", "3/2"]


def test_a_class_that_is_spread_over_all_categories_has_none() -> None:
    nine = np.pad(100 * np.eye(9, dtype=int), ((0, 1), (0, 1)))
    nine[:, 9] = 10
    assert faults(nine.tolist()) == ["9/0"]
    nine[:, 9] = 0  # no image of it is in the test
    assert faults(nine.tolist()) == []


def test_a_few_strays_are_no_fault() -> None:
    assert faults([[90, 19], [10, 81]]) == []


def seen(iteration: int, classes: list[int]) -> dict[str, Any]:
    return {"iteration": iteration, "class_of_category": classes}


def test_a_matching_is_kept_since_it_changed_last() -> None:
    line = [seen(0, [0, 1]), seen(10, [1, 0]), seen(20, [0, 1]), seen(30, [0, 1])]
    assert matching_kept_since(line) == 20
    assert matching_kept_since(line[3:]) == 30
    assert matching_kept_since([*line, seen(40, [1, 0])]) == 40


def looks(*tables: list[list[int]], untrained: bool = True) -> list[dict[str, Any]]:
    """Observations after 0, 10, 20, ... iterations, or without the first."""
    told = [{"iteration": 10 * place, "test_table": each} for place, each in enumerate(tables)]
    return told if untrained else told[1:]


APART = [[90, 0, 0], [0, 90, 0], [0, 0, 90]]
MERGED = [[90, 0, 0], [0, 90, 90], [0, 0, 0]]
MERGED_ELSEWHERE = [[90, 0, 0], [0, 0, 0], [0, 90, 90]]
ALL_IN_ONE = [[90, 90, 90], [0, 0, 0], [0, 0, 0]]
SPLIT = [[45, 0, 0], [45, 0, 0], [0, 90, 90]]
IN_THREE = [[30, 90, 0], [30, 0, 90], [30, 0, 0]]
IN_NONE = [[90 // 6, 0], *[[90 // 6, 90 // 6]] * 5, [0, 90 // 6]]


def test_a_fault_lasts_since_no_observation_was_without_it() -> None:
    assert lasting(looks(APART, APART, MERGED, MERGED)) == {"1+2": 20}
    assert lasting(looks(APART, MERGED, APART, MERGED)) == {"1+2": 30}
    assert lasting(looks(APART, MERGED, MERGED, APART)) == {}


def test_a_merged_fault_may_move_to_another_category_or_grow_on_the_way() -> None:
    assert lasting(looks(APART, MERGED, MERGED_ELSEWHERE)) == {"1+2": 10}
    assert lasting(looks(APART, ALL_IN_ONE, MERGED)) == {"1+2": 10}  # a part of it was there
    assert lasting(looks(APART, MERGED, ALL_IN_ONE)) == {"0+1+2": 20}  # the whole was not


def test_a_split_lasts_while_the_class_is_not_in_exactly_one_category() -> None:
    assert lasting(looks(APART, IN_THREE, SPLIT)) == {"1+2": 20, "0/2": 10}
    assert lasting(looks(APART, SPLIT, APART, SPLIT)) == {"1+2": 30, "0/2": 30}
    apart = [[90, 0], *[[0, 0]] * 5, [0, 90]]
    nowhere = lasting(looks(apart, IN_NONE, IN_NONE))
    assert nowhere == {"0/0": 10, "1/0": 10}


def test_the_untrained_network_has_no_part_in_how_long_a_fault_lasts() -> None:
    assert lasting(looks(ALL_IN_ONE, ALL_IN_ONE)) == {"0+1+2": 10}
    assert lasting(looks(ALL_IN_ONE)) == {"0+1+2": 0}  # there is nothing else


def test_faults_that_last_are_those_at_the_end() -> None:
    for table in (APART, MERGED, ALL_IN_ONE, SPLIT, IN_THREE, IN_NONE):
        assert list(lasting(looks(table, table))) == list(dict.fromkeys(faults(table)))


# --- Choosing ------------------------------------------------------------------------------------


def run(
    categories: list[int], error: float, information: float, stability: float
) -> dict[str, Any]:
    return {
        "categories": categories,
        "stability": stability,
        "observations": [{"error_one_to_one": error, "information": information}],
    }


def test_each_rule_chooses_by_its_own_score() -> None:
    good, same, odd = [0, 0, 1, 1, 2, 2], [2, 2, 0, 0, 1, 1], [0, 1, 2, 0, 1, 2]
    runs = [run(odd, 0.5, 1.0, 0.2), run(good, 0.1, 0.9, 0.8), run(same, 0.2, 0.8, 0.9)]
    found = {choice.rule: choice for choice in choices(runs)}
    assert {name: each.run for name, each in found.items()} == {
        "information": 0,
        "stability": 2,
        "agreement": 1,
    }
    assert found["information"].regret == pytest.approx(0.4)


def test_among_one_run_there_is_no_choice() -> None:
    assert choices([run([0, 1], 0.0, 0.7, 1.0)]) == []


def recipe(errors: list[float], scores: list[float]) -> list[dict[str, Any]]:
    """Runs whose information and stability are ``scores``, of equal categories."""
    return [run([0, 1], error, score, score) for error, score in zip(errors, scores, strict=True)]


def test_over_recipes_it_is_told_how_often_a_rule_chose_well_and_what_it_cost() -> None:
    found = tallies(
        [
            recipe([0.1, 0.2, 0.6], [9, 5, 5]),  # the best
            recipe([0.1, 0.2, 0.6], [5, 9, 5]),  # neither
            recipe([0.1, 0.3], [5, 9]),  # the worst
            recipe([0.4], [1]),  # no choice
        ]
    )
    assert [each.rule for each in found] == [
        "information",
        "stability",
        "agreement",
        "a random run",
    ]
    rules = {each.rule: each for each in found}
    for name in ("information", "stability"):
        assert (rules[name].best, rules[name].worst) == (1, 1)
        assert rules[name].regret == pytest.approx((0 + 0.1 + 0.2) / 3)
    assert (rules["agreement"].best, rules["agreement"].regret) == (3, 0)  # the first of equals


def test_a_random_run_is_best_and_worst_as_often_as_chance_has_it() -> None:
    *_, blind = tallies(
        [
            recipe([0.1, 0.2, 0.6], [1, 2, 3]),
            recipe([0.1, 0.3], [1, 2]),
            recipe([0.2] * 4, [1] * 4),
        ]
    )
    assert blind.best == pytest.approx(1 / 3 + 1 / 2 + 1)  # of equal runs each is best and worst
    assert blind.worst == pytest.approx(1 / 3 + 1 / 2 + 1)
    assert blind.regret == pytest.approx((0.2 + 0.1 + 0) / 3)


def test_without_recipes_of_several_runs_nothing_is_counted() -> None:
    assert tallies([recipe([0.1], [1])]) == []
