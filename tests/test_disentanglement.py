"""Disentanglement scores: known values, oracles of scipy and scikit-learn, and laws."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mutual_info_score

from infogan.disentanglement import (
    beta_vae_score,
    circular_rank_correlation,
    completeness,
    dci,
    discretise,
    disentanglement,
    factor_vae_score,
    is_discrete,
    mig,
    mutual_information,
    permutation_information,
    rank_correlation,
    sap,
    scores,
    varying,
)

COUNT, FACTORS, BINS = 2000, 4, 10
CHANCE = 1 / FACTORS
NOISE = 4 / np.sqrt(COUNT)  # four standard deviations of a correlation of nothing
KEYS = {
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "sap",
    "factor_vae",
    "beta_vae",
}

Score = Callable[[np.ndarray, np.ndarray], float]  # codes, factors as integers


def uniform(columns: int, seed: int, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, columns))


def binned(factors: np.ndarray, bins: int = BINS) -> np.ndarray:
    return np.stack([discretise(column, bins) for column in factors.T], axis=1)


def mix(codes: np.ndarray) -> np.ndarray:
    """The first two dimensions turned by 45 degrees."""
    mixed = codes.copy()
    mixed[:, 0], mixed[:, 1] = codes[:, 0] + codes[:, 1], codes[:, 0] - codes[:, 1]
    return np.asarray(mixed / np.sqrt(2))


def dci_halves(codes: np.ndarray, factors: np.ndarray) -> dict[str, float]:
    half = len(codes) // 2
    return dci(codes[:half], factors[:half], codes[half:], factors[half:], seed=0)


def dci_score(name: str) -> Score:
    return lambda codes, factors: dci_halves(codes, factors)[name]


def factor_vae(codes: np.ndarray, factors: np.ndarray) -> float:
    return factor_vae_score(codes, factors, groups=1000, group_size=32, rng=0)


def beta_vae(codes: np.ndarray, factors: np.ndarray) -> float:
    return beta_vae_score(codes, factors, groups=1000, pairs=32, rng=0)


SCORES: dict[str, Score] = {
    "mig": mig,
    "sap": sap,
    "factor_vae": factor_vae,
    "beta_vae": beta_vae,
    "disentanglement": dci_score("disentanglement"),
    "completeness": dci_score("completeness"),
    "informativeness": dci_score("informativeness"),
}

MONOTONE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "itself": lambda x: x,
    "turned round": lambda x: -3 * x + 100,
    "cube": lambda x: x**3,
    "exponential": lambda x: np.exp(2 * x),
}


@pytest.fixture
def few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """For laws that do not hang on how many groups of images `scores` draws, which takes time."""
    monkeypatch.setattr("infogan.disentanglement.GROUPS", 100)


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """For laws that do not hang on how large a forest is."""
    monkeypatch.setattr("infogan.disentanglement.TREES", 5)


# --- What varies, and how ------------------------------------------------------------------------


def test_a_constant_and_its_rounding_do_not_vary_at_any_scale() -> None:
    noise = np.random.default_rng(0).normal(size=50)
    for scale in (1e-12, 1, 1e12):
        columns = [np.full(50, 0.1), 1 + 1e-9 * noise, np.zeros(50), noise, 1 + 1e-3 * noise]
        assert list(varying(scale * np.stack(columns, axis=1))) == [False] * 3 + [True] * 2


def test_classes_are_few_integers_of_any_dtype() -> None:
    assert is_discrete(np.arange(40) % 20)
    assert is_discrete((np.arange(40) % 20).astype(np.float32))
    assert not is_discrete(np.arange(40) % 21)
    assert not is_discrete(np.arange(40) % 3 / 2)


def test_bins_hold_equal_numbers_and_keep_the_order() -> None:
    values = np.random.default_rng(0).lognormal(size=1000)
    bins = discretise(values, 8)
    assert list(np.bincount(bins)) == [125] * 8
    assert np.all(np.diff(bins[np.argsort(values)]) >= 0)


def test_sizes_of_bins_differ_by_one_at_most_when_they_do_not_divide() -> None:
    assert set(np.bincount(discretise(uniform(1, 0, 1003)[:, 0], 20))) == {50, 51}


@pytest.mark.parametrize("transform", MONOTONE.values(), ids=MONOTONE)
def test_bins_follow_a_monotone_transform(transform: Callable[[np.ndarray], np.ndarray]) -> None:
    values = uniform(1, 0)[:, 0]
    bins, transformed = discretise(values, 20), discretise(transform(values), 20)
    assert np.array_equal(transformed, bins) or np.array_equal(transformed, 19 - bins)


def test_few_distinct_values_stay_as_they_are() -> None:
    values = np.random.default_rng(0).choice([-0.5, 2.0, 7.25], 100, p=[0.9, 0.05, 0.05])
    assert np.array_equal(np.array([-0.5, 2.0, 7.25])[discretise(values, 3)], values)


def test_equal_values_share_a_bin_and_bins_are_numbered_without_gaps() -> None:
    values = np.concatenate([np.zeros(500), uniform(1, 0, 500)[:, 0]])
    bins = discretise(values, 10)
    assert len(set(bins[:500])) == 1
    assert set(bins) == set(range(bins.max() + 1))


# --- Ranks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_is_spearmans(seed: int) -> None:
    random = np.random.default_rng(seed)
    factors = np.column_stack([random.normal(size=100), random.integers(0, 4, 100)])
    codes = factors @ random.normal(size=(2, 3)) + random.normal(size=(100, 3))
    expected = [[abs(spearmanr(code, factor)[0]) for factor in factors.T] for code in codes.T]
    np.testing.assert_allclose(rank_correlation(codes, factors), expected, atol=1e-12)


@pytest.mark.parametrize("transform", MONOTONE.values(), ids=MONOTONE)
def test_rank_correlations_of_a_perfect_code_are_the_identity(
    transform: Callable[[np.ndarray], np.ndarray],
) -> None:
    factors = uniform(FACTORS, 0)
    found = rank_correlation(transform(factors), factors)
    assert np.diag(found) == pytest.approx(1)
    assert np.all(found <= 1)
    np.testing.assert_allclose(found, np.eye(FACTORS), atol=NOISE)


def test_rank_correlations_of_a_random_code_are_small_but_not_zero() -> None:
    found = rank_correlation(uniform(5, 1), uniform(FACTORS, 2))
    assert found.shape == (5, FACTORS)
    assert np.all((found > 0) & (found < NOISE))


def test_rank_correlation_with_a_constant_is_zero() -> None:
    codes, factors = uniform(3, 0, 100), uniform(2, 1, 100)
    codes[:, 1], factors[:, 0] = 0.1, 7
    found = rank_correlation(codes, factors)
    assert np.all(found[1] == 0)
    assert np.all(found[:, 0] == 0)
    assert np.all(found[[0, 2], 1] > 0)


def whole_circle(count: int) -> np.ndarray:
    return np.linspace(-np.pi, np.pi, count, endpoint=False)


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_the_circular_correlation_reaches_one_and_no_more(count: int) -> None:
    found = [
        circular_rank_correlation(np.array(order), whole_circle(count))
        for order in itertools.permutations(range(count))
    ]
    assert max(found) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("count", [1000, 1001])
def test_a_cosine_of_the_angle_has_circular_correlation_one(count: int) -> None:
    # The two halves of a cosine tie; Mardia's maximum breaks the ties, which is 1 / N of it.
    found = circular_rank_correlation(np.cos(whole_circle(count) - 1), whole_circle(count))
    assert found == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("transform", MONOTONE.values(), ids=MONOTONE)
def test_a_code_that_rises_all_the_way_round_has_a_quarter_of_pi(
    transform: Callable[[np.ndarray], np.ndarray],
) -> None:
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
    found = circular_rank_correlation(transform(angles / 4), angles)
    assert found == pytest.approx(np.pi / 4, abs=2e-3)


@pytest.mark.parametrize("values", [7, COUNT])
def test_origin_and_sense_of_the_angle_do_not_matter(values: int) -> None:
    random = np.random.default_rng(0)
    angles = random.integers(0, values, COUNT) * 2 * np.pi / values
    code = np.cos(angles) + random.normal(size=COUNT)
    expected = circular_rank_correlation(code, angles)
    assert 0.5 < expected < 0.9
    for origin in (0.1, 1, np.pi, 2 * np.pi, -40.0):
        assert circular_rank_correlation(code, angles + origin) == pytest.approx(expected)
        assert circular_rank_correlation(-code, origin - angles) == pytest.approx(expected)


def test_whole_turns_do_not_matter_not_even_to_ties() -> None:
    random = np.random.default_rng(0)
    angles = random.integers(0, 7, COUNT) * 2 * np.pi / 7
    code = np.sin(angles) + random.normal(size=COUNT)
    turned = angles + 2 * np.pi * random.integers(-5, 6, COUNT)
    expected = circular_rank_correlation(code, angles)
    assert circular_rank_correlation(code, turned) == pytest.approx(expected, abs=1e-9)


def test_a_symmetric_code_of_the_angle_is_seen_by_the_circular_correlation_only() -> None:
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, COUNT)
    code = np.cos(angles)
    assert rank_correlation(code[:, None], angles[:, None])[0, 0] < NOISE
    assert circular_rank_correlation(code, angles) > 0.99


@pytest.mark.parametrize("values", [2, 7, COUNT])
@pytest.mark.parametrize("seed", range(3))
def test_the_circular_correlation_of_a_random_code_is_near_zero(seed: int, values: int) -> None:
    random = np.random.default_rng(seed)
    # Unequal shares: uncentred ranks would see the shares themselves.
    angles = np.floor(values * random.uniform(0, 1, COUNT) ** 2) * 2 * np.pi / values
    assert circular_rank_correlation(random.normal(size=COUNT), angles) < 1.4 * NOISE


def test_the_circular_correlation_with_a_constant_is_zero() -> None:
    angles, code = uniform(2, 0, 100).T
    assert circular_rank_correlation(np.full(100, 0.1), angles) == 0
    assert circular_rank_correlation(code, np.full(100, 0.1)) == pytest.approx(0, abs=1e-9)


# --- Information ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_mutual_information_is_that_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    a = random.integers(-3, 4, 300)
    b = (a**2 + random.integers(0, 3, 300)) * 1000
    assert mutual_information(a, b) == pytest.approx(mutual_info_score(a, b))
    assert mutual_information(b, a) == pytest.approx(mutual_information(a, b))


def test_information_of_a_variable_with_itself_is_its_entropy() -> None:
    a = np.repeat([0, 1, 2], [50, 25, 25])
    assert mutual_information(a, a) == pytest.approx(1.5 * np.log(2))


def test_information_of_an_independent_table_is_zero_and_not_below() -> None:
    for rows, columns in itertools.product(range(1, 8), repeat=2):
        a, b = np.divmod(np.arange(rows * columns), columns)
        assert 0 <= mutual_information(a, b) < 1e-12


def test_the_baseline_is_what_independence_looks_like() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 10, COUNT), random.integers(0, 20, COUNT)
    null = permutation_information([a], b, 200, rng=1)
    assert null.shape == (200, 1)
    mean, percentile = null.mean(), np.percentile(null, 95)
    assert mean == pytest.approx(9 * 19 / (2 * COUNT), rel=0.05)  # Miller 1955
    assert mean < percentile < 1.5 * mean
    assert mutual_information(a, b) < 1.5 * mean
    above = [mutual_information(random.permutation(a), b) > percentile for _ in range(400)]
    assert 0.01 < np.mean(above) < 0.1


def test_every_code_is_shuffled_in_the_same_way() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 4, 300), random.integers(0, 5, 300)
    null = permutation_information([a, 3 - a, random.integers(0, 4, 300)], b, 50, rng=0)
    np.testing.assert_allclose(null[:, 0], null[:, 1])
    assert not np.allclose(null[:, 0], null[:, 2])


def test_a_code_that_knows_something_is_above_the_baseline() -> None:
    random = np.random.default_rng(0)
    a = random.integers(0, 5, 500)
    b = np.where(random.uniform(size=500) < 0.3, a, random.integers(0, 5, 500))
    assert mutual_information(a, b) > permutation_information([a], b, 100, rng=0).max()
    first = permutation_information([a], b, 20, rng=3)
    np.testing.assert_array_equal(permutation_information([a], b, 20, rng=3), first)


# --- MIG -----------------------------------------------------------------------------------------

# Of a perfect code: the second-best code's plug-in information on an independent factor is about
# (20 - 1)(10 - 1) / 2N = 0.043 nats of ln 10 = 2.3, 0.02; the best of three is somewhat more.
MIG_TOLERANCE = 0.035


@pytest.mark.parametrize("transform", MONOTONE.values(), ids=MONOTONE)
def test_mig_of_a_perfect_code_is_one(transform: Callable[[np.ndarray], np.ndarray]) -> None:
    factors = uniform(FACTORS, 0)
    found = mig(transform(factors), binned(factors))
    assert 1 - MIG_TOLERANCE < found < 1


def test_mig_is_exactly_one_for_a_full_factorial_design() -> None:
    factors = np.array(list(itertools.product(range(3), range(4), range(5))))
    assert mig(factors.astype(float), factors) == pytest.approx(1)


def test_mig_of_a_factor_known_by_half() -> None:
    factor, other = np.divmod(np.arange(400) % 8, 2)  # ln 4 nats, independent of the other's ln 2
    assert mig(np.stack([factor // 2, other], axis=1), factor[:, None]) == pytest.approx(0.5)
    twice = np.stack([factor // 2, factor], axis=1)
    assert mig(twice, factor[:, None]) == pytest.approx(0.5)


def test_the_second_best_of_a_single_code_is_zero() -> None:
    factor = np.arange(400) % 4
    assert mig(factor[:, None] // 2, factor[:, None]) == pytest.approx(0.5)
    assert sap(factor[:, None], factor[:, None]) == pytest.approx(1)


# --- DCI -----------------------------------------------------------------------------------------


def test_one_importance_a_code_and_factor_is_perfect_and_equal_ones_are_not() -> None:
    assert disentanglement(np.eye(4)) == completeness(np.eye(4)) == 1
    assert disentanglement(np.ones((5, 3))) == pytest.approx(0, abs=1e-12)
    assert completeness(np.ones((5, 3))) == pytest.approx(0, abs=1e-12)


def test_a_factor_spread_over_codes_is_disentangled_but_incomplete() -> None:
    importance = np.array([[0.5, 0], [0.5, 0], [0, 1], [0, 0]])
    assert disentanglement(importance) == 1
    assert completeness(importance) == pytest.approx((1 - 1 / 2 + 1) / 2)  # entropy 1/2 in base 4


def test_a_code_of_two_factors_is_complete_but_entangled() -> None:
    importance = np.array([[1, 1, 0], [0, 0, 1.0]])
    assert completeness(importance) == 1
    assert disentanglement(importance) == pytest.approx(
        2 / 3 * (1 - np.log(2) / np.log(3)) + 1 / 3
    )


def test_no_importance_at_all_scores_zero() -> None:
    assert disentanglement(np.zeros((3, 2))) == completeness(np.zeros((3, 2))) == 0


@pytest.mark.parametrize("transform", MONOTONE.values(), ids=MONOTONE)
def test_dci_of_a_perfect_code_is_one(transform: Callable[[np.ndarray], np.ndarray]) -> None:
    factors = np.column_stack([uniform(2, 0), binned(uniform(1, 1), 5)])
    found = dci_halves(transform(factors), factors)
    # Leaves of 5 among 1,000 images cut a factor into steps.
    assert found == {name: pytest.approx(1, abs=0.01) for name in found}
    assert set(found) == {"disentanglement", "completeness", "informativeness"}


def test_informativeness_is_measured_on_images_the_forest_has_not_seen() -> None:
    codes, factors = uniform(FACTORS, 0), uniform(FACTORS, 1)
    assert dci_halves(codes, factors)["informativeness"] < 0.02
    classes = binned(factors)
    assert dci_halves(codes, classes)["informativeness"] == pytest.approx(1 / BINS, abs=0.03)


@pytest.mark.parametrize("half", [0, 1])
def test_a_factor_that_is_constant_in_one_half_is_left_out(half: int) -> None:
    codes, factors = uniform(3, 1, 400), uniform(2, 0, 400)
    more = np.column_stack([codes[:, 2], factors])
    more[200 * half : 200 * (half + 1), 0] = 0.3
    assert dci_halves(codes, more) == dci_halves(codes, factors)


def test_dci_fits_on_a_bounded_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = uniform(2, 0)
    assert dci_halves(factors, factors)["informativeness"] > 0.99
    monkeypatch.setattr("infogan.disentanglement.MAX_TRAINING_ROWS", 20)
    assert dci_halves(factors, factors)["informativeness"] < 0.95


# --- SAP -----------------------------------------------------------------------------------------


def test_sap_of_continuous_factors_is_the_gap_of_squared_correlations() -> None:
    factors = uniform(2, 0)
    codes = np.column_stack([factors + 0.5 * uniform(2, 1), uniform(1, 2)])
    squares = np.corrcoef(codes.T, factors.T)[:3, 3:] ** 2
    best = np.sort(squares, axis=0)
    assert sap(codes, factors) == pytest.approx(np.mean(best[-1] - best[-2]))
    assert 0.7 < sap(codes, factors) < 0.9


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_sap_of_classes_is_a_gap_of_balanced_accuracies(classes: int) -> None:
    random = np.random.default_rng(0)
    shares = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()  # far from balanced
    factors = np.stack([random.choice(classes, COUNT, p=shares) for _ in range(2)], axis=1)
    # The other code is at chance, 1 / K; fitted and judged on the same images, a little above.
    assert 1 - 1 / classes - 0.05 < sap(np.exp(factors), factors) < 1 - 1 / classes


# --- Scores that hold one factor fixed -----------------------------------------------------------


@pytest.mark.parametrize("score", [factor_vae, beta_vae])
@pytest.mark.parametrize("transform", MONOTONE.values(), ids=MONOTONE)
def test_votes_of_a_perfect_code_are_unanimous(
    transform: Callable[[np.ndarray], np.ndarray], score: Score
) -> None:
    factors = uniform(FACTORS, 0)
    assert score(transform(binned(factors) / BINS), binned(factors)) == 1


@pytest.mark.parametrize("score", [factor_vae, beta_vae])
def test_the_largest_and_the_smallest_code_have_the_same_say(score: Score) -> None:
    factors = uniform(FACTORS, 0)
    codes = factors * np.array([1e-3, 1, 1e3, 1e6]) + 5
    assert score(codes, binned(factors)) == 1


def test_spread_is_measured_relative_to_all_images() -> None:
    # The first code is small but moves; unscaled, it would seem the stillest of every group.
    factors = uniform(2, 0)
    codes = np.column_stack([0.001 * uniform(1, 1), factors])
    assert factor_vae(codes, binned(factors)) == 1


def test_a_factor_no_code_knows_halves_the_votes_that_are_right() -> None:
    factors = uniform(2, 0)
    found = factor_vae(factors[:, :1], binned(factors))
    assert found == pytest.approx(0.5, abs=0.09)  # one code cannot but vote for itself


def test_a_factor_with_rare_values_is_drawn_with_repetition() -> None:
    factors = np.stack([np.arange(200) // 2, np.random.default_rng(0).permutation(200) // 4], 1)
    assert factor_vae_score(factors, factors, 200, 32, rng=0) == 1
    assert beta_vae_score(factors, factors, 200, 32, rng=0) == 1


def test_rare_values_are_left_out_while_a_factor_has_frequent_ones() -> None:
    # 500 values occur twice and tell nothing: their images have random codes.
    factors = np.concatenate(
        [binned(uniform(2, 0, 1000), 2), 2 + np.arange(2000).reshape(-1, 2) // 4]
    )
    codes = np.concatenate([factors[:1000], np.zeros((1000, 2))]).astype(float)
    codes[1000:, 0] = uniform(1, 1, 1000)[:, 0]
    assert factor_vae_score(codes, factors, 400, 32, rng=0) == 1
    assert factor_vae_score(codes[1000:], factors[1000:], 400, 32, rng=0) < 0.7


def test_a_factor_none_of_whose_values_recurs_cannot_be_held_fixed() -> None:
    factors = np.column_stack([np.arange(200), binned(uniform(2, 0, 200), 4)])
    codes = factors[:, 1:].astype(float)
    assert factor_vae_score(codes, factors, 200, 16, rng=0) == 1
    assert beta_vae_score(codes, factors, 200, 16, rng=0) == 1
    assert factor_vae_score(codes, factors[:, :1], 200, 16, rng=0) == 0
    assert beta_vae_score(codes, factors[:, :1], 200, 16, rng=0) == 0


def test_pairs_are_of_two_images() -> None:
    # Every value occurs twice. Images of one value of the first factor differ by 1 in both codes,
    # of the second in the first code only: pairs of an image with itself would blur it.
    factors = np.stack([np.arange(100) // 2, np.roll(np.arange(100), 1) // 2], axis=1)
    codes = np.stack([np.arange(100) % 2, (np.arange(100) + 1) // 2 % 2], axis=1)
    assert beta_vae_score(codes, factors, 200, 4, rng=0) == 1


def test_beta_vae_does_not_know_images_again() -> None:
    random = np.random.default_rng(0)
    found = []
    for seed in range(5):
        codes, factors = random.normal(size=(60, 5)), random.integers(0, 10, (60, 4))
        found.append(beta_vae_score(codes, factors, 400, 32, seed))
    assert np.mean(found) < 0.35  # chance is 1 / 4


def test_forests_are_judged_on_objects_that_they_have_not_seen() -> None:
    random = np.random.default_rng(0)
    units = np.repeat(np.arange(20), 30)
    factors = np.stack([random.normal(size=20)[units], random.normal(size=600)], axis=1)
    which = random.normal(size=(20, 2))[units]  # tells the object, and nothing else
    by_images, by_objects = (
        scores(which, factors, seed=0, units=told)["dci_informativeness"] for told in (None, units)
    )
    assert by_images > 0.4
    assert by_objects < 0.1


@pytest.mark.parametrize("score", [factor_vae_score, beta_vae_score])
def test_groups_that_name_the_codes_do_not_judge_them(score: Callable[..., float]) -> None:
    codes, factors = uniform(30, 0), binned(uniform(FACTORS, 1))
    # 20 groups to fit and 30 random codes: learnt by heart, and worth nothing on 20 others.
    found = [score(codes, factors, 40, 16, rng=seed) for seed in range(10)]
    assert CHANCE / 3 < np.mean(found) < CHANCE + 0.1


def test_a_code_that_never_had_a_vote_is_wrong() -> None:
    factors = binned(uniform(FACTORS, 0))
    # One group to fit and one to judge: right only where the factor is the same.
    found = [factor_vae_score(factors, factors, 2, 16, rng=seed) for seed in range(200)]
    assert np.mean(found) == pytest.approx(CHANCE, abs=0.1)


def test_a_code_of_the_wrong_factor_is_named_by_majority() -> None:
    factors = uniform(3, 0)
    assert factor_vae(factors[:, [2, 0, 1]], binned(factors)) == 1


# --- All of them ---------------------------------------------------------------------------------


def test_a_random_code_is_at_chance_on_every_score() -> None:
    found = scores(uniform(5, 1), uniform(FACTORS, 2), seed=0, bins=BINS)
    assert set(found) == KEYS
    assert found["mig"] < 0.01
    assert found["sap"] < 0.01
    # 800 votes have a standard deviation of 0.015; a finite table of images adds its own.
    assert found["factor_vae"] == pytest.approx(CHANCE, abs=0.08)
    assert found["beta_vae"] == pytest.approx(CHANCE, abs=0.08)
    assert found["dci_informativeness"] < 0.02
    assert found["dci_disentanglement"] < 0.05
    assert found["dci_completeness"] < 0.05


def test_a_perfect_code_is_perfect_on_every_score() -> None:
    factors = np.column_stack([uniform(3, 0), binned(uniform(1, 1), 3)])
    found = scores(np.exp(factors), factors, seed=0, bins=BINS)
    assert set(found) == KEYS
    assert found["mig"] > 1 - MIG_TOLERANCE
    # Straight lines through exp(x), x in [-1, 1]: R^2 0.92; a class of three: 1 - 1/3.
    assert found["sap"] == pytest.approx((3 * 0.92 + 2 / 3) / 4, abs=0.02)
    assert found["factor_vae"] == found["beta_vae"] == 1
    for name in ("disentanglement", "completeness", "informativeness"):
        assert found[f"dci_{name}"] == pytest.approx(1, abs=0.01)


def test_a_code_turned_by_45_degrees_is_informative_but_entangled() -> None:
    factors = uniform(2, 0)
    found = scores(mix(factors), factors, seed=0, bins=BINS)
    assert found["dci_informativeness"] > 0.95
    assert found["dci_disentanglement"] < 0.15
    assert found["dci_completeness"] < 0.15
    assert found["mig"] < 0.05
    assert found["sap"] < 0.05
    assert found["factor_vae"] < 0.75
    np.testing.assert_allclose(rank_correlation(mix(factors), factors), 2**-0.5, atol=0.05)


# --- Codes without order, and factors that wrap --------------------------------------------------


def classes(columns: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, (COUNT, columns))


def renamed(codes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Every category by another number."""
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(column.max() + 1)[column] for column in codes.T], axis=1)


def test_categories_of_a_factor_under_any_names_are_perfect_on_every_score() -> None:
    factors = classes(3, 5, 0)
    found = scores(renamed(factors), factors, seed=0, bins=BINS, categorical=range(3))
    assert found["mig"] > 1 - MIG_TOLERANCE
    assert found["sap"] == pytest.approx(1 - 1 / 5, abs=0.03)
    for name in KEYS - {"mig", "sap"}:
        assert found[name] == pytest.approx(1, abs=0.01), name


def test_random_categories_are_at_chance_on_every_score() -> None:
    found = scores(classes(4, 5, 1), uniform(FACTORS, 2), 0, BINS, categorical=range(4))
    assert found["mig"] < 0.01
    assert found["sap"] < 0.01
    assert found["factor_vae"] == pytest.approx(CHANCE, abs=0.08)
    assert found["beta_vae"] == pytest.approx(CHANCE, abs=0.08)
    assert found["dci_informativeness"] < 0.02
    assert found["dci_disentanglement"] < 0.05


def test_categories_of_two_factors_together_are_informative_but_entangled() -> None:
    factors = classes(2, 5, 0)
    a, b = factors.T
    codes = renamed(np.stack([(a + b) % 5, (a - b) % 5], axis=1))
    found = scores(codes, factors, seed=0, bins=BINS, categorical=range(2))
    assert found["dci_informativeness"] > 0.95
    assert found["dci_disentanglement"] < 0.15
    assert found["dci_completeness"] < 0.15
    assert found["mig"] < 0.05
    assert found["sap"] < 0.05
    assert found["factor_vae"] < 0.75


@pytest.mark.usefixtures("few_groups")
@pytest.mark.parametrize("kind", ["classes", "continuous", "circular"])
def test_the_names_of_categories_do_not_matter(kind: str) -> None:
    known = uniform(3, 0)
    codes = binned(known + 0.3 * uniform(3, 1), 8)
    factors = {"classes": binned(known, 4), "continuous": known, "circular": 180 * (known + 1)}
    circular = (0, 2) if kind == "circular" else ()
    mixed = np.column_stack([codes, known[:, 0] + uniform(1, 3)[:, 0]])
    again = np.column_stack([renamed(codes), mixed[:, 3]])
    first, other = (
        scores(each, factors[kind], 0, 8, categorical=range(3), circular=circular)
        for each in (mixed, again)
    )
    assert first["mig"] > 0.1
    for name in KEYS:
        assert other[name] == pytest.approx(first[name], abs=0.01), name


def test_more_categories_than_bins_stay_apart() -> None:
    factor = np.random.default_rng(0).integers(0, 2, 4000)
    code = 2 * np.random.default_rng(1).permutation(4000) // 80 * 2 + factor  # odd is one class
    assert mig(code[:, None], factor[:, None], 20) < 0.1
    assert mig(code[:, None], factor[:, None], 20, categorical=[0]) == pytest.approx(1)


def test_sap_of_categories_is_a_share_of_variance_or_the_best_guess_of_each() -> None:
    random = np.random.default_rng(0)
    code = random.integers(0, 6, COUNT)
    value = np.array([3, -1, 2, 2, -5, 0])[code] + random.normal(size=COUNT)
    means = np.array([value[code == k].mean() for k in range(6)])
    expected = means[code].var() / value.var()
    found = sap(code[:, None], value[:, None], categorical=[0])
    assert found == pytest.approx(expected)

    label = np.where(random.uniform(size=COUNT) < 0.8, np.array([0, 1, 0, 2, 1, 0])[code], 1)
    counts = np.array([[np.sum((code == k) & (label == c)) for c in range(3)] for k in range(6)])
    recalls = counts / counts.sum(axis=0)
    assert sap(code[:, None], label[:, None], categorical=[0]) == pytest.approx(
        recalls.max(axis=1).sum() / 3
    )


def test_the_variance_of_categories_is_ginis() -> None:
    # Within a value of the first factor the first code has two of ten categories, whose numbers
    # may lie far apart.
    factors = classes(2, 5, 0)
    half = np.random.default_rng(1).integers(0, 2, COUNT)
    code = renamed((2 * factors[:, 0] + half)[:, None])[:, 0]
    codes = np.column_stack([code, factors[:, 1]])
    found = factor_vae_score(codes, factors, 400, 32, rng=0, categorical=[0])
    assert found == 1


def test_beta_vae_sees_whether_categories_differ() -> None:
    factors = classes(2, 3, 0)
    found = beta_vae_score(renamed(factors), factors, 400, 32, rng=0, categorical=range(2))
    assert found == 1


@pytest.mark.parametrize("origin", [0.0, 77.0, 180.0, 300.0])
def test_a_code_that_goes_all_the_way_round_is_perfect_wherever_the_circle_begins(
    origin: float,
) -> None:
    codes = uniform(2, 0)
    factors = np.column_stack([(180 * codes[:, 0] + origin) % 360, codes[:, 1]])
    found = scores(codes, factors, seed=0, bins=BINS, circular=[0])
    assert found["mig"] > 0.85  # ten bins of the code need not begin where those of the angle do
    # Ten classes; one of them may lie in two parts, of which the code finds one.
    assert 0.9 < found["sap"] <= 1
    for name in ("disentanglement", "completeness", "informativeness"):
        assert found[f"dci_{name}"] == pytest.approx(1, abs=0.01), name
    assert found["beta_vae"] == 1


def test_a_random_code_knows_nothing_of_a_circle() -> None:
    factors = np.random.default_rng(0).uniform(0, 360, (COUNT, 2))
    found = scores(uniform(3, 1), factors, seed=0, bins=BINS, circular=[0, 1])
    assert found["mig"] < 0.01
    assert found["sap"] < 0.03
    assert found["dci_informativeness"] < 0.02


def test_an_angle_within_an_arc_is_told_no_better_than_its_mean() -> None:
    angles = 22.5 * (uniform(1, 0) + 1)  # from 0 to 45 degrees: cosine and sine are not alike
    codes, half = uniform(1, 1), COUNT // 2
    found = dci(codes[:half], angles[:half], codes[half:], angles[half:], 0, circular=[0])
    assert found["informativeness"] < 0.02


def test_cosine_and_sine_tell_an_angle_together() -> None:
    angle, other = np.random.default_rng(0).uniform(0, 2 * np.pi, COUNT), uniform(1, 1)[:, 0]
    codes = np.column_stack([np.cos(angle), np.sin(angle), other])
    factors = np.column_stack([np.degrees(angle), other])
    found = scores(codes, factors, seed=0, bins=BINS, circular=[0])
    assert found["dci_informativeness"] > 0.98
    assert found["dci_disentanglement"] > 0.98
    # The angle is spread over two of three codes, the other factor has its own.
    expected = (1 - np.log(2) / np.log(3) + 1) / 2
    assert found["dci_completeness"] == pytest.approx(expected, abs=0.03)


@pytest.mark.usefixtures("few_groups", "few_trees")
def test_a_whole_turn_is_none() -> None:
    codes = uniform(2, 0)
    factors = np.column_stack([180 * (codes[:, 0] + 1), codes[:, 1]])
    turned = factors + np.column_stack(
        [360.0 * np.random.default_rng(0).integers(0, 2, COUNT), np.zeros(COUNT)]
    )
    first, again = (scores(codes, each, 0, circular=[0]) for each in (factors, turned))
    assert again == pytest.approx(first, abs=1e-4)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_order_and_sign_of_the_codes_do_not_matter(score: Score) -> None:
    factors = uniform(3, 0, 1000)
    codes = mix(factors) + 0.1 * uniform(3, 1, 1000)
    changed = codes[:, [2, 0, 1]] * np.array([-1, 1, -1])
    classes = binned(factors, 5)
    # A forest breaks ties at random, by position; all else is exact but for rounding.
    assert score(changed, classes) == pytest.approx(score(codes, classes), abs=0.02)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_constant_factors_are_left_out(score: Score) -> None:
    factors = binned(uniform(2, 0, 1000), 4)
    codes = factors + uniform(2, 1, 1000)
    constant = np.column_stack([np.full(1000, 3), factors])
    assert score(codes, constant) == pytest.approx(score(codes, factors), abs=1e-12)
    assert score(codes, constant[:, :1]) == 0


def with_constants(codes: np.ndarray) -> np.ndarray:
    """A column of zeros, and one whose rounding would tell everything."""
    return np.column_stack([codes, np.zeros(len(codes)), 0.1 + 1e-9 * codes.sum(axis=1)])


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_constant_codes_take_nothing_away(score: Score) -> None:
    factors = binned(uniform(2, 0, 1000), 4)
    expected = score(factors, factors)
    assert score(with_constants(factors), factors) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "chance"),
    [(name, 0) for name in SCORES if name not in {"beta_vae", "informativeness"}]
    + [("beta_vae", 1 / 2), ("informativeness", 1 / 4)],
)
def test_constant_codes_know_nothing(name: str, chance: float) -> None:
    factors = binned(uniform(2, 0, 1000), 4)
    found = SCORES[name](with_constants(factors)[:, 2:], factors)
    assert found == pytest.approx(chance, abs=0.06)


@pytest.mark.usefixtures("few_groups", "few_trees")
@pytest.mark.parametrize("codes", [1, 3])
@pytest.mark.parametrize("factors", [1, 3])
def test_scores_are_numbers_from_0_to_1_however_little_there_is(codes: int, factors: int) -> None:
    for dead_codes, dead_factors in itertools.product({0, 1, codes}, {0, 1, factors}):
        code, factor = uniform(codes, 0, 60), uniform(factors, 1, 60)
        code[:, :dead_codes], factor[:, :dead_factors] = 0.1, 0.1
        found = scores(code, factor, seed=0, bins=6)
        assert set(found) == KEYS
        assert all(0 <= value <= 1 for value in found.values())


@pytest.mark.usefixtures("few_groups", "few_trees")
def test_scores_depend_on_the_seed_and_on_nothing_else() -> None:
    factors = uniform(3, 0, 500)
    codes = mix(factors) + uniform(3, 1, 500)
    before = codes.copy(), factors.copy()
    first = scores(codes, factors, seed=1)
    assert scores(codes, factors, seed=1) == first
    other = scores(codes, factors, seed=2)
    assert {name for name in KEYS if other[name] != first[name]} == KEYS - {"mig", "sap"}
    assert np.array_equal(codes, before[0])
    assert np.array_equal(factors, before[1])
