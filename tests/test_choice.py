"""Choosing without labels: known values, and runs made right, collapsed or wrong."""

import itertools
import math

import numpy as np
import pytest
import torch

from infogan.choice import agreement, centrality, compare, information, medoid, stability
from infogan.disentanglement import mutual_information
from infogan.errors import UserError
from infogan.information import category_information

K, COUNT = 5, 2000


def classes(seed: int = 0) -> np.ndarray:
    """What the images are; equally many of each."""
    return np.random.default_rng(seed).permutation(np.arange(COUNT) % K)


def renamed(categories: np.ndarray, seed: int) -> np.ndarray:
    names = np.random.default_rng(seed).permutation(K)
    return np.asarray(names[categories])


def noisy(categories: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Some of the images, at random, in random categories."""
    random = np.random.default_rng(seed)
    wrong = random.uniform(size=len(categories)) < share
    return np.where(wrong, random.integers(0, K, len(categories)), categories)


def wrongly_split(categories: np.ndarray, which: tuple[int, int]) -> np.ndarray:
    """Two categories that share two classes evenly; for every image one of them, without doubt."""
    one, other = which
    mixed = np.isin(categories, which)
    return np.where(mixed, np.where(np.arange(len(categories)) % 2, one, other), categories)


def certain(categories: np.ndarray) -> np.ndarray:
    return np.eye(K)[categories]


def probabilities(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(K, 0.5), COUNT)


# --- Information ---------------------------------------------------------------------------------


def test_certain_and_equally_frequent_categories_have_all_information() -> None:
    assert information(certain(classes())) == pytest.approx(math.log(K))


@pytest.mark.parametrize("row", [np.full(K, 1 / K), np.eye(K)[2], *probabilities(7)[:8]])
def test_images_that_are_all_read_alike_have_no_information(row: np.ndarray) -> None:
    assert 0 <= information(np.tile(row, (COUNT, 1))) < 1e-12


def test_categories_that_are_used_in_part_have_the_information_of_their_entropy() -> None:
    assert information(certain(classes() % 2)) == pytest.approx(
        -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))
    )


@pytest.mark.parametrize("seed", range(5))
def test_information_is_that_of_training_between_0_and_ln_k_and_knows_no_names(seed: int) -> None:
    q = probabilities(seed)
    found = information(q)
    assert 0 < found < math.log(K)
    assert found == pytest.approx(category_information(torch.from_numpy(q)))
    assert information(q[:, np.random.default_rng(seed).permutation(K)]) == pytest.approx(found)
    assert information(q.astype(np.float16)) == pytest.approx(found, rel=1e-2)


def test_information_does_not_see_a_wrong_split_without_doubt() -> None:
    right = classes()
    wrong = wrongly_split(right, (3, 4))
    assert np.mean(wrong != right) > 0.15
    assert information(certain(wrong)) == pytest.approx(information(certain(right)), abs=0.01)


@pytest.mark.parametrize(
    "wrong", [np.full(K, 0.2), np.zeros((0, K)), np.zeros((3, 2, 1)), np.zeros((3, 0))]
)
def test_probabilities_of_another_shape_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"of shape \(.*is \(N, K\)\.$"):
        information(wrong)


@pytest.mark.parametrize("row", [[0.5, 0.4], [1.5, -0.5], [math.nan, 1], [math.inf, 0], [5, -9]])
def test_what_are_no_probabilities_is_refused(row: list[float]) -> None:
    with pytest.raises(UserError, match=r"and each sum 1\.$"):
        information(np.array([[0.5, 0.5], row]))


# --- Agreement -----------------------------------------------------------------------------------


def test_agreement_is_information_over_the_mean_of_both_entropies() -> None:
    right = classes()
    runs = np.stack([noisy(right, 0.1, 1), noisy(right, 0.5, 2), right % 2])  # of other entropy
    table = agreement(runs)
    for i, j in itertools.product(range(3), repeat=2):
        entropies = [mutual_information(runs[k], runs[k]) for k in (i, j)]
        expected = mutual_information(runs[i], runs[j]) / np.mean(entropies)
        assert table[i, j] == pytest.approx(expected)
    assert np.array_equal(table, table.T)


def test_runs_agree_whatever_they_call_their_categories() -> None:
    right = classes()
    others = np.stack([noisy(right, 0.3, 1), noisy(right, 0.6, 2)])
    runs = np.stack([right, *others])
    assert agreement(np.stack([right, renamed(right, 3)])) == pytest.approx(np.ones((2, 2)))
    changed = np.stack([renamed(run, seed) for seed, run in enumerate(runs)]) * 7 - 3
    assert agreement(changed) == pytest.approx(agreement(runs))


def test_independent_runs_do_not_agree() -> None:
    runs = np.stack([classes(seed) for seed in range(3)])
    assert agreement(runs) == pytest.approx(np.eye(3), abs=0.01)


def test_collapsed_runs_agree_with_none_not_even_with_each_other() -> None:
    runs = np.stack([classes(), np.zeros(COUNT, int), np.full(COUNT, 3)])
    assert np.array_equal(agreement(runs), np.eye(3))


# --- The medoid ----------------------------------------------------------------------------------


def test_centrality_is_the_mean_over_all_others() -> None:
    runs = np.stack([noisy(classes(), 0.2 * seed, seed) for seed in range(4)])
    table = agreement(runs)
    expected = [np.mean([table[i, j] for j in range(4) if j != i]) for i in range(4)]
    assert centrality(runs) == pytest.approx(expected)


@pytest.mark.parametrize("place", range(5))
def test_the_medoid_is_the_run_that_agrees_with_most(place: int) -> None:
    right = classes()
    # Each of the others is wrong in a way of its own.
    faults = [wrongly_split(right, pair) for pair in ((0, 1), (2, 3), (1, 4))]
    faults.append(noisy(right, 0.3, 0))
    runs = [renamed(run, seed) for seed, run in enumerate(faults)]
    runs.insert(place, renamed(right, 9))
    assert medoid(np.stack(runs)) == place


def test_a_lonely_wrong_split_is_not_the_medoid_though_it_has_all_information() -> None:
    right = classes()
    runs = [wrongly_split(right, (0, 1)), noisy(right, 0.02, 1), noisy(right, 0.02, 2)]
    assert information(certain(runs[0])) > information(certain(runs[1])) - 0.01
    assert medoid(np.stack(runs)) in (1, 2)


def test_many_collapsed_runs_do_not_outvote_a_few_that_are_right() -> None:
    right = classes()
    collapsed = [np.full(COUNT, k) for k in range(4)]
    assert medoid(np.stack([*collapsed, right, noisy(right, 0.1, 0)])) in (4, 5)


def test_a_fault_that_most_runs_share_is_not_seen() -> None:
    right = classes()
    wrong = wrongly_split(right, (0, 1))
    assert medoid(np.stack([right, wrong, renamed(wrong, 1), noisy(wrong, 0.05, 2)])) != 0


def test_of_equal_runs_the_first_is_the_medoid() -> None:
    right, other = classes(0), classes(1)
    equal = [renamed(right, seed) for seed in range(3)]
    assert medoid(np.stack(equal)) == 0
    assert medoid(np.stack([other, *equal])) == 1
    for seed in range(20):  # in some the sums are rounded differently
        run = noisy(right, 0.3, seed)
        equal = [renamed(run, 7 * seed + k) for k in range(4)]
        assert medoid(np.stack([*equal, other])) == 0
    assert (
        medoid(np.stack([noisy(right, 0.5, 1), right])) == 0
    )  # two agree with each other equally


@pytest.mark.parametrize("function", [agreement, centrality, medoid])
def test_assignments_of_another_shape_are_refused(function: object) -> None:
    assert callable(function)
    for wrong in (classes(), np.zeros((2, 0), int), np.zeros((2, 3, 4), int)):
        with pytest.raises(UserError, match=r"of shape \(.* \(R, N\)\.$"):
            function(wrong)
    with pytest.raises(UserError, match=r"float64.*integers"):
        function(np.zeros((2, 3)))


def test_one_run_alone_has_no_centrality() -> None:
    with pytest.raises(UserError, match="two or more"):
        medoid(classes()[None])


# --- Stability -----------------------------------------------------------------------------------


def test_stability_is_the_share_that_stays() -> None:
    assert stability(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1])) == 0.75
    right = classes()
    assert stability(right, right) == 1
    assert stability(right, (right + 1) % K) == 0
    assert stability(right, classes(1)) == pytest.approx(1 / K, abs=0.05)


def test_nothing_disturbs_a_collapsed_run() -> None:
    assert stability(np.zeros(9, int), np.zeros(9, int)) == 1


@pytest.mark.parametrize("other", [classes()[1:], classes()[None], np.zeros(0, int)])
def test_categories_of_other_images_are_refused(other: np.ndarray) -> None:
    with pytest.raises(UserError, match="one each"):
        stability(classes(), other)
    with pytest.raises(UserError, match="one each"):
        stability(np.zeros(0, int), np.zeros(0, int))


# --- What a rule is worth ------------------------------------------------------------------------


def test_each_rule_chooses_its_greatest_score_and_pays_for_it() -> None:
    errors = [10.0, 4.0, 3.0, 7.0]
    scores = {"good": [0, 1, 2, 1], "bad": [9, 1, 2, 3], "near": [0.0, 0.2, 0.1, 0.0]}
    found = compare(scores, errors)
    assert [choice.rule for choice in found] == ["good", "bad", "near"]
    assert [choice.run for choice in found] == [2, 0, 1]
    assert [choice.error for choice in found] == [3, 10, 4]
    assert [choice.regret for choice in found] == [0, 7, 1]
    assert [choice.tied for choice in found] == [1, 1, 1]
    assert {choice.mean_error for choice in found} == {6}
    assert {choice.best_error for choice in found} == {3}


def test_a_tie_is_said_and_broken_by_the_order_of_runs_not_by_error() -> None:
    scores = {"tied": [0.5, 0.7, 0.7 + 1e-12, 0.7 - 1e-12], "apart": [0.5, 0.7, 0.7001, 0.6]}
    tied, apart = compare(scores, [1, 9, 2, 0])
    assert (tied.run, tied.tied, tied.error) == (1, 3, 9)
    assert (apart.run, apart.tied) == (2, 1)


def test_the_order_of_runs_changes_nothing_without_ties() -> None:
    random = np.random.default_rng(0)
    score, errors = random.uniform(size=6), random.uniform(size=6)
    order = random.permutation(6)
    (one,), (other,) = compare({"a": score}, errors), compare({"a": score[order]}, errors[order])
    assert order[other.run] == one.run
    assert (other.error, other.regret) == (one.error, one.regret)
    assert other.mean_error == pytest.approx(one.mean_error)


def test_scores_that_are_missing_or_no_numbers_are_refused() -> None:
    with pytest.raises(UserError, match=r"^a should be one finite number a run, 2 in all"):
        compare({"a": [1.0]}, [0.1, 0.2])
    with pytest.raises(UserError, match=r"^a should"):
        compare({"a": [1.0, math.nan]}, [0.1, 0.2])
    with pytest.raises(UserError, match=r"^errors should"):
        compare({"a": [1.0, 2.0]}, [0.1, math.inf])
    with pytest.raises(UserError, match=r"^errors should"):
        compare({"a": []}, [])
