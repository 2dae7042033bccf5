"""What is measured of a model, and what is left empty where there is nothing to measure."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from infogan import evaluation as library
from infogan import inception, quality
from infogan.datasets.values import Arrays, Weights
from infogan.errors import UserError
from infogan.networks import build, to_arrays
from infogan.options import Evaluation, Model, Training
from infogan.pipelines.evaluation import nodes

EVALUATION = Evaluation.model_validate(
    {
        "seed": 0,
        "device": "cpu",
        "batch_size": 50,
        "samples": 100,
        "recalibration_images": 50,
        "generated_images": 0,
        "kmeans_restarts": 1,
        "traversal_rows": 2,
        "traversal_columns": 3,
        "traversal_range": [-1.0, 1.0],
    }
)
CARD: dict[str, Any] = {"shape": [1, 8, 8], "splits": {"train": {"sha256": "5ee4"}}}
COUNTS = {"train": 60, "test": 50}


def arrays(make: Callable[[int, int], np.ndarray]) -> Arrays:
    return Arrays({split: make(count, seed) for seed, (split, count) in enumerate(COUNTS.items())})


IMAGES = arrays(
    lambda count, seed: np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), np.uint8)
)
LABELS = arrays(lambda count, seed: np.random.default_rng(seed + 9).integers(0, 4, count))
NO_LABELS = arrays(lambda *_: np.empty(0, np.int64))
NO_FACTORS = arrays(lambda *_: np.empty((0, 0), np.float32))


@pytest.fixture
def weigh(training: Training) -> Callable[..., Weights]:
    """An untrained model as if it had been trained for so many iterations."""

    def make(model: Model, iterations: int = 5) -> Weights:
        card = {
            "name": "infogan",
            "model": model.model_dump(mode="json"),
            "training": training.model_dump(mode="json"),
            "image_shape": [1, 8, 8],
            "iterations": iterations,
            "data_sha256": "5ee4",
        }
        return Weights(to_arrays(build(model, (1, 8, 8), 0)), card)

    return make


Weigh = Callable[..., Weights]
MakeModel = Callable[..., Model]


def test_without_labels_there_is_nothing_to_classify(weigh: Weigh, model: Model) -> None:
    data = (IMAGES, NO_LABELS, CARD, model, EVALUATION)
    assert nodes.classify(weigh(model), *data) == ({}, {})
    assert nodes.classify_baseline(weigh(model), *data) == {}
    assert nodes.classify_references(IMAGES, NO_LABELS, model, EVALUATION) == {}


def test_without_a_categorical_code_there_is_nothing_to_classify(
    weigh: Weigh, make_model: MakeModel
) -> None:
    model = make_model(codes=["c1 uniform -1 1"])
    data = (IMAGES, LABELS, CARD, model, EVALUATION)
    assert nodes.classify(weigh(model), *data) == ({}, {})
    assert nodes.classify_references(IMAGES, LABELS, model, EVALUATION) == {}


def test_of_several_codes_the_one_that_fits_the_training_labels_best_is_reported(
    weigh: Weigh, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(codes=["c1 categorical 3", "c2 categorical 4", "c3 uniform -1 1"])
    exact = {split: LABELS[split] for split in COUNTS}
    constant = {split: np.zeros(count, int) for split, count in COUNTS.items()}
    found = {"c1": constant, "c2": exact}
    monkeypatch.setattr(nodes, "_categories", lambda *_: found)
    numbers, categories = nodes.classify(weigh(model), IMAGES, LABELS, CARD, model, EVALUATION)
    assert categories["code"] == "c2"
    assert numbers["error_one_to_one"] == numbers["error_one_to_one.c2"] == 0
    assert numbers["error_one_to_one.c1"] > 0.5
    assert np.array(categories["test_table"]).shape == (4, 4)
    references = nodes.classify_references(IMAGES, LABELS, model, EVALUATION)
    assert references["error_untrained"] == 0  # the best of its codes, too


@pytest.mark.parametrize(("seen", "agreement", "without"), [("exact", 1, 0), ("constant", 0, 3)])
def test_references_are_judged_by_the_numbers_of_the_model(
    weigh: Weigh,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    seen: str,
    agreement: int,
    without: int,
) -> None:
    """Categories that are the classes, but for their order, and one category for everything."""
    model = make_model(codes=["c1 categorical 4"])
    found = {
        split: (LABELS[split] + 1) % 4 if seen == "exact" else np.zeros(count, int)
        for split, count in COUNTS.items()
    }
    monkeypatch.setattr(nodes, "_categories", lambda *_: {"c1": found})
    monkeypatch.setattr(library, "cluster_pixels", lambda *_: (found["train"], found["test"]))
    data = (IMAGES, LABELS, CARD, model, EVALUATION)
    numbers, _ = nodes.classify(weigh(model), *data)
    references = nodes.classify_references(IMAGES, LABELS, model, EVALUATION)
    references |= nodes.classify_baseline(weigh(model), *data)
    for name in ("kmeans", "untrained", "baseline"):
        assert references[f"nmi_{name}"] == numbers["nmi"] == pytest.approx(agreement)
        assert references[f"ari_{name}"] == numbers["ari"] == pytest.approx(agreement)
        assert references[f"classes_without_category_{name}"] == without


def test_categories_carry_the_names_of_classes_that_have_any(weigh: Weigh, model: Model) -> None:
    named = CARD | {"source": {"class_names": ["a", "b", "c", "d"]}}
    for card, names in ((named, ["a", "b", "c", "d"]), (CARD, None)):
        _, found = nodes.classify(weigh(model), IMAGES, LABELS, card, model, EVALUATION)
        assert found.get("class_names") == names


def test_a_single_code_needs_no_list_of_codes(weigh: Weigh, model: Model) -> None:
    numbers, _ = nodes.classify(weigh(model), IMAGES, LABELS, CARD, model, EVALUATION)
    assert "error_one_to_one" in numbers
    assert not [name for name in numbers if "." in name]


def test_test_images_and_labels_judge_and_neither_match_nor_recalibrate(
    weigh: Weigh, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels of test images are turned by one class, which moves errors but no matching."""
    seen: list[np.ndarray] = []
    recalibrated = library.recalibrated

    def noted(discriminator: Any, images: np.ndarray, *others: Any) -> Any:
        seen.append(images)
        return recalibrated(discriminator, images, *others)

    monkeypatch.setattr(library, "recalibrated", noted)
    turned = Arrays({"train": LABELS["train"], "test": (LABELS["test"] + 1) % 4})
    first, second = (
        nodes.classify(weigh(model), IMAGES, labels, CARD, model, EVALUATION)[1]
        for labels in (LABELS, turned)
    )
    assert first["class_of_category"] == second["class_of_category"]
    assert first["test_table"] != second["test_table"]
    nodes.classify_references(IMAGES, LABELS, model, EVALUATION)
    baseline = nodes.classify_baseline(weigh(model), IMAGES, LABELS, CARD, model, EVALUATION)
    again = nodes.classify(weigh(model), IMAGES, LABELS, CARD, model, EVALUATION)[0]
    for name in ("", "_recalibrated"):  # the same weights
        assert baseline[f"error_baseline{name}"] == again[f"error_one_to_one{name}"]
    assert len(seen) == 5
    for images in seen:
        expected = IMAGES["train"][: EVALUATION.recalibration_images]
        np.testing.assert_array_equal(images, expected)


def test_a_regular_gan_that_was_not_trained_leaves_no_trace(weigh: Weigh, model: Model) -> None:
    untrained = weigh(model, iterations=0)
    data = (IMAGES, LABELS, CARD, model, EVALUATION)
    assert nodes.classify_baseline(untrained, *data) == {}
    traversals = nodes.traverse(untrained, CARD, model, EVALUATION)
    assert traversals.arrays == {}
    assert traversals.card["values"] == {}
    metrics = {"a": 1.0}
    record = {"iterations": 0, "seconds": 1.0}
    assert nodes.complete(metrics, {}, record, {"lower_bound.c1": 0.1}) == metrics


def test_the_baselines_numbers_are_named_as_its_own() -> None:
    numbers = {"lower_bound.c1": 0.1, "entropy.c1": 2.3, "partial.images": 5, "partial.of": 9}
    found = nodes.complete({"a": 1.0}, {}, {"iterations": 7, "seconds": 3.0}, numbers)
    assert found == {
        "a": 1.0,
        "baseline_lower_bound.c1": 0.1,
        "baseline_iterations": 7,
        "baseline_seconds_training": 3.0,
    }


@pytest.mark.parametrize("partial", [{}, {"images": 110, "of": 900}])
def test_a_part_of_a_data_set_is_named_in_the_numbers(
    weigh: Weigh, model: Model, partial: dict[str, int]
) -> None:
    card = CARD | ({"partial": partial} if partial else {})
    numbers = nodes.measure(weigh(model), IMAGES, card, model, EVALUATION)
    told = {name: value for name, value in numbers.items() if name.startswith("partial.")}
    assert told == {f"partial.{name}": count for name, count in partial.items()}


def test_without_known_factors_nothing_is_explained(weigh: Weigh, model: Model) -> None:
    data = (IMAGES, NO_FACTORS, CARD, model, EVALUATION)
    assert nodes.explain(weigh(model), *data) == ({}, {})


KNOWN = [["x", "linear"], ["turn", "circular"], ["y", "linear"]]


def known(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform((-1, 0, 5), (1, 360, 9), (count, 3)).astype(np.float32)


def test_codes_are_compared_with_the_factors_of_held_out_images(
    weigh: Weigh, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(codes=["c1 categorical 3", "c2 uniform -1 1", "c3 uniform -1 1"])
    factors = arrays(known)
    x, turn, _ = factors["test"].T
    means = {"c2": -(x.astype(float) ** 3), "c3": np.cos(np.radians(turn.astype(float)))}
    nothing = np.random.default_rng(0).integers(0, 3, len(x))
    categories = {"c1": np.digitize(x, [-0.3, 0.3]), "c4": nothing}
    monkeypatch.setattr(library, "read_codes", lambda *_: (means, categories))
    monkeypatch.setattr(nodes, "_FEWEST_TO_SCORE", 50)
    card = CARD | {"factors": KNOWN}
    numbers, table = nodes.explain(weigh(model), IMAGES, factors, card, model, EVALUATION)

    assert numbers["correlation.c2.x"] == pytest.approx(1)
    assert numbers["correlation.c3.turn"] > 0.95
    assert numbers["correlation.c3.x"] < 0.4
    for factor in ("x", "turn", "y"):
        each = [numbers[f"correlation.{code}.{factor}"] for code in ("c2", "c3")]
        assert numbers[f"correlation.{factor}"] == max(each)
    assert numbers["information.x"] > numbers["information_chance.x"]
    assert numbers["information.x"] <= np.log(3)
    assert numbers["information.y"] < 0.5 * numbers["information.x"]
    assert {"mig", "dci_disentanglement", "sap", "factor_vae", "beta_vae"} <= numbers.keys()
    assert table["factors"] == ["x", "turn", "y"]
    assert np.array(table["continuous"]["values"]).shape == (2, 3)
    assert np.array(table["categorical"]["chance"]).shape == (2, 3)
    assert numbers["information_chance.x"] == table["categorical"]["chance_of_best"][0]
    assert numbers["correlation_chance.x"] == table["continuous"]["chance_of_best"][0]
    assert table["entropy"][0] == pytest.approx(np.log(10))  # ten bins of five


def test_scores_are_told_which_numbers_are_names_and_which_angles_wrap(
    weigh: Weigh, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def scores(codes: np.ndarray, *_: Any, **kinds: Any) -> dict[str, float]:
        given.update(kinds, codes=codes)
        return {}

    monkeypatch.setattr("infogan.disentanglement.scores", scores)
    monkeypatch.setattr(nodes, "_FEWEST_TO_SCORE", 50)
    card = CARD | {"factors": KNOWN}
    nodes.explain(weigh(model), IMAGES, arrays(known), card, model, EVALUATION)
    assert list(given["circular"]) == [1]
    assert list(given["categorical"]) == [3]  # after c2, c3_0 and c3_1
    assert set(given["codes"][:, 3]) <= {0, 1, 2}


def test_attributes_are_no_independent_causes_and_get_no_scores(
    weigh: Weigh, model: Model
) -> None:
    factors = arrays(lambda count, seed: (known(count, seed) > 0).astype(np.float32))
    card = CARD | {"factors": [[name, "binary"] for name, _ in KNOWN]}
    numbers, _ = nodes.explain(weigh(model), IMAGES, factors, card, model, EVALUATION)
    assert "mig" not in numbers
    assert "information.x" in numbers


def test_explanations_are_the_same_each_time(weigh: Weigh, model: Model) -> None:
    data = (IMAGES, arrays(known), CARD | {"factors": KNOWN}, model, EVALUATION)
    assert nodes.explain(weigh(model), *data) == nodes.explain(weigh(model), *data)


def test_images_of_one_object_are_one_observation_of_what_the_object_is(
    weigh: Weigh, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[np.ndarray | None] = []

    def associations(*arguments: Any) -> dict[str, Any]:
        given.append(arguments[-1])
        return {"factors": [], "continuous": {"values": []}, "categorical": {"values": []}}

    def scores(*_: Any, units: np.ndarray | None, **__: Any) -> dict[str, float]:
        given.append(units)
        return {}

    monkeypatch.setattr(library, "associations", associations)
    monkeypatch.setattr("infogan.disentanglement.scores", scores)
    monkeypatch.setattr(nodes, "_FEWEST_TO_SCORE", 50)
    factors = arrays(known)
    factors["test"][:, [0, 2]] = np.repeat([[0.3, 7], [0.1, 8]], len(factors["test"]) // 2, axis=0)
    card = CARD | {"factors": KNOWN, "factors_of_object": ["y", "x"]}
    nodes.explain(weigh(model), IMAGES, factors, card, model, EVALUATION)
    objects = np.repeat([0, 1], len(factors["test"]) // 2)
    assert [each.tolist() for each in given if each is not None] == [objects.tolist()] * 2


@pytest.mark.parametrize(("fewest", "objects"), [(51, []), (50, ["x"])])
def test_of_few_images_or_one_object_there_are_no_scores(
    weigh: Weigh,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    fewest: int,
    objects: list[str],
) -> None:
    monkeypatch.setattr(nodes, "_FEWEST_TO_SCORE", fewest)
    card = CARD | {"factors": KNOWN, "factors_of_object": objects}
    factors = arrays(known)
    if objects:
        factors["test"][:, 0] = 0.5
    numbers, _ = nodes.explain(weigh(model), IMAGES, factors, card, model, EVALUATION)
    assert "mig" not in numbers
    assert "correlation.x" in numbers


def test_every_dimension_of_a_code_is_read_by_itself(weigh: Weigh, model: Model) -> None:
    from infogan.codes import LatentSpace
    from infogan.networks import rebuild

    weights = weigh(model)
    _, networks = rebuild(weights.card, weights.arrays)
    means, categories = library.read_codes(
        networks.discriminator, LatentSpace(model), IMAGES["test"], model.pixel_range, 20
    )
    assert list(means) == ["c2", "c3_0", "c3_1"]
    assert list(categories) == ["c1"]
    whole, _ = library.read_codes(
        networks.discriminator, LatentSpace(model), IMAGES["test"], model.pixel_range, 50
    )
    for name, values in means.items():
        assert values.shape == (50,)
        np.testing.assert_allclose(values, whole[name], atol=1e-6)


def test_with_sigma_fixed_the_bound_of_a_perfect_reading_stands_beside_it(
    weigh: Weigh, make_model: MakeModel
) -> None:
    model = make_model(spread="fixed")
    numbers = nodes.measure(weigh(model), IMAGES, CARD, model, EVALUATION)
    assert numbers["perfect.c2"] == pytest.approx(-0.2258, abs=1e-4)
    assert numbers["perfect.c3"] == pytest.approx(2 * (np.log(4) - np.log(2 * np.pi) / 2))
    assert "perfect.c1" not in numbers
    assert not [
        name
        for name in nodes.measure(weigh(make_model()), IMAGES, CARD, make_model(), EVALUATION)
        if "perfect" in name
    ]


# --- Several seeds -------------------------------------------------------------------------------


def seeded(model: Model, make_training: Callable[..., Training], seed: int) -> Weights:
    card = {
        "name": "infogan",
        "model": model.model_dump(mode="json"),
        "training": make_training(seeds=[seed]).model_dump(mode="json"),
        "image_shape": [1, 8, 8],
        "iterations": 5,
    }
    return Weights(to_arrays(build(model, (1, 8, 8), seed)), card)


def loud(weights: Weights) -> Weights:
    """Images of an untrained generator are all but grey."""
    arrays = {name: 20 * array for name, array in weights.arrays.items() if "num" not in name}
    return Weights({**weights.arrays, **arrays}, weights.card)


def test_generated_images_of_every_seed_are_judged_by_one_classifier(
    model: Model, make_training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = functools.partial(quality.train_classifier, iterations=3)
    monkeypatch.setattr(quality, "train_classifier", quick)
    models = {seed: loud(seeded(model, make_training, seed)) for seed in (4, 0)}
    evaluation = EVALUATION.model_copy(update={"generated_images": 20})
    data = (IMAGES, LABELS, CARD, model, evaluation)
    own, others = nodes.judge_images(models[4], {"0": models[0]}, *data)
    accuracy = "generated.classifier_accuracy"
    assert own[accuracy] == others["0"][accuracy]
    distance = "generated.classifier_frechet_distance"
    assert own[distance] != others["0"][distance]
    alone, _ = nodes.judge_images(models[0], {}, *data)
    assert alone == others["0"]

    records = {"0": record(0)}
    numbers = own_numbers(models[4], model) | own
    rows, summary = nodes.compare_seeds(
        numbers, {"0": models[0]}, records, others, IMAGES, LABELS, NO_FACTORS, *data[2:]
    )
    both = [own[distance], others["0"][distance]]
    assert rows.column(distance).tolist() == both
    assert summary[f"best.{distance}"] == min(both)  # smaller is better
    assert not [name for name in summary if "of_real" in name or "accuracy" in name]


class Inception:
    """In place of `InceptionDistance`: what it was asked."""

    asked: ClassVar[list[tuple[Any, ...]]] = []

    @classmethod
    def of(cls, *arguments: Any) -> "Inception":
        cls.asked.append(arguments)
        return cls()

    def judge(self, made: np.ndarray) -> dict[str, float]:
        numbers = {"images": len(made), "distance": made.mean(), "distance_of_real": 1.0}
        return {f"frechet_inception_{name}": float(value) for name, value in numbers.items()}


@pytest.mark.parametrize("labelled", [True, False])
def test_inception_judges_without_labels_too_where_its_weights_are_given(
    labelled: bool,
    model: Model,
    make_training: Callable[..., Training],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        quality, "train_classifier", functools.partial(quality.train_classifier, iterations=3)
    )
    monkeypatch.setattr(inception, "InceptionDistance", Inception)
    monkeypatch.setattr(Inception, "asked", [])
    models = {seed: loud(seeded(model, make_training, seed)) for seed in (4, 0)}
    labels = LABELS if labelled else NO_LABELS
    plain = EVALUATION.model_copy(update={"generated_images": 20})
    evaluation = plain.model_copy(update={"inception_weights": "w.pth"})

    def judged(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        data = IMAGES, labels, CARD, model, evaluation
        return nodes.judge_images(models[4], {"0": models[0]}, *data)

    own, others = judged(evaluation)
    ((weights, real, count, _, device),) = Inception.asked  # once for all seeds
    assert (weights, count, device.type) == ("w.pth", 20, "cpu")
    np.testing.assert_array_equal(real, IMAGES["test"])
    distance = "generated.frechet_inception_distance"
    assert own[distance] != others["0"][distance]
    rest = {name: value for name, value in own.items() if "inception" not in name}
    assert rest == judged(plain)[0]
    assert bool(rest) == labelled

    _, summary = nodes.compare_seeds(
        own_numbers(models[4], model) | own,
        {"0": models[0]},
        {"0": record(0)},
        others,
        IMAGES,
        labels,
        NO_FACTORS,
        CARD,
        model,
        evaluation,
    )
    assert summary[f"best.{distance}"] == min(own[distance], others["0"][distance])
    assert not [name for name in summary if "of_real" in name or "inception_images" in name]


def test_too_few_images_for_a_fid_are_said_to_be(
    weigh: Weigh, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    evaluation = EVALUATION.model_copy(
        update={"generated_images": 20, "inception_weights": "w.pth"}
    )
    images = Arrays({"train": IMAGES["train"], "test": IMAGES["test"][:7]})
    found = nodes.judge_images(weigh(model), {}, images, LABELS, CARD, model, evaluation)
    assert found == ({}, {})
    assert caplog.messages == ["There are only 7 test images, too few for the FID"]


@pytest.mark.parametrize("why", ["not asked for", "no labels", "one class", "few", "small"])
def test_where_no_classifier_can_be_trained_images_are_not_judged(
    weigh: Weigh, model: Model, why: str
) -> None:
    count = 0 if why == "not asked for" else 20
    evaluation = EVALUATION.model_copy(update={"generated_images": count})
    labels = {
        "no labels": NO_LABELS,
        "one class": arrays(lambda count, _: np.zeros(count, np.int64)),
    }.get(why, LABELS)
    test = {"few": IMAGES["test"][:7], "small": IMAGES["test"][:, :, :3]}.get(why, IMAGES["test"])
    images = Arrays({"train": IMAGES["train"], "test": test})
    found = nodes.judge_images(weigh(model), {}, images, labels, CARD, model, evaluation)
    assert found == ({}, {})


def test_of_a_regular_gan_that_was_not_trained_nothing_is_measured(
    weigh: Weigh, model: Model
) -> None:
    assert nodes.measure(weigh(model, iterations=0), IMAGES, CARD, model, EVALUATION) == {}


def own_numbers(weights: Weights, model: Model) -> dict[str, float]:
    information = nodes.measure(weights, IMAGES, CARD, model, EVALUATION)
    classification, _ = nodes.classify(weights, IMAGES, LABELS, CARD, model, EVALUATION)
    seed = weights.card["training"]["seeds"][0]
    return nodes.summarise(record(seed), weights, information, classification)


def record(seed: int) -> dict[str, float]:
    return {"iterations": 5, "seconds": 2.0 + seed}


def test_a_model_of_other_images_is_not_judged_on_these(weigh: Weigh, model: Model) -> None:
    other = CARD | {"splits": {"train": {"sha256": "0bad" * 16}}}
    with pytest.raises(
        UserError, match=r"trained on other images \(sha256 5ee4…\).*\(0bad0bad…\)"
    ):
        nodes.measure(weigh(model), IMAGES, other, model, EVALUATION)


def test_an_evaluation_is_exact_whatever_was_trained_before(weigh: Weigh, model: Model) -> None:
    for evaluate in (
        lambda: nodes.measure(weigh(model), IMAGES, CARD, model, EVALUATION),
        lambda: nodes.classify_references(IMAGES, LABELS, model, EVALUATION),
    ):
        torch.set_float32_matmul_precision("high")
        evaluate()
        assert torch.get_float32_matmul_precision() == "highest"


def test_fewer_images_than_categories_have_a_floor_too(make_model: MakeModel) -> None:
    model = make_model(codes=["c1 categorical 100"])
    assert {"error_kmeans", "error_untrained"} <= set(
        nodes.classify_references(IMAGES, LABELS, model, EVALUATION)
    )


def test_seeds_are_compared_by_mean_deviation_best_and_worst(
    model: Model, make_training: Callable[..., Training]
) -> None:
    models = {seed: seeded(model, make_training, seed) for seed in (4, 0, 2)}
    each = {seed: own_numbers(weights, model) for seed, weights in models.items()}
    more = {str(seed): models[seed] for seed in (0, 2)}
    data = (IMAGES, LABELS, NO_FACTORS, CARD, model, EVALUATION)
    records = {str(seed): record(seed) for seed in (0, 2)}
    rows, summary = nodes.compare_seeds({**each[4], "error_kmeans": 0.1}, more, records, {}, *data)
    assert rows.column("seed").tolist() == [4, 0, 2]
    assert "error_kmeans" not in rows.columns  # not of a seed
    smaller_is_better = ("error_one_to_one", "seconds_training", "classes_without_category")
    for name in (*smaller_is_better, "lower_bound.c1"):
        values = np.array([each[seed][name] for seed in (4, 0, 2)])
        np.testing.assert_array_equal(rows.column(name), values)
        assert summary[f"mean.{name}"] == pytest.approx(values.mean())
        assert summary[f"deviation.{name}"] == pytest.approx(values.std(ddof=1))
        best, worst = values.max(), values.min()
        if name in smaller_is_better:
            best, worst = worst, best
        assert (summary[f"best.{name}"], summary[f"worst.{name}"]) == (best, worst)
    assert summary["seeds"] == 3
    assert not [name for name in summary if "entropy" in name or "iterations" in name]


def test_of_one_seed_there_is_nothing_to_compare(
    model: Model, make_training: Callable[..., Training]
) -> None:
    numbers = own_numbers(seeded(model, make_training, 1), model)
    data = (IMAGES, LABELS, NO_FACTORS, CARD, model, EVALUATION)
    rows, summary = nodes.compare_seeds(numbers, {}, {}, {}, *data)
    assert summary == {}
    assert rows.rows == [tuple(numbers[name] for name in rows.columns)]
