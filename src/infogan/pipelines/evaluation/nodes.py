"""From trained models to numbers, categories and traversals."""

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from infogan.datasets.values import Arrays, Rows, Weights
from infogan.errors import UserError
from infogan.options import CategoricalPrior, Evaluation, Model, UniformPrior

if TYPE_CHECKING:  # for private functions only: the signatures of nodes must resolve at run time
    import torch

    from infogan.networks import Discriminator, Networks

_logger = logging.getLogger(__name__)

# What a seed is used for; each purpose has a stream of its own.
_BOUND, _TRAVERSAL, _UNTRAINED, _KMEANS, _FACTORS, _CLASSIFIER, _GENERATED, _QUALITY = range(
    10, 18
)

_AGREEMENT = ("nmi", "ari", "classes_without_category")  # beside the errors

# Images without which associations with known factors, and scores of them, mean nothing.
_FEWEST_TO_EXPLAIN, _FEWEST_TO_SCORE = 20, 200


def measure(
    weights: Weights, images: Arrays, card: dict[str, Any], model: Model, evaluation: Evaluation
) -> dict[str, float]:
    """L_I of every code on fresh codes, its H(c), and what Q's categories tell of test images.

    Where sigma is fixed, also what a perfect reading of a continuous code would give: its L_I is
    then a squared error in other words. Of a part of a data set, also how large a part. Nothing of
    a regular GAN that was not trained.
    """
    import torch

    from infogan.codes import LatentSpace
    from infogan.evaluation import category_probabilities
    from infogan.information import category_information, fresh_lower_bounds
    from infogan.seeds import derive_seed

    if not _trained(weights):
        return {}
    networks, device = _load(weights, card, model, evaluation)
    space = LatentSpace(model)
    random = torch.Generator(device).manual_seed(derive_seed(evaluation.seed, _BOUND))
    bounds = fresh_lower_bounds(networks, space, evaluation.samples, random)
    probabilities = category_probabilities(
        networks.discriminator, space, images["test"], model.pixel_range, evaluation.batch_size
    )
    return {
        **{f"partial.{name}": count for name, count in card.get("partial", {}).items()},
        **{f"lower_bound.{name}": value for name, value in bounds.items()},
        **{f"entropy.{name}": value for name, value in space.entropies().items()},
        **{
            f"perfect.{code.name}": code.entropy - code.dim * math.log(2 * math.pi) / 2
            for code in model.codes
            if isinstance(code, UniformPrior) and model.spread == "fixed"
        },
        **{
            f"information_real.{name}": category_information(each)
            for name, each in probabilities.items()
        },
    }


def classify(
    weights: Weights,
    images: Arrays,
    labels: Arrays,
    card: dict[str, Any],
    model: Model,
    evaluation: Evaluation,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Q as an unsupervised classifier of real images, and the categories of the best code.

    The code reported is the categorical one that fits the training labels best; if there are
    several, the error of each stands beside it. Nothing, where there are no labels or no
    categorical code. The categories say of which weights they are.
    """
    from infogan.evaluation import contingency, match_one_to_one

    if not _classifiable(labels, model):
        return {}, {}
    names = card.get("source", {}).get("class_names")
    networks, _ = _load(weights, card, model, evaluation)
    predicted = _categories(networks.discriminator, images, model, evaluation)
    code, numbers = _judged(predicted, labels, model)

    again = _judged_again(networks, code, images, labels, model, evaluation)
    train_table, test_table = (
        contingency(predicted[code][split], labels[split], (_count(model, code), _classes(labels)))
        for split in ("train", "test")
    )
    of_each = {
        f"error_one_to_one.{name}": each["error_one_to_one"] for name, each in numbers.items()
    }
    return (
        {
            **numbers[code],
            **{
                f"{name}_recalibrated": again[name]
                for name in ("error_one_to_one", "error_majority")
            },
            **(of_each if len(of_each) > 1 else {}),
        },
        {
            "code": code,
            "class_of_category": match_one_to_one(train_table).tolist(),
            **({"class_names": names} if names else {}),
            "test_table": test_table.tolist(),
            "weights": weights.digest,
        },
    )


def classify_baseline(
    weights: Weights,
    images: Arrays,
    labels: Arrays,
    card: dict[str, Any],
    model: Model,
    evaluation: Evaluation,
) -> dict[str, float]:
    """The same numbers of the regular GAN's Q, which was told the codes but not heard by G."""
    if not _trained(weights) or not _classifiable(labels, model):
        return {}
    networks, _ = _load(weights, card, model, evaluation)
    predicted = _categories(networks.discriminator, images, model, evaluation)
    code, numbers = _judged(predicted, labels, model)
    again = _judged_again(networks, code, images, labels, model, evaluation)
    return {
        **_of_reference("baseline", numbers[code]),
        "error_baseline_recalibrated": again["error_one_to_one"],
    }


def classify_references(
    images: Arrays, labels: Arrays, model: Model, evaluation: Evaluation
) -> dict[str, float]:
    """What an untrained network and k-means on pixels reach: the floor below any claim.

    Of the untrained network's codes it is the one that fits the training labels best, as above.
    """
    from infogan.devices import choose_device, exact
    from infogan.evaluation import cluster_pixels, judge, recalibrated
    from infogan.networks import build
    from infogan.seeds import derive_seed

    if not _classifiable(labels, model):
        return {}
    exact()
    shape = images["train"].shape[1:]
    untrained = build(model, shape, derive_seed(evaluation.seed, _UNTRAINED))
    calibration = images["train"][: evaluation.recalibration_images]
    discriminator = recalibrated(  # untrained statistics would make it blind, not untrained
        untrained.discriminator.to(choose_device(evaluation.device)),
        calibration,
        model.pixel_range,
        evaluation.batch_size,
    )
    predicted = _categories(discriminator, images, model, evaluation)
    code = _best(predicted, labels, model)
    categories = _count(model, code)
    classes = _classes(labels)
    random = judge(_assign(predicted[code], labels), categories, classes)

    train, test = cluster_pixels(
        images["train"],
        images["test"],
        min(categories, len(images["train"])),
        evaluation.kmeans_restarts,
        derive_seed(evaluation.seed, _KMEANS) % 2**32,
    )
    kmeans = judge(_assign({"train": train, "test": test}, labels), categories, classes)
    return {**_of_reference("untrained", random), **_of_reference("kmeans", kmeans)}


def judge_images(
    weights: Weights,
    more: dict[str, Weights],
    images: Arrays,
    labels: Arrays,
    card: dict[str, Any],
    model: Model,
    evaluation: Evaluation,
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """How good the images of every seed's model are to a small classifier of the data set.

    ``generated.…``, of the first seed's model, and of the others by their seeds. The classifier
    judges where there are two classes of labels, and images not too small for it; where its
    weights are given, Inception judges, too, with labels or without. Neither, of too few images.
    """
    from infogan.codes import LatentSpace
    from infogan.devices import choose_device, exact
    from infogan.inception import InceptionDistance
    from infogan.quality import NEIGHBOURS, SMALLEST, Judge, generated
    from infogan.seeds import derive_seed

    shown, judge, inception = images["test"], None, None
    count = max(evaluation.generated_images, NEIGHBOURS + 1)
    enough = evaluation.generated_images > 0 and len(shown) >= 2 * (NEIGHBOURS + 1)
    told = all(len(labels[split]) for split in ("train", "test"))
    seed = derive_seed(evaluation.seed, _QUALITY)
    if enough and min(shown.shape[2:]) >= SMALLEST and told and len(set(labels["train"])) > 1:
        judge = Judge.of(
            (images["train"], shown),
            (labels["train"], labels["test"]),
            derive_seed(evaluation.seed, _CLASSIFIER),
        )
    if evaluation.inception_weights and not enough:
        _logger.warning("There are only %d test images, too few for the FID", len(shown))
    if enough and evaluation.inception_weights:
        exact()
        device = choose_device(evaluation.device)
        inception = InceptionDistance.of(evaluation.inception_weights, shown, count, seed, device)
    if judge is None and inception is None:
        return {}, {}
    code = next((code.name for code in model.codes if isinstance(code, CategoricalPrior)), None)

    def of(model_of_seed: Weights) -> dict[str, float]:
        networks, _ = _load(model_of_seed, card, model, evaluation)
        made, categories = generated(
            networks,
            LatentSpace(model),
            code,
            count,
            model.pixel_range,
            derive_seed(evaluation.seed, _GENERATED),
        )
        numbers = {
            **(judge.judge(made, categories, seed) if judge else {}),
            **(inception.judge(made) if inception else {}),
        }
        return {f"generated.{name}": value for name, value in numbers.items()}

    return of(weights), {seed: of(each) for seed, each in more.items()}


def explain(
    weights: Weights,
    images: Arrays,
    factors: Arrays,
    card: dict[str, Any],
    model: Model,
    evaluation: Evaluation,
) -> tuple[dict[str, float], dict[str, Any]]:
    """What each code has captured of the known factors of held-out images, and the whole table.

    Continuous codes: absolute rank correlation of Q's mean with each factor. Categorical codes:
    information of argmax Q(c|x) about each factor, in nats. Both beside what chance gives the best
    of as many codes. Where the factors are independent causes, not attributes, and there are 200
    images or more, the scores of disentanglement, too.
    """
    from infogan.codes import LatentSpace
    from infogan.disentanglement import scores
    from infogan.evaluation import associations, read_codes
    from infogan.seeds import derive_seed

    known = card.get("factors", [])
    if not known or len(images["test"]) < _FEWEST_TO_EXPLAIN:
        return {}, {}
    networks, _ = _load(weights, card, model, evaluation)
    means, categories = read_codes(
        networks.discriminator,
        LatentSpace(model),
        images["test"],
        model.pixel_range,
        evaluation.batch_size,
    )
    seed = derive_seed(evaluation.seed, _FACTORS) % 2**32
    units = _units(factors["test"], card)
    table = associations(means, categories, factors["test"], known, seed, units)
    numbers = _largest(table)
    causes = all(kind != "binary" for _, kind in known)
    several = units is None or units.max() > 0
    if causes and several and len(images["test"]) >= _FEWEST_TO_SCORE:
        columns = np.stack([*means.values(), *categories.values()], axis=1)
        categorical = range(len(means), columns.shape[1])
        circular = [place for place, (_, kind) in enumerate(known) if kind == "circular"]
        numbers |= scores(
            columns,
            factors["test"],
            seed,
            categorical=categorical,
            circular=circular,
            units=units,
        )
    return numbers, table


def traverse(
    weights: Weights, card: dict[str, Any], model: Model, evaluation: Evaluation
) -> Weights:
    """A panel of images per code, one of random samples, and the values of each column.

    Nothing of a regular GAN that was not trained.
    """
    import torch

    from infogan.codes import LatentSpace
    from infogan.seeds import derive_seed
    from infogan.traversals import sample_images
    from infogan.traversals import traverse as panels_of

    if not _trained(weights):
        return Weights({}, {"values": {}, "model": dict(weights.card)})
    networks, device = _load(weights, card, model, evaluation)
    random = torch.Generator(device).manual_seed(derive_seed(evaluation.seed, _TRAVERSAL))
    space = LatentSpace(model)
    panels, values = panels_of(
        networks.generator,
        space,
        evaluation.traversal_rows,
        evaluation.traversal_columns,
        evaluation.traversal_range,
        model.pixel_range,
        random,
    )
    samples = sample_images(networks.generator, space, 100, model.pixel_range, random)
    return Weights({**panels, "samples": samples}, {"values": values, "model": dict(weights.card)})


def summarise(
    record: dict[str, Any], weights: Weights, *numbers: dict[str, float]
) -> dict[str, float]:
    """All numbers of the InfoGAN model in one flat table."""
    merged: dict[str, float] = {}
    for each in numbers:
        merged |= each
    return {
        **merged,
        "iterations": record["iterations"],
        "seed": weights.card["training"]["seeds"][0],
        "seconds_training": record["seconds"],
    }


# Numbers that are the same for every seed, or not about the model of one.
_NOT_OF_A_SEED = (
    "entropy.",
    "partial.",
    "perfect.",
    "correlation_chance.",
    "information_chance.",
    "generated.classifier_accuracy",
    "generated.images",
    "generated.frechet_inception_images",
    "iterations",
    "seed",
)
_BETTER_SMALLER = (
    "error",
    "seconds",
    "classes_without_category",
    "generated.classifier_frechet_distance",
    "generated.classifier_kernel_distance",
    "generated.frechet_inception_distance",
)


def compare_seeds(
    numbers: dict[str, float],
    more: dict[str, Weights],
    records: dict[str, Any],
    generated: dict[str, dict[str, float]],
    images: Arrays,
    labels: Arrays,
    factors: Arrays,
    card: dict[str, Any],
    model: Model,
    evaluation: Evaluation,
) -> tuple[Rows, dict[str, float]]:
    """The numbers of every seed's model, a row each; mean, deviation, best and worst of each.

    ``numbers`` are those of the first seed. Of a single seed there is nothing to compare.
    """
    tables = [numbers]
    for seed, weights in more.items():
        classification, _ = classify(weights, images, labels, card, model, evaluation)
        explanation, _ = explain(weights, images, factors, card, model, evaluation)
        information = measure(weights, images, card, model, evaluation)
        parts = information, classification, explanation, generated.get(seed, {})
        tables.append(summarise(records[seed], weights, *parts))
    columns = ("seed", *(name for name in tables[-1] if name != "seed"))
    rows = Rows(columns, [tuple(table[name] for name in columns) for table in tables])
    if not more:
        return rows, {}
    summary: dict[str, float] = {"seeds": len(tables)}
    for name in columns:
        if name.startswith(_NOT_OF_A_SEED) or name.endswith("_of_real"):
            continue
        values = rows.column(name)
        smaller = name.startswith(_BETTER_SMALLER)
        summary |= {
            f"mean.{name}": float(values.mean()),
            f"deviation.{name}": float(values.std(ddof=1)),
            f"best.{name}": float(values.min() if smaller else values.max()),
            f"worst.{name}": float(values.max() if smaller else values.min()),
        }
    return rows, summary


def complete(
    metrics: dict[str, float],
    summary: dict[str, float],
    record: dict[str, Any],
    numbers: dict[str, float],
) -> dict[str, float]:
    """The same table with other seeds and the baseline's bounds beside it, if there are any."""
    metrics = {**metrics, **summary}
    if not record["iterations"]:
        return metrics
    bounds = {
        f"baseline_{name}": value
        for name, value in numbers.items()
        if not name.startswith(("entropy.", "partial.", "perfect."))
    }
    return {
        **metrics,
        **bounds,
        "baseline_iterations": record["iterations"],
        "baseline_seconds_training": record["seconds"],
    }


def _trained(weights: Weights) -> bool:
    return bool(weights.card["iterations"])


def _classifiable(labels: Arrays, model: Model) -> bool:
    """Whether both splits have labels, and the model a categorical code to compare with them."""
    categorical = any(isinstance(code, CategoricalPrior) for code in model.codes)
    return categorical and all(len(labels[split]) for split in ("train", "test"))


def _classes(labels: Arrays) -> int:
    return int(max(labels["train"].max(), labels["test"].max())) + 1


def _best(predicted: Mapping[str, Mapping[str, np.ndarray]], labels: Arrays, model: Model) -> str:
    """The categorical code that fits the training labels best."""
    from infogan.evaluation import contingency, error_rate, match_one_to_one

    def misfit(name: str) -> float:
        categories = predicted[name]["train"]
        table = contingency(categories, labels["train"], (_count(model, name), _classes(labels)))
        return error_rate(match_one_to_one(table), categories, labels["train"])

    return min(predicted, key=misfit)


def _judged(
    predicted: Mapping[str, Mapping[str, np.ndarray]], labels: Arrays, model: Model
) -> tuple[str, dict[str, dict[str, float]]]:
    """The code that fits the training labels best, and what is judged of each."""
    from infogan.evaluation import judge

    numbers = {
        name: judge(_assign(each, labels), _count(model, name), _classes(labels))
        for name, each in predicted.items()
    }
    return _best(predicted, labels, model), numbers


def _of_reference(name: str, judged: Mapping[str, float]) -> dict[str, float]:
    """What is judged of a reference, under its name."""
    return {
        f"error_{name}": judged["error_one_to_one"],
        f"error_{name}_majority": judged["error_majority"],
        **{f"{number}_{name}": judged[number] for number in _AGREEMENT},
    }


def _largest(table: Mapping[str, Any]) -> dict[str, float]:
    """Each factor's association with each continuous code, and with the best code of a kind,
    beside what chance gives the best.
    """
    numbers = {}
    for kind, part in (("correlation", "continuous"), ("information", "categorical")):
        values = np.array(table[part]["values"])  # (codes, factors)
        if not values.size:
            continue
        for place, factor in enumerate(table["factors"]):
            numbers[f"{kind}.{factor}"] = float(values[:, place].max())
            numbers[f"{kind}_chance.{factor}"] = table[part]["chance_of_best"][place]
            if part == "continuous":
                for code, row in zip(table[part]["codes"], values, strict=True):
                    numbers[f"correlation.{code}.{factor}"] = float(row[place])
    return numbers


def _judged_again(
    networks: "Networks",
    code: str,
    images: Arrays,
    labels: Arrays,
    model: Model,
    evaluation: Evaluation,
) -> dict[str, float]:
    """What is judged of a code with batch-norm statistics of real training images."""
    from infogan.evaluation import judge, recalibrated

    some = images["train"][: evaluation.recalibration_images]
    calibrated = recalibrated(
        networks.discriminator, some, model.pixel_range, evaluation.batch_size
    )
    again = _categories(calibrated, images, model, evaluation)[code]
    found: dict[str, float] = judge(_assign(again, labels), _count(model, code), _classes(labels))
    return found


def _load(
    weights: Weights, card: Mapping[str, Any], model: Model, evaluation: Evaluation
) -> "tuple[Networks, torch.device]":
    """The model, if it is the one that parameters and data speak of."""
    from infogan.devices import choose_device, exact
    from infogan.networks import rebuild

    saved, networks = rebuild(weights.card, weights.arrays)
    name = weights.card.get("name", "the model")
    if saved != model:
        ours, theirs = model.model_dump(mode="json"), saved.model_dump(mode="json")
        key = next(key for key in ours if ours[key] != theirs[key])
        raise UserError(
            f"{name} was trained with model.{key} = {theirs[key]}, but the parameters now say "
            f"{ours[key]}: train again, or evaluate it in its own environment (--env)."
        )
    if weights.card["image_shape"] != card["shape"]:
        raise UserError(
            f"{name} was trained on images of shape {weights.card['image_shape']}, but the data "
            f"are {card['shape']}: train again."
        )
    seen, there = weights.card.get("data_sha256"), card["splits"]["train"]["sha256"]
    if seen is not None and seen != there:
        raise UserError(
            f"{name} was trained on other images (sha256 {seen[:8]}…) than those that are now "
            f"there ({there[:8]}…), and may have seen what it would be judged on: train again, or "
            "ingest the images that it was trained on."
        )
    exact()
    device = choose_device(evaluation.device)
    return networks.to(device), device


def _units(factors: np.ndarray, card: Mapping[str, Any]) -> np.ndarray | None:
    """Which object each image shows, (N,) from 0, as far as its own factors tell one from another.

    None where no factor is an object's own: views of one object are no fewer of its views.
    """
    names = [name for name, _ in card["factors"]]
    places = [names.index(name) for name in card.get("factors_of_object", [])]
    if not places:
        return None
    objects = np.unique(factors[:, places], axis=0, return_inverse=True)[1]
    return np.asarray(objects.reshape(-1))


def _count(model: Model, name: str) -> int:
    return next(code.width for code in model.codes if code.name == name)


def _categories(
    discriminator: "Discriminator", images: Arrays, model: Model, evaluation: Evaluation
) -> dict[str, dict[str, np.ndarray]]:
    """argmax_k Q(c = k | x) of every image: code -> split -> (N,)."""
    from infogan.codes import LatentSpace
    from infogan.evaluation import category_probabilities

    found: dict[str, dict[str, np.ndarray]] = {}
    for split in ("train", "test"):
        probabilities = category_probabilities(
            discriminator,
            LatentSpace(model),
            images[split],
            model.pixel_range,
            evaluation.batch_size,
        )
        for name, each in probabilities.items():
            found.setdefault(name, {})[split] = each.argmax(dim=1).numpy()
    return found


def _assign(
    categories: Mapping[str, np.ndarray], labels: Arrays
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {split: (categories[split], labels[split]) for split in ("train", "test")}
