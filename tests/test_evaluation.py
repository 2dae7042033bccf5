"""Q as a classifier, and traversals: against brute force, and by their own laws."""

import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from infogan import evaluation
from infogan.codes import LatentSpace
from infogan.evaluation import (
    UNMATCHED,
    associations,
    category_probabilities,
    cluster_pixels,
    contingency,
    error_rate,
    judge,
    match_majority,
    match_one_to_one,
    recalibrated,
)
from infogan.networks import Networks, to_pixels
from infogan.options import Model

PIXELS = (0.0, 1.0)


def labels(count: int, classes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, count)


# --- Matching ------------------------------------------------------------------------------------


def test_a_contingency_table_counts_pairs() -> None:
    categories, classes = labels(200, 4, 1), labels(200, 3, 2)
    table = contingency(categories, classes, (4, 3))
    for k, c in itertools.product(range(4), range(3)):
        assert table[k, c] == np.sum((categories == k) & (classes == c))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("k", [2, 4, 6])
def test_the_one_to_one_matching_is_the_best_of_all_permutations(k: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 50, (k, k))
    matched = match_one_to_one(table)
    assert sorted(matched) == list(range(k))
    best = max(
        sum(table[row, column] for row, column in enumerate(permutation))
        for permutation in itertools.permutations(range(k))
    )
    assert table[np.arange(k), matched].sum() == best


@pytest.mark.parametrize("seed", range(5))
def test_with_more_categories_than_classes_the_rest_is_unmatched(seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 50, (6, 4))
    matched = match_one_to_one(table)
    assert sorted(matched) == [UNMATCHED, UNMATCHED, 0, 1, 2, 3]
    best = max(
        sum(table[row, column] for column, row in enumerate(rows))
        for rows in itertools.permutations(range(6), 4)
    )
    used = matched != UNMATCHED
    assert table[used, matched[used]].sum() == best


def test_with_fewer_categories_than_classes_every_category_is_matched() -> None:
    matched = match_one_to_one(np.random.default_rng(0).integers(0, 50, (3, 5)))
    assert UNMATCHED not in matched
    assert len(set(matched)) == 3


def test_an_unmatched_category_is_always_wrong() -> None:
    categories = np.array([0, 0, 1, 2])
    assert error_rate(np.array([0, UNMATCHED, 1]), categories, np.array([0, 0, 0, 1])) == 0.25


@pytest.mark.parametrize("seed", range(10))
def test_on_what_it_is_fitted_on_the_majority_is_at_least_as_right(seed: int) -> None:
    categories, classes = labels(300, 6, seed), labels(300, 5, seed + 100)
    table = contingency(categories, classes, (6, 5))
    majority = error_rate(match_majority(table), categories, classes)
    assert majority <= error_rate(match_one_to_one(table), categories, classes)
    assert round(300 * majority) == 300 - table.max(axis=1).sum()


@pytest.mark.parametrize("seed", range(3))
def test_categories_that_are_classes_by_other_names_are_perfect(seed: int) -> None:
    names = np.random.default_rng(seed).permutation(10)
    train, test = labels(500, 10, 1), labels(300, 10, 2)
    found = judge({"train": (names[train], train), "test": (names[test], test)}, 10, 10)
    assert found == {
        "error_one_to_one": 0.0,
        "error_majority": 0.0,
        "error_one_to_one_test_fitted": 0.0,
        "nmi": pytest.approx(1),
        "ari": pytest.approx(1),
        "classes_without_category": 0.0,
    }


def test_the_matching_is_fitted_on_train_and_judged_on_test() -> None:
    train = (np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    test = (np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))  # the other way round
    found = judge({"train": train, "test": test}, 2, 2)
    assert found["error_one_to_one"] == 1
    assert found["error_majority"] == 1
    assert found["error_one_to_one_test_fitted"] == 0


def test_numbers_that_no_class_has_are_not_missed() -> None:
    classes = np.array([0, 3, 7, 3])
    perfect = (np.array([1, 2, 0, 2]), classes)
    assert judge({"train": perfect, "test": perfect}, 3, 8)["classes_without_category"] == 0


def test_one_category_for_all_names_one_class() -> None:
    nothing = np.zeros(90, np.int64)
    classes = np.repeat(np.arange(3), 30)
    found = judge({"train": (nothing, classes), "test": (nothing, classes)}, 3, 3)
    assert found["error_one_to_one"] == pytest.approx(2 / 3)
    assert found["error_majority"] == pytest.approx(2 / 3)
    assert found["nmi"] == pytest.approx(0)
    assert found["ari"] == pytest.approx(0)
    assert found["classes_without_category"] == 2


def test_a_class_that_two_others_swallow_is_without_category() -> None:
    # Categories 0 and 1 are both mostly class 0; class 1 is nowhere the majority.
    categories = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    classes = np.array([0, 0, 1, 0, 0, 1, 2, 2, 2])
    found = judge({"train": (categories, classes), "test": (categories, classes)}, 3, 3)
    assert found["classes_without_category"] == 1
    assert found["error_majority"] == pytest.approx(2 / 9)
    assert found["error_one_to_one"] == pytest.approx(3 / 9)


# --- Q on images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, 28, 100])
def test_probabilities_do_not_depend_on_the_batch(
    model: Model,
    networks: Networks,
    space: LatentSpace,
    images: np.ndarray,
    batch_size: int,
) -> None:
    networks.discriminator.train()
    found = category_probabilities(networks.discriminator, space, images, PIXELS, batch_size)
    assert networks.discriminator.training, "it is left as it was"
    _, outputs = networks.discriminator.eval()(to_pixels(torch.from_numpy(images), PIXELS))
    assert list(found) == ["c1"]
    torch.testing.assert_close(found["c1"], outputs[:, :3].softmax(dim=1))
    torch.testing.assert_close(found["c1"].sum(dim=1), torch.ones(28))


def inputs_of(module: nn.Module, action: Callable[[], object]) -> list[Tensor]:
    seen: list[Tensor] = []
    with module.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach())):
        action()
    return seen


def test_recalibration_leaves_the_original_untouched(
    networks: Networks, images: np.ndarray
) -> None:
    d = networks.discriminator.train()
    before = {name: value.clone() for name, value in d.state_dict().items()}
    momenta = [m.momentum for m in d.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    calibrated = recalibrated(d, images, PIXELS, 7)
    for name, value in d.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(module.training for module in d.modules())
    assert momenta == [0.1] * len(momenta)
    assert not any(module.training for module in calibrated.modules())
    for (name, mine), (_, theirs) in zip(
        calibrated.named_parameters(), d.named_parameters(), strict=True
    ):
        assert torch.equal(mine, theirs), name
        assert mine is not theirs


def test_recalibrated_statistics_are_those_of_the_images(
    networks: Networks, images: np.ndarray
) -> None:
    d = networks.discriminator
    pixels = to_pixels(torch.from_numpy(images), PIXELS)
    calibrated = recalibrated(d, images, PIXELS, len(images))
    for of, name in (("trunk", 3), ("q_head", 2)):
        original, norm = getattr(d, of)[name], getattr(calibrated, of)[name]
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        # In one batch of everything, what a layer is given in training mode is what counts.
        (given,) = inputs_of(original, lambda: d.train()(pixels))
        axes = [axis for axis in range(given.ndim) if axis != 1]
        torch.testing.assert_close(norm.running_mean, given.mean(dim=axes))
        torch.testing.assert_close(norm.running_var, given.var(dim=axes, correction=1))


def test_batches_of_one_image_are_none_for_batch_norm(
    networks: Networks, images: np.ndarray
) -> None:
    one, two = (recalibrated(networks.discriminator, images, PIXELS, size) for size in (1, 2))
    for mine, theirs in zip(one.buffers(), two.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_recalibrated_statistics_are_a_plain_average_over_batches(
    networks: Networks, images: np.ndarray
) -> None:
    calibrated = recalibrated(networks.discriminator, images, PIXELS, 7)
    pixels = to_pixels(torch.from_numpy(images), PIXELS)
    trunk = networks.discriminator.trunk
    given = trunk[:3](pixels)  # no batch norm before it, so batches do not matter
    torch.testing.assert_close(calibrated.trunk[3].running_mean, given.mean(dim=(0, 2, 3)))


def test_an_incomplete_last_batch_does_not_weigh_more(
    networks: Networks, images: np.ndarray
) -> None:
    bright = np.concatenate([images[:24], np.full((4, 1, 8, 8), 255, np.uint8)])
    whole = recalibrated(networks.discriminator, images[:24], PIXELS, 8)
    found = recalibrated(networks.discriminator, bright, PIXELS, 8)
    for name, value in found.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])


def test_fewer_images_than_a_batch_recalibrate_too(networks: Networks, images: np.ndarray) -> None:
    few = recalibrated(networks.discriminator, images[:5], PIXELS, 100)
    same = recalibrated(networks.discriminator, images[:5], PIXELS, 5)
    assert torch.equal(few.trunk[3].running_mean, same.trunk[3].running_mean)


# --- k-means -------------------------------------------------------------------------------------


def test_k_means_finds_well_separated_images() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, 60)
    images = (200 * classes[:, None, None, None] + random.integers(0, 50, (60, 1, 4, 4))).astype(
        np.uint8
    )
    train, test = cluster_pixels(images[:40], images[40:], clusters=2, restarts=1, seed=0)
    found = judge({"train": (train, classes[:40]), "test": (test, classes[40:])}, 2, 2)
    assert found["error_one_to_one"] == 0


def test_k_means_of_one_seed_is_the_same() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)
    first = cluster_pixels(images[:40], images[40:], 5, 1, seed=3)
    again = cluster_pixels(images[:40], images[40:], 5, 1, seed=3)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def many(tmp_path: Path) -> np.ndarray:
    """A memory map of 4,000 images in three clouds of grey, 2 MB as floats."""
    random = np.random.default_rng(0)
    level = 80 * random.integers(0, 3, (4000, 1, 1, 1))
    images = (level + random.integers(0, 50, (4000, 2, 8, 8))).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    return np.asanyarray(np.load(tmp_path / "images.npy", mmap_mode="r"))


def test_k_means_is_that_of_scikit_learn_on_all_images_that_fit(many: np.ndarray) -> None:
    random = np.random.default_rng(0).integers(0, 256, (2500, 1, 3, 3), np.uint8)
    for images in (many, random):
        train, test = cluster_pixels(images[:2300], images[2300:], 4, 2, seed=5)
        flat = images.reshape(len(images), -1).astype(np.float32) / 255
        oracle = KMeans(4, n_init=2, random_state=5).fit(flat[:2300])
        np.testing.assert_array_equal(train, oracle.labels_)
        np.testing.assert_array_equal(test, oracle.predict(flat[2300:]))


def test_all_of_mnist_is_fitted_on() -> None:
    assert evaluation.KMEANS_VALUES >= 60_000 * 28 * 28


def test_k_means_of_more_images_than_fit_is_fitted_on_a_sample(
    many: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "KMEANS_VALUES", 300 * 128)
    fitted = []
    fit = KMeans.fit
    monkeypatch.setattr(KMeans, "fit", lambda self, X: fit(self, fitted.append(X.copy()) or X))
    before = many[:10].copy()
    train, test = cluster_pixels(many[:3500], many[3500:], 3, 1, seed=0)
    grey = many.mean(axis=(1, 2, 3)) // 80
    assert adjusted_rand_score(grey, np.concatenate([train, test])) == 1
    assert fitted[0].shape == (300, 128)
    assert set(np.unique(fitted[0].mean(axis=1) * 255 // 80)) == {0, 1, 2}
    np.testing.assert_array_equal(many[:10], before)

    again, _ = cluster_pixels(many[:3500], many[3500:], 3, 1, seed=0)
    np.testing.assert_array_equal(again, train)
    cluster_pixels(many[:3500], many[3500:], 3, 1, seed=1)
    assert np.array_equal(fitted[1], fitted[0])
    assert not np.array_equal(fitted[2], fitted[0])


def test_k_means_never_holds_all_images_as_floats(
    many: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "KMEANS_VALUES", 300 * 128)
    monkeypatch.setattr(evaluation, "_KMEANS_CHUNK", 100)
    cluster_pixels(many[:350], many[350:400], 3, 1, seed=0)  # imports are none of it
    tracemalloc.start()
    cluster_pixels(many[:3500], many[3500:], 3, 1, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * many.size / 2


# --- Codes against known factors -----------------------------------------------------------------


def test_the_best_of_codes_that_know_nothing_rarely_passes_for_knowledge() -> None:
    random = np.random.default_rng(0)
    codes = {f"c{i}": random.integers(0, 3, 120) for i in range(10)}
    factors = random.integers(0, 2, (120, 60))
    known = [(f"f{i}", "binary") for i in range(60)]
    table = associations({}, codes, factors, known, seed=0)["categorical"]
    values, chance = np.array(table["values"]), np.array(table["chance"])
    best, of_best = values.max(axis=0), np.array(table["chance_of_best"])
    assert values.shape == chance.shape == (10, 60)
    assert 0.02 < np.mean(values > chance) < 0.09
    assert np.mean(best > of_best) < 0.15
    assert np.mean(best > chance.max(axis=0)) > 0.15  # each code's own threshold is too low
    assert (of_best > chance.max(axis=0)).all()


def objects() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """14 objects in 62 views: which one each image shows, its width, and the angle of the view."""
    units = np.repeat(np.arange(14), 62)
    width = np.random.default_rng(0).normal(size=14)[units]
    return units, width, np.tile(np.arange(62) * 360 / 62, 14)


def test_of_what_an_object_is_there_are_as_many_observations_as_objects() -> None:
    units, width, angle = objects()
    factors = np.stack([width, angle], axis=1)
    known = [("width", "linear"), ("angle", "circular")]
    random = np.random.default_rng(1)
    # Each tells one object from another, and nothing of any factor.
    codes = {f"c{i}": random.integers(0, 5, 14)[units] for i in range(40)}
    means = {f"m{i}": random.normal(size=14)[units] for i in range(40)}
    by_images, by_objects = (
        associations(means, codes, factors, known, 0, told) for told in (None, units)
    )
    for kind in ("continuous", "categorical"):
        wrong, right = (
            np.array(table[kind]["values"]) > np.array(table[kind]["chance"])
            for table in (by_images, by_objects)
        )
        assert wrong[:, 0].mean() > 0.7
        assert right[:, 0].mean() < 0.15
        assert right[:, 1].mean() == 0  # of the view there is an observation an image


@pytest.mark.parametrize("kind", ["continuous", "categorical"])
def test_the_best_of_many_factors_rarely_passes_for_knowledge(kind: str) -> None:
    random = np.random.default_rng(0)
    factors = random.integers(0, 2, (120, 20))
    factors[:, 0] = np.arange(120) % 2
    blind = {
        "continuous": {f"c{i}": random.normal(size=120) for i in range(40)},
        "categorical": {f"c{i}": random.integers(0, 3, 120) for i in range(40)},
    }[kind]
    blind["c0"] = np.arange(120) % 2
    known = [(f"f{i}", "binary") for i in range(20)]
    given = (blind, {}) if kind == "continuous" else ({}, blind)
    table = associations(*given, factors, known, seed=0)[kind]
    excess = np.array(table["values"]) - np.array(table["chance"])
    passing = excess.max(axis=1) > np.array(table["margin"])
    assert passing[0]
    assert passing[1:].mean() < 0.2
    assert (excess[1:].max(axis=1) > 0).mean() > 0.5  # each factor's own threshold is too low


def test_the_threshold_of_the_best_of_one_code_is_its_own() -> None:
    random = np.random.default_rng(0)
    code, factors = {"c1": random.integers(0, 3, 120)}, random.integers(0, 2, (120, 5))
    known = [(f"f{i}", "binary") for i in range(5)]
    table = associations({}, code, factors, known, seed=0)["categorical"]
    assert table["chance"] == [table["chance_of_best"]]


def test_without_categorical_codes_their_part_of_the_table_is_empty() -> None:
    means = {"c1": np.random.default_rng(0).normal(size=50)}
    table = associations(means, {}, means["c1"][:, None], [("x", "linear")], seed=0)
    assert np.array(table["categorical"]["values"]).size == 0
    assert np.array(table["categorical"]["chance"]).size == 0
    assert table["continuous"]["values"] == [[pytest.approx(1)]]
