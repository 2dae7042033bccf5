"""How good generated images are, in the eyes of a small classifier of the same data set.

THIS IS NOT THE INCEPTION FID. The same formulas, on the features of a small network that is
trained here on the images at hand and their labels: such distances compare models of one data set
by one classifier, and with nothing published. The Inception FID is in `infogan.inception`.

Every number stands beside what real images get from each other, `generation_quality`, and the
classifier's own accuracy. Shapes: N images (N, C, H, W) in uint8, F features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from infogan.codes import LatentSpace
from infogan.errors import UserError
from infogan.evaluation import contingency, match_majority
from infogan.networks import Networks, evaluating, to_pixels, to_uint8
from infogan.seeds import INITIALISATION, ORDER, derive_seed

FEATURES = 64
SMALLEST = 4  # pixels, which two poolings make 1

ITERATIONS = 1000  # whatever the size of the data set: two epochs of MNIST
BATCH_SIZE = 128
_PEAK_RATE = 4e-3  # of Adam's learning rate, which rises to it and falls to nothing
_PASS = 500  # images at a time; in eval mode the result does not depend on it

NEIGHBOURS = 3  # Kynkäänniemi et al. 2019, section 3.1
MOST_IMAGES = 5000  # of each kind: the time of precision and recall grows with the square


# --- The classifier ------------------------------------------------------------------------------


class Classifier(nn.Module):
    """Two convolutions and one hidden layer, whose F activations are the features."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.hidden = nn.Sequential(
            *_block(channels, 16),
            *_block(16, 32),
            nn.Flatten(),
            nn.Linear(32 * (height // 4) * (width // 4), FEATURES),
            nn.ReLU(),
        )
        self.last = nn.Linear(FEATURES, classes)
        self.to(memory_format=torch.channels_last)  # pooling is twice as fast, in colour

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (n, C, H, W) -> features (n, F), logits (n, classes)."""
        images = images.contiguous(memory_format=torch.channels_last)
        features = self.hidden(to_pixels(images, (-1.0, 1.0)))
        return features, self.last(features)


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """(n, inputs, H, W) -> (n, outputs, H // 2, W // 2)."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()


def train_classifier(
    images: np.ndarray, labels: np.ndarray, seed: int, iterations: int = ITERATIONS
) -> Classifier:
    """A classifier of these images (N, C, H, W) and labels (N,), classes 0, 1, …; in eval mode.

    On the CPU, where the same seed gives the same weights, to the bit with as many threads. It
    takes as long for few images as for many, and leaves the random state of others alone. Images
    may be a memory map, of which a batch is read at a time.

    With MNIST's 60,000 training images, one thread and seeds 0 to 3: 99.1 to 99.2 % of its test
    images, after 18 to 20 seconds of processor time.
    """
    labels = _checked(images, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, INITIALISATION))
        classifier = Classifier(images.shape[1:], int(labels.max()) + 1)
    random = np.random.default_rng(derive_seed(seed, ORDER))
    optimiser = torch.optim.Adam(classifier.parameters(), _PEAK_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _PEAK_RATE, iterations)
    loss = nn.CrossEntropyLoss()

    classifier.train()
    for _ in range(iterations):
        chosen = np.sort(random.integers(len(images), size=BATCH_SIZE))  # reads forwards
        _, logits = classifier(torch.from_numpy(images[chosen]))
        optimiser.zero_grad()
        loss(logits, torch.from_numpy(labels[chosen])).backward()
        optimiser.step()
        schedule.step()
    return classifier.eval()


def _checked(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The labels as int64, if the classifier can be trained on them."""
    if images.ndim != 4 or images.dtype != np.uint8 or min(images.shape[2:]) < SMALLEST:
        raise UserError(
            f"images are {images.dtype} of shape {images.shape}: the classifier needs uint8 "
            f"(N, C, H, W) with at least {SMALLEST} pixels each way."
        )
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"labels are {labels.dtype} of shape {labels.shape}, but {len(images):,} images need "
            "one integer each."
        )
    if labels.min(initial=0) < 0 or len(np.unique(labels)) < 2:
        raise UserError(
            f"labels are {sorted(set(labels.tolist()))[:10]}: the classifier needs two classes or "
            "more, numbered from 0."
        )
    return labels.astype(np.int64)


@torch.no_grad()
def look(classifier: Classifier, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features float64 (N, F) and the likeliest class int64 (N,) of images (N, C, H, W)."""
    classifier.eval()
    features, classes = [], []
    for start in range(0, len(images), _PASS):
        hidden, logits = classifier(torch.from_numpy(np.array(images[start : start + _PASS])))
        features.append(hidden.double().numpy())
        classes.append(logits.argmax(dim=1).numpy())
    return np.concatenate(features), np.concatenate(classes)


# --- Two sets of features ------------------------------------------------------------------------


def frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians, means (F,), covariances (F, F).

    |m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)), Dowson & Landau 1982, "The Fréchet Distance
    between Multivariate Normal Distributions". The last trace is the sum of the singular values of
    C_a^(1/2) C_b^(1/2), which are real and no root of a difference, also where a covariance is
    singular, as features that are never active make it.
    """
    roots = _root(covariance_a) @ _root(covariance_b)
    common = np.linalg.svd(roots, compute_uv=False).sum()
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * common
    return max(float(np.sum((mean_a - mean_b) ** 2) + spread), 0.0)  # -1e-14 by rounding


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def classifier_frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """`frechet_distance` of Gaussians fitted to features (N, F) and (M, F); 0 for equal sets.

    What Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", compute of Inception's
    features, here of this module's classifier. In squared units of its features: not comparable
    between classifiers. It is biased upwards, the more so the fewer the images: compare only
    numbers of equally many.
    """
    a, b = _features(a, b, at_least=2)
    return frechet_distance(
        a.mean(axis=0), np.cov(a, rowvar=False), b.mean(axis=0), np.cov(b, rowvar=False)
    )


def classifier_kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared maximum mean discrepancy of features (N, F) and (M, F), unbiased, so it may be < 0.

    Binkowski, Sutherland, Arbel & Gretton 2018, "Demystifying MMD GANs", section 4 (the kernel
    Inception distance, KID), with its kernel (x . y / F + 1)^3, on the features of this module's
    classifier. Gretton et al. 2012, "A Kernel Two-Sample Test", eq. 3: its expectation does not
    depend on how many images there are, and is 0 for two sets of one distribution.
    """
    a, b = _features(a, b, at_least=2)

    def total(x: np.ndarray, y: np.ndarray) -> float:
        """Sum of the kernel over all pairs."""
        parts = (x[start : start + _PASS] for start in range(0, len(x), _PASS))
        return sum(float(((part @ y.T / x.shape[1] + 1) ** 3).sum()) for part in parts)

    def within(x: np.ndarray) -> float:
        same = float((((x**2).sum(axis=1) / x.shape[1] + 1) ** 3).sum())
        return (total(x, x) - same) / (len(x) * (len(x) - 1))

    return within(a) + within(b) - 2 * total(a, b) / (len(a) * len(b))


def precision_recall(
    real: np.ndarray, generated: np.ndarray, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Share of generated images that look real, and of real ones that could be generated.

    Features (N, F) and (M, F), best equally many. Kynkäänniemi, Karras, Laine, Lehtinen & Aila
    2019, "Improved Precision and Recall Metric for Assessing Generative Models", eq. 1 and 2: a
    set covers what lies in a ball around one of its points that reaches to its k-th nearest
    neighbour among them. Images that are no good lower precision, missing kinds of images recall.
    """
    real, generated = _features(real, generated, at_least=neighbours + 1)
    real_radii, generated_radii = (_radii(each, neighbours) for each in (real, generated))
    looks_real = []
    is_covered = np.zeros(len(real), bool)
    for start in range(0, len(generated), _PASS):
        part = slice(start, start + _PASS)
        distances = cdist(generated[part], real)  # exact: 0 for equal points
        looks_real.append((distances <= real_radii).any(axis=1))
        is_covered |= (distances <= generated_radii[part, None]).any(axis=0)
    return float(np.concatenate(looks_real).mean()), float(is_covered.mean())


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each point to its k-th nearest other: (N, F) -> (N,)."""
    nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(features)
    return np.asarray(nearest.kneighbors()[0][:, -1])


def _features(a: np.ndarray, b: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < at_least:
        raise UserError(
            f"features are of shapes {a.shape} and {b.shape}: they should be (N, F) and (M, F), "
            f"of at least {at_least} images each."
        )
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        raise UserError("features should be finite numbers, but some are not.")
    return a, b


def generation_quality(real: np.ndarray, generated: np.ndarray, seed: int) -> dict[str, float]:
    """Generated images against real ones, and real ones against each other, by their features.

    Features (N, F) of real images that the classifier was not trained on, and (M, F) of generated
    ones. The real ones are parted into two random halves: generated images are compared with the
    first, and the second, as if it had been generated, gives the ``…_of_real`` beside each number.
    All sets are of the same number of ``images``, at most 5,000, so that their biases are equal.
    """
    random = np.random.default_rng(seed)
    count = min(len(real) // 2, len(generated), MOST_IMAGES)
    reference, held_out = np.split(_drawn(real, 2 * count, random), 2)
    found = {"images": float(count)}
    for suffix, features in (("", _drawn(generated, count, random)), ("_of_real", held_out)):
        found[f"classifier_frechet_distance{suffix}"] = classifier_frechet_distance(
            reference, features
        )
        found[f"classifier_kernel_distance{suffix}"] = classifier_kernel_distance(
            reference, features
        )
        precision, recall = precision_recall(reference, features)
        found[f"precision{suffix}"], found[f"recall{suffix}"] = precision, recall
    return found


def _drawn(features: np.ndarray, count: int, random: Generator) -> np.ndarray:
    return features[random.permutation(len(features))[:count]]


# --- Categories of generated images --------------------------------------------------------------


def purity(categories: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """What the categories that images were generated for, (N,), are to the classifier, (N,).

    ``purity``: of each category the share of its images in its most frequent class, averaged over
    the categories; from 1 / classes to 1. ``classes_covered``: how many classes are the most
    frequent of some category; ten pure categories that cover seven classes share some of them.
    """
    if categories.shape != classes.shape or categories.ndim != 1 or categories.size == 0:
        raise UserError(
            f"categories {categories.shape} and classes {classes.shape} of generated images "
            "should be one each, (N,) and (N,)."
        )
    table = contingency(categories, classes, (int(categories.max()) + 1, int(classes.max()) + 1))
    table = table[table.sum(axis=1) > 0]
    shares = table.max(axis=1) / table.sum(axis=1)
    return {
        "purity": float(shares.mean()),
        "classes_covered": float(len(np.unique(match_majority(table)))),
    }


def class_entropy(classes: np.ndarray) -> float:
    """Entropy in nats of the classes that a classifier sees in generated images, (N,).

    0 where all are of one class, as where G has collapsed; where data are balanced, ln(classes)
    is as varied as they are.
    """
    shares = np.bincount(classes) / len(classes)
    return float(-np.sum(shares[shares > 0] * np.log(shares[shares > 0]))) + 0.0


# --- Judging a model -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Judge:
    """A small classifier of a data set, and what it sees in test images: features and accuracy."""

    classifier: Classifier
    real: np.ndarray  # (N, F)
    accuracy: float

    @classmethod
    def of(
        cls,
        images: tuple[np.ndarray, np.ndarray],
        labels: tuple[np.ndarray, np.ndarray],
        seed: int,
    ) -> "Judge":
        """Trained on the first images and labels, looking at the second ones."""
        classifier = train_classifier(images[0], labels[0], seed)
        features, classes = look(classifier, images[1])
        return cls(classifier, features, float(np.mean(classes == labels[1])))

    def judge(
        self, made: np.ndarray, categories: np.ndarray | None, seed: int
    ) -> dict[str, float]:
        """All numbers of generated images and of the categories they were made for, if any.

        The ``seed`` is of what is compared with them.
        """
        features, classes = look(self.classifier, made)
        return {
            "classifier_accuracy": self.accuracy,
            **generation_quality(self.real, features, seed),
            "class_entropy": class_entropy(classes),
            **({} if categories is None else purity(categories, classes)),
        }


@torch.no_grad()
def generated(
    networks: Networks,
    space: LatentSpace,
    code: str | None,
    count: int,
    pixel_range: tuple[float, float],
    seed: int,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Random images, uint8 (count, C, H, W), and the category of ``code`` each was made for."""
    device = next(networks.parameters()).device
    latent = space.sample(count, torch.Generator(device).manual_seed(seed))
    with evaluating(networks):
        parts = torch.split(latent, _PASS)
        made = [to_uint8(networks.generator(part), pixel_range).cpu() for part in parts]
    images = torch.cat(made).numpy()
    if code is None:
        return images, None
    return images, latent[:, dict(space.columns())[code]].argmax(dim=1).cpu().numpy()
