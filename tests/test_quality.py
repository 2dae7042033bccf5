"""Generation quality: closed forms, oracles, what degrades what, and made categories."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

from infogan.codes import LatentSpace
from infogan.errors import UserError
from infogan.networks import build
from infogan.options import Model
from infogan.quality import (
    FEATURES,
    Classifier,
    Judge,
    class_entropy,
    classifier_frechet_distance,
    classifier_kernel_distance,
    frechet_distance,
    generated,
    generation_quality,
    look,
    precision_recall,
    purity,
    train_classifier,
)

TRAIN = 1000


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (1797, 1, 8, 8) and labels, in random order."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = (bunch.images[order, None] * (255 / 16)).astype(np.uint8)
    return images, bunch.target[order].astype(np.int64)


@pytest.fixture(scope="module")
def classifier(digits: tuple[np.ndarray, np.ndarray]) -> Classifier:
    images, labels = digits
    return train_classifier(images[:TRAIN], labels[:TRAIN], seed=0, iterations=150)


def normal(count: int, seed: int, columns: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, columns))


def covariance(seed: int, rank: int = 5, size: int = 5) -> np.ndarray:
    factor = normal(size, seed, rank)
    return np.asarray(factor @ factor.T)


# --- The classifier ------------------------------------------------------------------------------


def test_the_classifier_learns_what_can_be_seen(
    classifier: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = digits
    assert not classifier.training
    assert np.mean(look(classifier, images[TRAIN:])[1] == labels[TRAIN:]) > 0.95
    random = np.random.default_rng(0).permutation(labels)
    blind = train_classifier(images[:TRAIN], random[:TRAIN], seed=0, iterations=30)
    assert np.mean(look(blind, images[TRAIN:])[1] == labels[TRAIN:]) < 0.4


def test_the_same_seed_gives_the_same_weights(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits[0][:200], digits[1][:200]
    first = train_classifier(images, labels, seed=1, iterations=5).state_dict()
    torch.manual_seed(7)
    again = train_classifier(images, labels, seed=1, iterations=5).state_dict()
    other = train_classifier(images, labels, seed=2, iterations=5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["last.weight"], other["last.weight"])


def test_training_leaves_the_random_state_of_others_alone(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train_classifier(digits[0][:100], digits[1][:100], seed=0, iterations=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_features_are_the_hidden_layer_and_do_not_depend_on_neighbours(
    classifier: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images = digits[0][:600]  # more than one pass
    features, classes = look(classifier, images)
    assert features.shape == (600, FEATURES)
    assert features.dtype == np.float64
    assert features.min() == 0  # after the activation
    logits = features @ classifier.last.weight.detach().numpy().T
    logits += classifier.last.bias.detach().numpy()
    assert np.array_equal(logits.argmax(axis=1), classes)
    one, _ = look(classifier.train(), images[:1])
    assert one[0] == pytest.approx(features[0], abs=1e-4)
    assert not classifier.training


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 5, 9), (1, 4, 4)])
def test_any_images_will_do_also_read_only_ones(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    images.setflags(write=False)
    labels = np.arange(20) % 7
    classifier = train_classifier(images, labels.astype(np.int32), seed=0, iterations=2)
    features, classes = look(classifier, images)
    assert features.shape == (20, FEATURES)
    assert set(classes) <= set(range(7))


def test_images_and_labels_that_cannot_be_learned_are_refused() -> None:
    images, labels = np.zeros((6, 1, 8, 8), np.uint8), np.arange(6) % 3
    for wrong in (images.astype(float), images[:, 0], images[..., :3]):
        with pytest.raises(UserError, match=r"needs uint8 \(N, C, H, W\)"):
            train_classifier(wrong, labels, seed=0)
    for wrong in (labels[1:], labels.astype(float), labels[:, None]):
        with pytest.raises(UserError, match="6 images need one integer each"):
            train_classifier(images, wrong, seed=0)
    for wrong in (labels - 1, np.zeros(6, int)):
        with pytest.raises(UserError, match="two classes or more, numbered from 0"):
            train_classifier(images, wrong, seed=0)
    with pytest.raises(UserError, match="two classes or more"):
        train_classifier(images[:0], labels[:0], seed=0)


# --- The distance of Gaussians -------------------------------------------------------------------


def test_a_shift_is_as_far_as_it_is_long_squared() -> None:
    shift, spread = np.array([3.0, 0, -4, 0, 1]), covariance(0)
    zero = np.zeros(5)
    assert frechet_distance(zero, spread, shift, spread) == pytest.approx(26)
    assert frechet_distance(zero, np.zeros((5, 5)), shift, np.zeros((5, 5))) == pytest.approx(26)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_a_scale_costs_its_square_of_the_spread(scale: float) -> None:
    spread, zero = covariance(1), np.zeros(5)
    expected = (scale - 1) ** 2 * np.trace(spread)
    assert frechet_distance(zero, spread, zero, scale**2 * spread) == pytest.approx(expected)


def test_independent_features_add_up() -> None:
    a, b = np.array([1.0, 4, 0, 9, 2]), np.array([4.0, 4, 1, 0, 3])
    found = frechet_distance(np.zeros(5), np.diag(a), np.ones(5), np.diag(b))
    assert found == pytest.approx(5 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2))


@pytest.mark.parametrize("seed", range(5))
def test_the_distance_is_that_of_the_textbook_formula(seed: int) -> None:
    a, b = covariance(seed), covariance(seed + 100)
    mean_a, mean_b = normal(2, seed, 5)
    textbook = np.sum((mean_a - mean_b) ** 2) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(mean_a, a, mean_b, b) == pytest.approx(textbook)
    assert frechet_distance(mean_b, b, mean_a, a) == pytest.approx(textbook)


def test_singular_covariances_lose_no_digits() -> None:
    thin, zero = 1e6 * covariance(3, rank=2, size=40), np.zeros(40)
    assert frechet_distance(zero, thin, zero, thin) < 1e-12 * np.trace(thin)
    a, b = np.diag([1.0, 2, 0, 0]), np.diag([0.0, 0, 3, 4])  # nothing in common
    assert frechet_distance(np.zeros(4), a, np.zeros(4), b) == pytest.approx(10)


# --- Sets of features ----------------------------------------------------------------------------


def test_a_set_is_itself_in_any_order() -> None:
    features = normal(300, 0)
    shuffled = features[np.random.default_rng(0).permutation(300)]
    assert classifier_frechet_distance(features, shuffled) == pytest.approx(0, abs=1e-12)
    assert precision_recall(features, shuffled) == (1, 1)


def test_a_set_of_equal_images_is_itself() -> None:
    features = np.tile(normal(1, 0, 7) + 0.1, (20, 1))
    assert classifier_frechet_distance(features, features) == pytest.approx(0, abs=1e-12)
    assert precision_recall(features, features) == (1, 1)


def test_moved_and_stretched_sets_are_at_the_distance_of_their_gaussians() -> None:
    features = normal(500, 1)
    moved = features + np.array([1.0, 2, 0, 0])
    assert classifier_frechet_distance(features, moved) == pytest.approx(5)
    spread = np.trace(np.cov(features, rowvar=False))
    centred = features - features.mean(axis=0)
    assert classifier_frechet_distance(centred, 3 * centred) == pytest.approx(4 * spread)


def test_fewer_images_are_further_apart() -> None:
    distances = [
        np.mean([classifier_frechet_distance(normal(n, s), normal(n, s + 99)) for s in range(5)])
        for n in (20, 80, 320)
    ]
    assert distances[0] > 2 * distances[1] > 4 * distances[2] > 0


def test_noise_makes_images_worse_the_more_the_worse(
    classifier: Classifier, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, _ = digits
    noise = np.random.default_rng(0).normal(size=images[TRAIN:].shape)
    real, _ = look(classifier, images[:TRAIN])
    found = []
    for deviation in (0, 20, 60, 180):
        noisy = np.clip(images[TRAIN:] + deviation * noise, 0, 255).astype(np.uint8)
        features, _ = look(classifier, noisy)
        found.append(
            (classifier_frechet_distance(real, features), *precision_recall(real, features))
        )
    distances, precisions, recalls = zip(*found, strict=True)
    assert np.all(np.diff(distances) > 0)
    assert distances[-1] > 10 * distances[0]
    assert precisions[-1] < precisions[0]
    assert recalls[-1] < recalls[0]


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_precision_and_recall_are_those_of_their_definition(neighbours: int) -> None:
    real, generated = normal(40, 0, 2), 0.7 * normal(50, 1, 2) + 1.5

    def covered(points: np.ndarray, by: np.ndarray) -> float:
        count = 0
        for point in points:
            for i, centre in enumerate(by):
                others = sorted(math.dist(centre, other) for j, other in enumerate(by) if j != i)
                if math.dist(point, centre) <= others[neighbours - 1]:
                    count += 1
                    break
        return count / len(points)

    found = precision_recall(real, generated, neighbours)
    assert found == (covered(generated, real), covered(real, generated))
    assert 0 < found[0] < 1
    assert 0 < found[1] < 1
    assert precision_recall(generated, real, neighbours) == found[::-1]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = normal(130, 0), 0.8 * normal(110, 1)
    whole = precision_recall(real, generated)
    monkeypatch.setattr("infogan.quality._PASS", 30)
    assert precision_recall(real, generated) == pytest.approx(whole)


def clusters(*places: float, each: int = 200, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.concatenate([random.normal(place, 1, (each, 2)) for place in places])


def test_a_missing_kind_of_image_lowers_recall_and_not_precision() -> None:
    real = clusters(0, 100, 200, 300)
    whole = precision_recall(real, clusters(0, 100, 200, 300, seed=1))
    half = precision_recall(real, clusters(0, 100, each=400, seed=1))
    assert half[0] == pytest.approx(whole[0], abs=0.05)
    assert half[1] == pytest.approx(whole[1] / 2, abs=0.05)
    assert whole[1] > 0.9


def test_an_invented_kind_of_image_lowers_precision_and_not_recall() -> None:
    real = clusters(0, 100)
    precision, recall = precision_recall(real, clusters(0, 100, 500, 900, seed=1))
    assert precision == pytest.approx(0.5, abs=0.05)
    assert recall > 0.9


def test_features_that_do_not_fit_are_refused() -> None:
    good = normal(10, 0)
    for wrong in (good[:, :2], good[0], good[:1]):
        with pytest.raises(UserError, match=r"\(N, F\) and \(M, F\)"):
            classifier_frechet_distance(good, wrong)
        with pytest.raises(UserError, match="at least 4 images each"):
            precision_recall(wrong, good)
    broken = good.copy()
    broken[3, 1] = math.nan
    with pytest.raises(UserError, match="finite"):
        classifier_frechet_distance(good, broken)


# --- Beside what real images get -----------------------------------------------------------------


def test_images_as_good_as_real_ones_are_as_far_as_these_from_each_other() -> None:
    found = generation_quality(normal(1000, 0), normal(700, 1), seed=0)
    assert found["images"] == 500
    for name in ("classifier_frechet_distance", "precision", "recall"):
        assert found[name] == pytest.approx(found[f"{name}_of_real"], rel=0.7)
    bad = generation_quality(normal(1000, 0), normal(700, 1) + 1, seed=0)
    assert bad["classifier_frechet_distance"] > 10 * bad["classifier_frechet_distance_of_real"]
    assert bad["precision"] < bad["precision_of_real"]
    for name in ("classifier_frechet_distance", "precision", "recall"):
        assert bad[f"{name}_of_real"] == found[f"{name}_of_real"]


def test_the_order_in_which_images_lie_is_no_difference_between_halves() -> None:
    real, generated = clusters(0, 10), clusters(0, 10, seed=1)
    found = generation_quality(real, generated, seed=0)
    assert found["classifier_frechet_distance_of_real"] < 2
    few = generation_quality(real[::4], generated, seed=0)  # of the generated a random part
    assert few["images"] == 50
    assert few["classifier_frechet_distance"] < 10


def test_precision_and_recall_stand_under_their_names() -> None:
    found = generation_quality(clusters(0, 100), clusters(0, each=400, seed=1), seed=0)
    assert found["recall"] + 0.3 < found["precision"]
    found = generation_quality(clusters(0, each=400), clusters(0, 100, seed=1), seed=0)
    assert found["precision"] + 0.3 < found["recall"]


def test_all_sets_are_equally_many(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def recorded(a: np.ndarray, b: np.ndarray) -> float:
        sizes.append((len(a), len(b)))
        return 0.0

    monkeypatch.setattr("infogan.quality.classifier_frechet_distance", recorded)
    generation_quality(normal(101, 0), normal(80, 1), seed=0)
    generation_quality(normal(101, 0), normal(30, 1), seed=0)
    assert sizes == [(50, 50)] * 2 + [(30, 30)] * 2


def test_quality_depends_on_the_seed_and_on_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = normal(200, 0), normal(150, 1)
    found = generation_quality(real, generated, seed=3)
    assert generation_quality(real, generated, seed=3) == found
    assert generation_quality(real, generated, seed=4) != found
    monkeypatch.setattr("infogan.quality.MOST_IMAGES", 60)
    assert generation_quality(real, generated, seed=3)["images"] == 60


# --- Kernel distance -----------------------------------------------------------------------------


def test_the_kernel_distance_is_the_mean_over_all_pairs_of_different_images() -> None:
    a, b = normal(7, 0), normal(5, 1) + 0.5

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j])
        for s in (a, b)
    ]
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert classifier_kernel_distance(a, b) == pytest.approx(sum(within) - 2 * between)


def test_the_kernel_distance_of_many_images_is_summed_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = normal(70, 0), normal(50, 1)
    whole = classifier_kernel_distance(a, b)
    monkeypatch.setattr("infogan.quality._PASS", 16)
    assert classifier_kernel_distance(a, b) == pytest.approx(whole)


def test_the_kernel_distance_is_not_the_larger_for_few_images() -> None:
    found = [
        np.mean([classifier_kernel_distance(normal(n, s), normal(n, s + 999)) for s in range(300)])
        for n in (10, 40)
    ]
    assert abs(found[0]) < 0.05
    assert abs(found[1]) < 0.05
    assert classifier_kernel_distance(normal(40, 0), normal(40, 1) + 0.5) > 0.2


# --- Purity --------------------------------------------------------------------------------------


def test_categories_that_are_classes_by_other_names_are_pure() -> None:
    classes = np.arange(60) % 6
    names = np.array([3, 5, 0, 1, 4, 2])
    assert purity(names[classes], classes) == {"purity": 1, "classes_covered": 6}


def test_merged_and_split_classes_show_in_coverage_and_purity() -> None:
    classes = np.arange(60) % 6
    merged = np.where(classes == 5, 4, classes)  # one category has two classes
    assert purity(merged, classes) == {"purity": pytest.approx(4.5 / 5), "classes_covered": 5}
    split = np.where(np.arange(60) < 30, classes, classes + 6)  # two categories a class
    assert purity(split, classes) == {"purity": 1, "classes_covered": 6}


def test_each_category_counts_alike_and_empty_ones_not_at_all() -> None:
    categories = np.array([0] * 8 + [5] * 2)
    classes = np.array([1] * 8 + [1, 0])
    assert purity(categories, classes) == {"purity": 0.75, "classes_covered": 2}


def test_a_collapsed_generator_covers_one_class() -> None:
    assert purity(np.arange(50) % 5, np.full(50, 3)) == {"purity": 1, "classes_covered": 1}


def test_categories_that_say_nothing_are_as_pure_as_the_most_frequent_class() -> None:
    random = np.random.default_rng(0)
    found = purity(random.integers(0, 4, 8000), random.choice(3, 8000, p=[0.5, 0.3, 0.2]))
    assert found["purity"] == pytest.approx(0.5, abs=0.03)


def test_categories_and_classes_of_different_images_are_refused() -> None:
    for wrong in (np.zeros(3, int), np.zeros((4, 1), int)):
        with pytest.raises(UserError, match="one each"):
            purity(np.zeros(4, int), wrong)
    with pytest.raises(UserError, match="one each"):
        purity(np.zeros(0, int), np.zeros(0, int))


def test_images_of_one_class_have_no_entropy_and_balanced_ones_all_of_it() -> None:
    assert class_entropy(np.full(20, 3)) == 0
    assert class_entropy(np.arange(40) % 4) == pytest.approx(math.log(4))


# --- Judging a model -----------------------------------------------------------------------------


def test_generated_images_are_those_of_their_categories(model: Model) -> None:
    networks, space = build(model, (1, 8, 8), 0), LatentSpace(model)
    made, categories = generated(networks, space, "c1", 600, (0.0, 1.0), seed=1)
    assert made.shape == (600, 1, 8, 8)
    assert made.dtype == np.uint8
    assert categories is not None
    assert set(categories.tolist()) == {0, 1, 2}
    again, same = generated(networks, space, "c1", 600, (0.0, 1.0), seed=1)
    np.testing.assert_array_equal(made, again)
    np.testing.assert_array_equal(categories, same)
    assert generated(networks, space, None, 4, (0.0, 1.0), seed=1)[1] is None


def test_a_judge_sees_test_images_that_it_has_not_learned(
    model: Model,
    digits: tuple[np.ndarray, np.ndarray],
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels = digits
    given = []

    def trained(*arguments: object) -> Classifier:
        given.append(arguments)
        return classifier

    monkeypatch.setattr("infogan.quality.train_classifier", trained)
    judge = Judge.of((images[:TRAIN], images[TRAIN:]), (labels[:TRAIN], labels[TRAIN:]), seed=5)
    ((learned, told, seed),) = given
    np.testing.assert_array_equal(learned, images[:TRAIN])
    np.testing.assert_array_equal(told, labels[:TRAIN])
    assert seed == 5
    assert len(judge.real) == len(images) - TRAIN
    assert judge.accuracy > 0.95
    networks, space = build(model, (1, 8, 8), 0), LatentSpace(model)
    made, categories = generated(networks, space, "c1", 50, (0.0, 1.0), 1)
    numbers = judge.judge(made, categories, 2)
    assert numbers["classifier_accuracy"] == judge.accuracy
    assert numbers["images"] == 50
    assert {"purity", "class_entropy", "precision", "recall_of_real"} <= numbers.keys()
    assert numbers == judge.judge(made, categories, 2)
    assert "purity" not in judge.judge(made, None, 2)
