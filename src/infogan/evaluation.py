"""What a trained model knows: Q as a classifier, and its codes beside known factors.

Nothing here draws or writes. Labels are used here and nowhere else. K categories, N images.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor, nn

from infogan.codes import Categorical, LatentSpace
from infogan.disentanglement import (
    circular_rank_correlation,
    discretise,
    mutual_information,
    permutation_correlation,
    permutation_information,
    rank_correlation,
)
from infogan.networks import Discriminator, evaluating, to_pixels

_FACTOR_BINS, _PERMUTATIONS = 10, 100

# Pixel values that k-means is fitted on, at most: 200 MB as floats. MNIST's 60,000 images are all.
KMEANS_VALUES = 50_000_000
_KMEANS_CHUNK = 1000  # images

UNMATCHED = -1  # the class of a category that a one-to-one matching leaves over


# --- Q on images ---------------------------------------------------------------------------------


def _chunks(
    images: np.ndarray, size: int, pixel_range: tuple[float, float], device: torch.device
) -> Iterator[Tensor]:
    for start in range(0, len(images), size):
        chunk = torch.from_numpy(np.array(images[start : start + size])).to(device)
        yield to_pixels(chunk, pixel_range)


@torch.no_grad()
def _q_outputs(
    discriminator: Discriminator,
    images: np.ndarray,
    pixel_range: tuple[float, float],
    batch_size: int,
) -> Tensor:
    """What Q emits for each image in eval mode, (N, q)."""
    device = next(discriminator.parameters()).device
    chunks = _chunks(images, batch_size, pixel_range, device)
    with evaluating(discriminator):
        return torch.cat([discriminator(chunk)[1] for chunk in chunks])


def category_probabilities(
    discriminator: Discriminator,
    space: LatentSpace,
    images: np.ndarray,
    pixel_range: tuple[float, float],
    batch_size: int,
) -> dict[str, Tensor]:
    """Q(c_i = k | x) of every categorical code, (N, K) each, in eval mode."""
    outputs = _q_outputs(discriminator, images, pixel_range, batch_size)
    columns = dict(space.q_columns())
    return {
        name: code.probabilities(outputs[:, columns[name]]).cpu()
        for name, code in space.codes.items()
        if isinstance(code, Categorical)
    }


def read_codes(
    discriminator: Discriminator,
    space: LatentSpace,
    images: np.ndarray,
    pixel_range: tuple[float, float],
    batch_size: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What Q reads in each image: the mean of every dimension of a continuous code, float64 (N,),
    and the likeliest category of a categorical code, int64 (N,).

    A code of several dimensions has an entry for each, ``NAME_0``, ``NAME_1``, ….
    """
    outputs = _q_outputs(discriminator, images, pixel_range, batch_size)
    means, categories = {}, {}
    for name, place in space.q_columns():
        code = space.codes[name]
        if isinstance(code, Categorical):
            categories[name] = outputs[:, place].argmax(dim=1).cpu().numpy()
            continue
        values = code.posterior(outputs[:, place]).mean.double().cpu().numpy()
        for dimension in range(code.prior.dim):
            label = f"{name}_{dimension}" if code.prior.dim > 1 else name
            means[label] = values[:, dimension]
    return means, categories


@torch.no_grad()
def recalibrated(
    discriminator: Discriminator,
    images: np.ndarray,
    pixel_range: tuple[float, float],
    batch_size: int,
) -> Discriminator:
    """A copy whose batch-norm statistics are those of real images.

    While training, the trunk's running statistics mix one real and two generated passes an
    iteration, and those of Q's head have seen generated images only.
    """
    calibrated = copy.deepcopy(discriminator).train()
    for module in calibrated.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average over all batches
    device = next(discriminator.parameters()).device
    batch_size = max(batch_size, 2)  # of one image batch norm knows no deviation
    whole = len(images) - len(images) % batch_size or len(images)
    for chunk in _chunks(images[:whole], batch_size, pixel_range, device):
        calibrated(chunk)
    return calibrated.eval()


# --- Categories against labels -------------------------------------------------------------------


def contingency(categories: np.ndarray, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How often each category (row) meets each class (column): (N,), (N,) -> (K, classes)."""
    table = np.zeros(shape, np.int64)
    np.add.at(table, (categories, labels), 1)
    return table


def match_one_to_one(table: np.ndarray) -> np.ndarray:
    """Class of each category, no class twice, most images right (Hungarian method): -> (K,)."""
    rows, columns = linear_sum_assignment(table, maximize=True)
    matched = np.full(len(table), UNMATCHED)
    matched[rows] = columns
    return matched


def match_majority(table: np.ndarray) -> np.ndarray:
    """The most frequent class of each category: -> (K,)."""
    return np.asarray(table.argmax(axis=1))


def error_rate(matched: np.ndarray, categories: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose category is matched to another class than their own."""
    return float(np.mean(matched[categories] != labels))


Assignment = Mapping[str, tuple[np.ndarray, np.ndarray]]  # split -> categories (N,), labels (N,)


def judge(assignment: Assignment, categories: int, classes: int) -> dict[str, float]:
    """Unsupervised classification error: matching fitted on ``train``, judged on ``test``.

    One-to-one is the primary number. ``error_one_to_one_test_fitted`` follows the clustering
    literature, which fits the matching on the test labels it is judged by.
    """
    shape = (categories, classes)
    test_categories, test_labels = assignment["test"]
    train_table = contingency(*assignment["train"], shape)
    test_table = contingency(test_categories, test_labels, shape)
    matchings = {
        "error_one_to_one": match_one_to_one(train_table),
        "error_majority": match_majority(train_table),
        "error_one_to_one_test_fitted": match_one_to_one(test_table),
    }
    errors = {
        name: error_rate(matched, test_categories, test_labels)
        for name, matched in matchings.items()
    }
    occurring = np.unique(assignment["train"][1])  # numbers of classes may have gaps
    named_by_majority = np.unique(matchings["error_majority"][train_table.sum(axis=1) > 0])
    return {
        **errors,
        "nmi": float(normalized_mutual_info_score(test_labels, test_categories)),
        "ari": float(adjusted_rand_score(test_labels, test_categories)),
        "classes_without_category": float(len(occurring) - len(named_by_majority)),
    }


def cluster_pixels(
    train: np.ndarray, test: np.ndarray, clusters: int, restarts: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """k-means on raw pixels, fitted on ``train``: cluster of each image of both sets.

    Where ``train`` has more pixel values than memory should hold as floats, on a random sample of
    its images. Either set may be a memory map, of which a chunk is read at a time.
    """
    limit = max(KMEANS_VALUES // train[0].size, clusters)
    chosen = np.arange(len(train))
    if len(train) > limit:
        chosen = np.random.default_rng(seed).choice(len(train), limit, replace=False)
        chosen.sort()  # reads forwards
    sample = np.empty((len(chosen), train[0].size), np.float32)
    for start in range(0, len(chosen), _KMEANS_CHUNK):
        rows = chosen[start : start + _KMEANS_CHUNK]
        sample[start : start + len(rows)] = _flat(train[rows])
    # Centred in place, since nobody else needs the sample.
    kmeans = KMeans(clusters, n_init=restarts, random_state=seed, copy_x=False).fit(sample)

    def predict(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), _KMEANS_CHUNK)
        chunks = [images[start : start + _KMEANS_CHUNK] for start in starts]
        return np.concatenate([kmeans.predict(_flat(chunk)) for chunk in chunks])

    return predict(train), predict(test)


def _flat(images: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1], float32 (n, C * H * W)."""
    return np.asarray(images, np.float32).reshape(len(images), -1) / 255


# --- Codes against known factors -----------------------------------------------------------------


def associations(
    means: Mapping[str, np.ndarray],
    categories: Mapping[str, np.ndarray],
    factors: np.ndarray,
    known: Sequence[tuple[str, str]],
    seed: int,
    units: np.ndarray | None = None,
) -> dict[str, Any]:
    """How far each code goes with each factor, (N, F), of the given names and kinds.

    ``continuous``: absolute rank correlation, for a factor that wraps a circular one, (d, F).
    ``categorical``: mutual information in nats, (L, F), of factors in at most ten bins, whose
    entropies are ``entropy``, (F,).

    Each beside what it is of shuffled factors; ``units`` (N,), numbered from 0, says what each
    image shows, if several show one thing. ``chance``, (codes, F): the 95th percentile.
    ``chance_of_best``, (F,): that of the largest of all codes, which the best code of a factor
    must exceed. ``margin``, (codes,): that of the largest excess over ``chance`` among all
    factors, which a code must exceed to tell of any.
    """
    random = np.random.default_rng(seed)
    names, kinds = [name for name, _ in known], [kind for _, kind in known]

    def continuous(code: np.ndarray, place: int) -> float:
        factor = factors[:, place].astype(np.float64)
        if kinds[place] == "circular":
            return circular_rank_correlation(code, np.radians(factor))
        return float(rank_correlation(code[:, None], factor[:, None])[0, 0])

    binned = [discretise(factors[:, place], _FACTOR_BINS) for place in range(len(names))]
    places = range(len(names))
    codes = list(categories.values())
    of_codes = [
        permutation_information(codes, each, _PERMUTATIONS, random, units) for each in binned
    ]
    read = np.stack([*means.values()], axis=1) if means else np.empty((len(factors), 0))
    of_means = [
        permutation_correlation(
            read, factors[:, place], _PERMUTATIONS, random, units, kinds[place] == "circular"
        )
        for place in places
    ]
    return {
        "factors": names,
        "entropy": [mutual_information(each, each) for each in binned],
        "continuous": {
            "codes": list(means),
            "values": [[continuous(code, place) for place in places] for code in means.values()],
            **_chances(of_means),
        },
        "categorical": {
            "codes": list(categories),
            "values": [[mutual_information(code, each) for each in binned] for code in codes],
            **_chances(of_codes),
        },
    }


def _chances(shuffled: Sequence[np.ndarray]) -> dict[str, Any]:
    """What chance reaches, of (permutations, codes) for each factor."""
    table = np.stack(shuffled, axis=2)  # (permutations, codes, F)
    chance = np.percentile(table, 95, axis=0)
    return {
        "chance": chance.tolist(),
        "chance_of_best": np.percentile(table.max(axis=1, initial=0), 95, axis=0).tolist(),
        "margin": np.percentile((table - chance).max(axis=2), 95, axis=0).tolist(),
    }
