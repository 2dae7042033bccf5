"""A study: recipes times seeds, and what becomes of the categories on the way.

Labels are used to judge, never to train or to choose. N images, K categories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from infogan.choice import Choice, centrality, compare
from infogan.codes import Categorical, LatentSpace
from infogan.consistency import DRAWS, deform
from infogan.disentanglement import rank_correlation
from infogan.errors import UserError
from infogan.evaluation import (
    category_probabilities,
    contingency,
    error_rate,
    match_majority,
    match_one_to_one,
    read_codes,
)
from infogan.information import category_information
from infogan.networks import Discriminator, Networks, evaluating, to_pixels, to_uint8
from infogan.options import Consistency, Model, Recipe, Training

# A category tells of a class if this share of the class's images is in it.
_HELD = 0.2
_MERGED, _SPLIT = "+", "/"  # 3+5 share a category, 4/2 is split over two
_BATCH = 500  # images at once
# The deformations that a run's stability is judged under, whatever it was trained with: small.
_SMALL = Consistency(
    codes=("c1",), weight=1.0, balance=1.0, rotation=0.15, scale=0.08, shear=0.1, shift=0.05
)


def applied(model: Model, training: Training, recipe: Recipe) -> tuple[Model, Training]:
    """Model and training with a recipe's changes; UserError if they are not valid."""
    changed = {**model.model_dump(mode="json"), **recipe.model}
    trained = {**training.model_dump(mode="json"), **recipe.training}
    return Model.model_validate(changed), Training.model_validate(trained)


def observe(
    discriminator: Discriminator,
    space: LatentSpace,
    code: str,
    pixel_range: tuple[float, float],
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    classes: int,
) -> dict[str, Any]:
    """What a categorical code tells of real images now, with labels and without; in eval mode.

    By split, images are uint8 (N, C, H, W) and labels ints (N,) from 0 to ``classes`` - 1. The
    matching of categories to classes is fitted on ``train`` and judged on ``test``.
    """
    with evaluating(discriminator):
        read = {
            split: category_probabilities(discriminator, space, each, pixel_range, _BATCH)[code]
            for split, each in images.items()
        }
    categories = {split: each.argmax(dim=1).numpy() for split, each in read.items()}
    shape = (read["test"].shape[1], classes)
    fitted = contingency(categories["train"], labels["train"], shape)
    test = categories["test"], labels["test"]
    matched = match_one_to_one(fitted)
    return {
        "error_one_to_one": error_rate(matched, *test),
        "error_majority": error_rate(match_majority(fitted), *test),
        "information": category_information(read["test"]),
        "class_of_category": matched.tolist(),
        "test_table": contingency(*test, shape).tolist(),
    }


def categories_of(
    networks: Networks,
    space: LatentSpace,
    code: str,
    pixel_range: tuple[float, float],
    images: np.ndarray,
) -> np.ndarray:
    """Likeliest category of uint8 images (N, C, H, W): -> (N,)."""
    with evaluating(networks):
        read = category_probabilities(networks.discriminator, space, images, pixel_range, _BATCH)
    return read[code].argmax(dim=1).numpy()


def information_of_codes(
    networks: Networks,
    space: LatentSpace,
    pixel_range: tuple[float, float],
    images: np.ndarray,
) -> dict[str, float]:
    """What each categorical code tells of uint8 images (N, C, H, W), in nats."""
    with evaluating(networks):
        read = category_probabilities(networks.discriminator, space, images, pixel_range, _BATCH)
    return {name: category_information(each) for name, each in read.items()}


def slightly_deformed(
    images: np.ndarray, pixel_range: tuple[float, float], seed: int
) -> np.ndarray:
    """Copies of uint8 images (N, C, H, W), each turned, sheared, scaled and moved a little."""
    random = torch.Generator().manual_seed(seed)
    pixels = to_pixels(torch.from_numpy(images.copy()), pixel_range)
    draws = torch.rand(len(pixels), DRAWS, generator=random)
    return to_uint8(deform(pixels, _SMALL, torch.zeros(()), draws), pixel_range).numpy()


def measured_shapes(images: np.ndarray) -> dict[str, np.ndarray]:
    """Slant and width of what is bright, from second moments: uint8 (N, 1, H, W) -> (N,) each.

    Slant is the columns that a stroke moves a row; width the deviation across it, in pixels.
    """
    weights = images.mean(axis=1, dtype=np.float64)
    weights /= np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1e-9)
    y, x = np.mgrid[: images.shape[2], : images.shape[3]].astype(np.float64)
    x = x - (weights * x).sum(axis=(1, 2))[:, None, None]
    y = y - (weights * y).sum(axis=(1, 2))[:, None, None]
    xx, yy, xy = ((weights * product).sum(axis=(1, 2)) for product in (x * x, y * y, x * y))
    slant = xy / np.maximum(yy, 1e-9)
    return {"slant": slant, "width": np.sqrt(np.maximum(xx - slant * xy, 0.0))}


def shapes_of_codes(
    networks: Networks,
    space: LatentSpace,
    pixel_range: tuple[float, float],
    images: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Absolute rank correlation of each continuous code's mean with slant and width of what uint8
    images (N, 1, H, W) show.
    """
    with evaluating(networks):
        means, _ = read_codes(networks.discriminator, space, images, pixel_range, _BATCH)
    shapes = measured_shapes(images)
    return {
        code: {
            name: float(rank_correlation(values[:, None], each[:, None])[0, 0])
            for name, each in shapes.items()
        }
        for code, values in means.items()
    }


def studied_code(model: Model) -> str:
    """The first categorical code; UserError if the model has none."""
    space = LatentSpace(model)
    for name, code in space.codes.items():
        if isinstance(code, Categorical):
            return name
    raise UserError("A study compares categories with classes, but the model has no such code.")


# --- What went wrong -----------------------------------------------------------------------------


def faults(table: Sequence[Sequence[int]]) -> list[str]:
    """Which classes share categories, and which have no category, of a test table (K, classes).

    ``3+5`` share one: a category holds a large part of each. ``4/2`` is split over two, ``4/0``
    spread over so many that none holds a fifth of it.
    """
    held = _held(table)
    found = []
    for row in held:
        if row.sum() > 1:
            found.append(_MERGED.join(str(name) for name in np.flatnonzero(row)))
    found += [
        f"{name}{_SPLIT}{column.sum()}"
        for name, column in enumerate(held.T)
        if column.sum() != 1 and np.any(np.asarray(table)[:, name])
    ]
    return found


def lasting(observations: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Each fault at the end, and the iteration since which no observation was without it.

    Without ``3+5``: no category, whichever it be, holds a large part of each. Without ``4/2``: 4
    is in exactly one category, so that it lasts through ``4/3``. The untrained network does not
    count: most classes share a category there.
    """
    trained = [each for each in observations if each["iteration"] > 0] or observations
    since = {}
    for fault in faults(trained[-1]["test_table"]):
        for seen in reversed(trained):
            if not _has(_held(seen["test_table"]), fault):
                break
            since[fault] = int(seen["iteration"])
    return since


def _held(table: Sequence[Sequence[int]]) -> np.ndarray:
    """Whether a category tells of a class: (K, classes)."""
    counts = np.asarray(table, np.float64)
    held: np.ndarray = counts / np.maximum(counts.sum(axis=0), 1) >= _HELD
    return held


def _has(held: np.ndarray, fault: str) -> bool:
    if _SPLIT in fault:
        return bool(held[:, int(fault.partition(_SPLIT)[0])].sum() != 1)
    classes = [int(each) for each in fault.split(_MERGED)]
    return bool(held[:, classes].all(axis=1).any())


def matching_kept_since(observations: Sequence[Mapping[str, Any]]) -> int:
    """The iteration from which on each category keeps the class it is matched to.

    A matching is one to one: it may be kept while classes share a category, and change while they
    do not.
    """
    since = int(observations[0]["iteration"])
    for before, after in pairwise(observations):
        if before["class_of_category"] != after["class_of_category"]:
            since = int(after["iteration"])
    return since


# --- Choice --------------------------------------------------------------------------------------

RANDOM = "a random run"


@dataclass(frozen=True)
class Tally:
    """What a rule is worth over several recipes; of a random choice, what is to be expected."""

    rule: str
    best: float  # recipes of which it chose the best run
    worst: float
    regret: float  # mean over recipes, in the unit of the errors


def choices(runs: Sequence[Mapping[str, Any]]) -> list[Choice]:
    """What each label-free rule chooses among the runs of one recipe; nothing of a single run."""
    if len(runs) < 2:
        return []
    assignments = np.array([run["categories"] for run in runs])
    finals = [run["observations"][-1] for run in runs]
    scores = {
        "information": [each["information"] for each in finals],
        "stability": [run["stability"] for run in runs],
        "agreement": list(centrality(assignments)),
    }
    return compare(scores, [each["error_one_to_one"] for each in finals])


def tallies(recipes: Sequence[Sequence[Mapping[str, Any]]]) -> list[Tally]:
    """What each rule is worth over the recipes that have several runs; a random choice is last."""
    several = [runs for runs in recipes if len(runs) > 1]
    found: dict[str, list[Tally]] = {}
    blindly = []
    for runs in several:
        errors = [run["observations"][-1]["error_one_to_one"] for run in runs]
        best, worst = min(errors), max(errors)
        for each in choices(runs):
            told = Tally(each.rule, each.error == best, each.error == worst, each.regret)
            found.setdefault(each.rule, []).append(told)
        by_chance = [errors.count(end) / len(errors) for end in (best, worst)]
        blindly.append(Tally(RANDOM, by_chance[0], by_chance[1], float(np.mean(errors)) - best))
    return [_over(each) for each in (*found.values(), blindly) if each]


def _over(told: Sequence[Tally]) -> Tally:
    best, worst = sum(each.best for each in told), sum(each.worst for each in told)
    return Tally(told[0].rule, best, worst, float(np.mean([each.regret for each in told])))
