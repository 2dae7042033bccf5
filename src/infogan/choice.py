"""Choosing one of several runs of a model without labels, and what such a choice is worth.

Pure functions of arrays: R runs (say seeds), N real images, K categories. An assignment is the
category argmax Q(c|x) of each image; its numbers are names, and no score depends on them. Three
scores, all the better the greater:

`information`  how much a run's categories tell about real images;
`centrality`   how far a run divides the images as the others do;
`stability`    how often an image that is deformed a little stays in its category.

Each is blind to something: `information` to a wrong split that Q is sure of, `centrality` to a
fault that most runs share, `stability` to a collapse into one category, which nothing disturbs.
`compare` says, where labels exist after all, what each would have cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import normalized_mutual_info_score

from infogan.errors import UserError
from infogan.information import category_information

TIE = 1e-9  # scores as close as this, in nats or shares, are equal: rounding must not choose
_SUM_TOLERANCE = 1e-3  # of probabilities in half precision


# --- Scores --------------------------------------------------------------------------------------


def information(probabilities: np.ndarray) -> float:
    """H(mean_x Q(c|x)) - mean_x H(Q(c|x)) on real images: (N, K) -> nats, from 0 to ln K.

    The mutual information of category and image, if images are drawn from these N. ln K: each
    category is sure of its images, and all are equally frequent. 0: every image is read alike.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or probabilities.size == 0:
        raise UserError(
            f"probabilities are of shape {probabilities.shape}, but Q(c|x) of N images is (N, K)."
        )
    sums = probabilities.sum(axis=1)
    # Not "any is wrong": comparisons with NaN are false.
    if not (np.all(probabilities >= 0) and np.all(np.abs(sums - 1) <= _SUM_TOLERANCE)):
        raise UserError(
            f"probabilities are {probabilities.min():.3g} or more and sum to {sums.min():.3g} to "
            f"{sums.max():.3g} an image: none should be negative, and each sum 1."
        )
    return max(category_information(torch.from_numpy(probabilities)), 0.0)  # -1e-16 by rounding


def agreement(assignments: np.ndarray) -> np.ndarray:
    """Normalised mutual information of every two runs' categories: ints (R, N) -> (R, R).

    Information over the mean of both entropies: 1 where two runs divide the images alike, by
    whatever names, 0 where one tells nothing of the other. A run with all images in one category
    tells nothing, so it agrees with no other, even if that has collapsed as well; sklearn has 1
    there.
    """
    assignments = _assignments(assignments)
    table = np.eye(len(assignments))
    for i, one in enumerate(assignments):
        for j, other in enumerate(assignments[:i]):
            if np.ptp(one) > 0 and np.ptp(other) > 0:
                table[i, j] = table[j, i] = normalized_mutual_info_score(one, other)
    return table


def centrality(assignments: np.ndarray) -> np.ndarray:
    """Mean agreement of each run with all others: ints (R, N) -> (R,), from 0 to 1.

    After ModelCentrality (Lin, Thekumparampil, Fanti & Oh 2020, "InfoGAN-CR and ModelCentrality:
    Self-supervised Model Training and Selection for Disentangling GANs", ICML), which chooses the
    medoid of a collection of models, in the belief that good models resemble each other and bad
    ones are bad each in its own way. There two models are as similar as one reads the codes of the
    other's images, by the FactorVAE score; here, for categories, as they divide the same real
    images, by `agreement`.
    """
    table = agreement(assignments)
    if len(table) < 2:
        raise UserError("one run has no others to agree with: choose among two or more.")
    return np.asarray((table.sum(axis=1) - 1) / (len(table) - 1))


def medoid(assignments: np.ndarray) -> int:
    """The run with the greatest `centrality`: ints (R, N) -> its row, of equals the first.

    Two runs agree with each other equally, so that it takes three to make a choice.
    """
    return _best(centrality(assignments))[0]


def stability(of_images: np.ndarray, of_deformed: np.ndarray) -> float:
    """Share of images whose category is that of their deformed copy: ints (N,), (N,) -> [0, 1].

    1 for a run with one category only: read it beside `information`.
    """
    of_images, of_deformed = np.asarray(of_images), np.asarray(of_deformed)
    if of_images.ndim != 1 or of_images.shape != of_deformed.shape or of_images.size == 0:
        raise UserError(
            f"categories of images {of_images.shape} and of their deformed copies "
            f"{of_deformed.shape} should be one each, (N,) and (N,)."
        )
    return float(np.mean(of_images == of_deformed))


def _assignments(assignments: np.ndarray) -> np.ndarray:
    assignments = np.asarray(assignments)
    if assignments.ndim != 2 or assignments.size == 0:
        raise UserError(
            f"assignments are of shape {assignments.shape}, but the categories that R runs give "
            "to N images are (R, N)."
        )
    if not np.issubdtype(assignments.dtype, np.integer):
        raise UserError(
            f"assignments are {assignments.dtype}: they should be numbers of categories, integers."
        )
    return assignments


# --- What a rule is worth ------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What one rule chose; errors and regret are in the unit of the errors given."""

    rule: str
    run: int  # place of the chosen run, from 0
    tied: int  # runs with the same best score, of which the first is chosen; 1 is a clear choice
    error: float
    mean_error: float  # of all runs: what choosing blindly costs on average
    best_error: float
    regret: float  # error - best_error


def compare(scores: Mapping[str, Sequence[float]], errors: Sequence[float]) -> list[Choice]:
    """What each rule, which scores each of the R runs, chooses, and how far that is from the best.

    The greatest score is chosen; of scores equal to within ``TIE``, the first in the order of the
    runs, which has nothing to do with errors. Labels enter here, by the errors, and only to judge.
    """
    known = _finite("errors", errors, len(errors))
    mean, best = float(known.mean()), float(known.min())
    choices = []
    for rule, values in scores.items():
        run, tied = _best(_finite(rule, values, len(known)))
        error = float(known[run])
        choices.append(Choice(rule, run, tied, error, mean, best, regret=error - best))
    return choices


def _finite(name: str, values: Sequence[float], runs: int) -> np.ndarray:
    found = np.asarray(values, np.float64)
    if found.shape != (runs,) or runs == 0 or not np.all(np.isfinite(found)):
        raise UserError(f"{name} should be one finite number a run, {runs} in all, not {values}.")
    return found


def _best(scores: np.ndarray) -> tuple[int, int]:
    """Place of the first of the greatest scores, and how many they are."""
    greatest = scores >= scores.max() - TIE
    return int(greatest.argmax()), int(greatest.sum())
