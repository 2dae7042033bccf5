"""What each code dimension knows about known factors of variation, as published scores.

Pure functions of arrays; nothing here draws, writes or trains the networks. In shapes: N images,
d code dimensions (say the means of Q(c|x)), f known factors, K values of a factor. Information is
in nats. Factors that are constant among the images are left out of every average, and code
dimensions that are constant know nothing; neither yields NaN or a warning. ``rng`` and ``seed``
may be an integer; a generator is drawn from, so its state moves on.

``categorical`` names the columns of codes that are categories, say argmax Q(c|x): their numbers
are names, so that no score depends on which is which. ``circular`` names the columns of factors
that are degrees of a full circle: no score depends, but for the edges of its bins, on where it
begins. Each score says what it makes of them. ``units`` (N,), numbered from 0, says what each
image shows, where one thing is seen in several: then images are not independent, but units are.
"""

from collections.abc import Collection, Sequence

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

Random = np.random.Generator | int
Columns = Collection[int]

# A spread below this share of the largest absolute value is float32 rounding, not a code.
RELATIVE_ROUNDING = 1e-6
# Angles closer than this share of a turn are one angle: adding an origin must not break their tie.
ANGLE_DECIMALS = 9

MAX_CLASSES = 20  # a factor of integers is a class label up to so many distinct values
TREES = 30
MAX_TRAINING_ROWS = 5000

# Of `scores` only: half of the groups to fit, half to judge.
GROUPS = 1600
GROUP_SIZE = 64
PAIRS = 64


# --- What varies, and how ------------------------------------------------------------------------


def varying(values: np.ndarray) -> np.ndarray:
    """Which columns are more than a constant and its rounding: (N, columns) -> bool (columns,)."""
    values = np.asarray(values, np.float64)
    rounding = RELATIVE_ROUNDING * np.abs(values).max(axis=0)
    return np.asarray((np.ptp(values, axis=0) > 0) & (values.std(axis=0) > rounding))


def is_discrete(factor: np.ndarray) -> bool:
    """Whether a factor (N,) is class labels: integers, in any dtype, and few distinct ones."""
    factor = np.asarray(factor)
    return bool(np.all(factor == np.round(factor))) and len(np.unique(factor)) <= MAX_CLASSES


def _labels(values: np.ndarray) -> np.ndarray:
    """Any values (N,) numbered 0 … K - 1 in their order, so that they can be counted."""
    return np.unique(np.asarray(values), return_inverse=True)[1].reshape(-1)


def discretise(values: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each value: (N,) -> ints (N,), numbered from 0 in the values' order.

    Bins hold equal numbers of values (quantiles), so a monotone transform changes nothing. Equal
    values share a bin, and at most ``bins`` distinct values stay as they are.
    """
    labels = _labels(values)
    if labels.max() < bins:
        return labels
    twice_rank = np.round(2 * rankdata(values)).astype(np.int64)  # mid-ranks are halves: exact
    return _labels((twice_rank - 1) * bins // (2 * len(labels)))


def _discretised(values: np.ndarray, bins: int, categorical: Columns = ()) -> np.ndarray:
    """Every column by itself, categories as they are: (N, columns) -> ints (N, columns)."""
    columns = [
        _labels(column) if place in categorical else discretise(column, bins)
        for place, column in enumerate(np.asarray(values).T)
    ]
    return np.stack(columns, axis=1)


def _representations(codes: np.ndarray, categorical: Columns) -> list[np.ndarray]:
    """What a linear model can read of each code: (N, d) -> d of (N, 1) or, one-hot, (N, K).

    Zeros of a code that is constant.
    """
    found = []
    for place, varies in enumerate(varying(codes)):
        labels = _labels(codes[:, place])
        one_hot = varies and place in categorical
        found.append(np.eye(labels.max() + 1)[labels] if one_hot else varies * codes[:, [place]])
    return found


def _side_by_side(representations: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All columns (N, W), and where those of each code begin (d,), as `np.add.reduceat` wants."""
    widths = [each.shape[1] for each in representations]
    return np.hstack(representations), np.cumsum([0, *widths[:-1]])


def _shuffled(
    factor: np.ndarray, units: np.ndarray | None, random: np.random.Generator
) -> np.ndarray:
    """A factor (N,) dealt anew: among images, or among units if it is the same all over each."""
    if units is not None:
        of_unit = factor[np.unique(units, return_index=True)[1]]
        if np.array_equal(of_unit[units], factor):
            return np.asarray(random.permutation(of_unit)[units])
    return random.permutation(factor)


def _halves(
    count: int, units: np.ndarray | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of ``count`` rows, or of the units, none of which is in both."""
    if units is None:
        first, second = np.array_split(random.permutation(count), 2)
        return first, second
    chosen = np.isin(units, np.array_split(random.permutation(units.max() + 1), 2)[0])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


# --- Ranks ---------------------------------------------------------------------------------------


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Mid-ranks along the first axis, less their mean; all 0, exactly, for a constant."""
    return np.asarray(rankdata(values, axis=0) - (len(values) + 1) / 2)


def rank_correlation(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Absolute Spearman correlation of each code with each factor: (N, d), (N, f) -> (d, f).

    Spearman 1904, "The Proof and Measurement of Association between Two Things", with mid-ranks
    for ties. 1: each is a monotone function of the other. 0: no monotone trend, or one of them is
    constant. Independent: about 1 / sqrt(N).
    """
    columns = []
    for values in (codes, factors):
        ranks = _centred_ranks(values) * varying(values)
        length = np.linalg.norm(ranks, axis=0)
        columns.append(ranks / np.where(length > 0, length, 1))
    return np.asarray(np.minimum(np.abs(columns[0].T @ columns[1]), 1))


def _largest_resultant_squared(count: int) -> float:
    """1 / a_n of Mardia 1976: T_c^2 + T_s^2 of ranks that rise and fall once round the circle."""
    angle = np.pi / count
    if count % 2:
        return float((1 + np.cos(angle)) ** 3 / (2 * np.sin(angle) ** 4))
    cotangent = 1 / np.tan(angle)
    return float(1 + 5 * cotangent**2 + 4 * cotangent**4)


def circular_rank_correlation(code: np.ndarray, angle_radians: np.ndarray) -> float:
    """Rank correlation of a code with an angle that wraps: (N,), (N,) -> [0, 1].

    The square root of D_n of Mardia 1976, "Linear-Circular Correlation Coefficients and
    Rhythmometry"; the root, so that it is on the scale of a correlation. Monotone transforms of
    the code, its sign, and the origin and sense of the angle change nothing. 1: the code rises
    and falls once round the circle, as a cosine does. pi / 4: it rises monotonely all the way
    round and jumps back. 0: no first harmonic, which a code that repeats itself twice a turn has
    not either, or one of them constant. Independent: about 1.4 / sqrt(N).

    Only the order of the angles counts: for angles confined to an arc, whose ends should not meet,
    use `rank_correlation`.
    """
    count = len(code)
    if not varying(np.asarray(code)[:, None])[0]:
        return 0.0
    turns = np.round(np.asarray(angle_radians, np.float64) / (2 * np.pi) % 1, ANGLE_DECIMALS) % 1
    # Centring is no change without ties; with ties among the angles it keeps a code that is
    # independent of them at 0.
    resultant = _centred_ranks(code) @ np.exp(2j * np.pi * rankdata(turns) / count)
    return float(min(np.abs(resultant) / np.sqrt(_largest_resultant_squared(count)), 1))


def permutation_correlation(
    codes: np.ndarray,
    factor: np.ndarray,
    permutations: int,
    rng: Random,
    units: np.ndarray | None = None,
    circular: bool = False,
) -> np.ndarray:
    """Correlation of codes (N, d) with a factor (N,) independent of all: (permutations, d).

    That of `rank_correlation`, or for a factor in degrees of `circular_rank_correlation`, with the
    factor shuffled as in `permutation_information`.
    """
    if codes.shape[1] == 0:
        return np.empty((permutations, 0))
    random = np.random.default_rng(rng)
    shuffled = [_shuffled(factor, units, random) for _ in range(permutations)]
    if not circular:
        return rank_correlation(codes, np.stack(shuffled, axis=1)).T
    return np.array(
        [
            [circular_rank_correlation(code, np.radians(each)) for code in codes.T]
            for each in shuffled
        ]
    )


# --- Information ---------------------------------------------------------------------------------


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Plug-in estimate of I(a; b) in nats, of integers: (N,), (N,) -> [0, min(H(a), H(b))].

    The information of the empirical distribution (Cover & Thomas 2006, "Elements of Information
    Theory", section 2.3); of a with itself, its entropy. It is biased upwards, under independence
    by about (K_a - 1)(K_b - 1) / 2N (Miller 1955): see `permutation_information`.
    """
    return _information(_labels(a), _labels(b))


def _information(rows: np.ndarray, columns: np.ndarray) -> float:
    """`mutual_information` of labels, numbered from 0."""
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    counts = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    joint = counts.reshape(shape) / len(rows)
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    seen = joint > 0
    information = np.sum(joint[seen] * np.log(joint[seen] / independent[seen]))
    return max(float(information), 0.0)  # rounding can leave -1e-17


def permutation_information(
    codes: Sequence[np.ndarray],
    factor: np.ndarray,
    permutations: int,
    rng: Random,
    units: np.ndarray | None = None,
) -> np.ndarray:
    """`mutual_information` of each code with a factor independent of all: (permutations, d).

    The factor is shuffled against the codes, (N,) each, which keeps N and how the codes hang
    together (a permutation test: Good 2005, "Permutation, Parametric and Bootstrap Tests of
    Hypotheses"); a factor that is the same in all images of a unit is shuffled among units. An
    estimate below the 95th percentile of a column is no evidence that this code knows anything of
    the factor; the best of several codes must pass that of the rows' maxima.
    """
    random = np.random.default_rng(rng)
    labels = [_labels(code) for code in codes]  # once, since to sort is what takes long
    of_factor = _labels(factor)
    shuffled = (_shuffled(of_factor, units, random) for _ in range(permutations))
    return np.array([[_information(code, each) for code in labels] for each in shuffled])


def _mean_gap(table: np.ndarray) -> float:
    """Best less second-best code of each factor, averaged: (d, f), none negative -> a number.

    The second-best of a single code is 0. No factor: 0.
    """
    if table.shape[1] == 0:
        return 0.0
    best = np.sort(np.vstack([table, np.zeros(table.shape[1])]), axis=0)
    return float(np.mean(best[-1] - best[-2]))


def mig(
    codes: np.ndarray, factors: np.ndarray, bins: int = 20, categorical: Columns = ()
) -> float:
    """Mutual information gap: codes (N, d), factors as integers (N, f) -> [0, 1].

    Chen, Li, Grosse & Duvenaud 2018, "Isolating Sources of Disentanglement in VAEs", eq. 6: the
    information that the best code has on a factor less that of the second-best, over the factor's
    entropy. Codes are cut into ``bins`` of equal mass, categories stay as they are; the paper
    integrates over Q(z|x) instead.
    1: of each factor one code knows everything and no other anything. 0: no code knows it, or the
    two best know as much.
    """
    factors = np.asarray(factors)[:, varying(factors)]
    binned = _discretised(codes, bins, categorical) * varying(codes)
    table = np.zeros((binned.shape[1], factors.shape[1]))
    for k, factor in enumerate(factors.T):
        entropy = mutual_information(factor, factor)
        table[:, k] = [mutual_information(code, factor) / entropy for code in binned.T]
    return _mean_gap(table)


# --- Disentanglement, completeness, informativeness ----------------------------------------------


def disentanglement(importance: np.ndarray) -> float:
    """D of an importance matrix, codes by factors: (d, f), none negative -> [0, 1].

    Eastwood & Williams 2018, "A Framework for the Quantitative Evaluation of Disentangled
    Representations", section 2: 1 less the entropy, in base f, of a code's importances, averaged
    over codes weighted by their share of all importance. 1: every code that matters does so for
    one factor. 0: for all alike, or no code matters. With one factor, 1.
    """
    shares = importance.sum(axis=1)
    if shares.sum() == 0:
        return 0.0
    used = importance[shares > 0]
    distribution = used / used.sum(axis=1, keepdims=True)
    logarithms = np.log(np.where(distribution > 0, distribution, 1))
    entropy = -(distribution * logarithms).sum(axis=1) / np.log(max(importance.shape[1], 2))
    return float(np.clip(np.average(1 - entropy, weights=shares[shares > 0]), 0, 1))


def completeness(importance: np.ndarray) -> float:
    """C of an importance matrix, codes by factors: (d, f), none negative -> [0, 1].

    Eastwood & Williams 2018, section 2, as `disentanglement` with codes and factors exchanged:
    entropies in base d. Factors have equal weight where columns sum to 1, as those of `dci` do.
    1: each factor is told by one code. 0: by all alike, or by none. With one code, 1.
    """
    return disentanglement(importance.T)


def _forest(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    seed: int,
    circular: bool,
) -> tuple[np.ndarray, float]:
    """Importance (W,), summing to 1 or all 0, and held-out accuracy or R^2, of one factor."""
    classes = is_discrete(np.concatenate([train[1], test[1]]))
    if circular and not classes:
        train, test = ((columns, _on_circle(factor)) for columns, factor in (train, test))
    kind = RandomForestClassifier if classes else RandomForestRegressor
    # Every split sees all codes: choosing among a few at random would force splits on codes that
    # know nothing, and so importance. Leaves of 5 keep a forest from splitting on noise.
    forest = kind(TREES, max_features=None, min_samples_leaf=5, random_state=seed)
    predicted = forest.fit(*train).predict(test[0])
    if classes:
        return forest.feature_importances_, float(np.mean(predicted == test[1]))
    unexplained = np.sum((predicted - test[1]) ** 2)
    unexplained /= np.sum((test[1] - test[1].mean(axis=0)) ** 2)
    return forest.feature_importances_, max(1 - float(unexplained), 0.0)


def _on_circle(degrees: np.ndarray) -> np.ndarray:
    """Points of the unit circle: (N,) -> (N, 2)."""
    radians = np.radians(np.asarray(degrees, np.float64))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def dci(
    codes_train: np.ndarray,
    factors_train: np.ndarray,
    codes_test: np.ndarray,
    factors_test: np.ndarray,
    seed: int,
    categorical: Columns = (),
    circular: Columns = (),
) -> dict[str, float]:
    """``disentanglement``, ``completeness`` and ``informativeness``, each in [0, 1].

    Codes (N, d) and factors (N, f) of two disjoint sets of images. Eastwood & Williams 2018, "A
    Framework for the Quantitative Evaluation of Disentangled Representations", section 2. The
    importances are those of a random forest a factor, fitted on at most 5,000 training images.
    Informativeness, averaged over factors, is measured on the test images: 1 is perfect. The paper
    gives the error; here it is R^2, no less than 0, which is 0 for a code that knows nothing, and
    of factors that are class labels (`is_discrete`) the accuracy, whose chance is the share of the
    most frequent class. Of a circular factor, cosine and sine are told together, with one R^2.
    Forests see a categorical code one-hot; its importance is the sum of its columns'.

    Importances sum to 1 however little a forest explains: read the other two only where
    informativeness is above chance.
    """
    chosen = np.random.default_rng(seed).permutation(len(codes_train))[:MAX_TRAINING_ROWS]
    known = varying(factors_train[chosen]) & varying(factors_test)
    if not known.any():
        return dict.fromkeys(("disentanglement", "completeness", "informativeness"), 0.0)
    active = varying(codes_train[chosen])
    both = np.concatenate([codes_train[chosen], codes_test]) * active
    columns, starts = _side_by_side(_representations(both, categorical))
    train, test = np.split(columns, [len(chosen)])
    found = [
        _forest((train, factors_train[chosen, k]), (test, factors_test[:, k]), seed, k in circular)
        for k in np.flatnonzero(known)
    ]
    importance = np.stack([np.add.reduceat(column, starts) for column, _ in found], axis=1)
    return {
        "disentanglement": disentanglement(importance),
        "completeness": completeness(importance),
        "informativeness": float(np.mean([score for _, score in found])),
    }


# --- Predictability by a single code -------------------------------------------------------------


def _balanced_accuracy(code: np.ndarray, factor: np.ndarray) -> float:
    """Balanced accuracy of telling a factor's K classes by one code: (N, w), (N,) -> [0, 1]."""
    leaves = max(len(np.unique(factor)), code.shape[1])  # a class may have several categories
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
    return float(balanced_accuracy_score(factor, tree.fit(code, factor).predict(code)))


def sap(
    codes: np.ndarray,
    factors: np.ndarray,
    bins: int = 20,
    categorical: Columns = (),
    circular: Columns = (),
) -> float:
    """Separated attribute predictability: codes (N, d), factors (N, f) -> [0, 1].

    Kumar, Sattigeri & Balakrishnan 2018, "Variational Inference of Disentangled Latent Concepts
    from Unlabeled Observations", section 3: how well the best single code predicts a factor less
    how well the second-best does. Of a continuous factor, R^2 of a straight line; of one with K
    classes (`is_discrete`) the balanced accuracy, fitted and judged on the same images, of K - 1
    thresholds on the code, not of the paper's linear SVM, one class against the rest: there a
    class between two others has no threshold of its own, so that even a perfect code would be far
    from 1 where K > 3. A circular factor is cut into ``bins`` of equal mass, its classes, since no
    straight line runs round a circle. Of a categorical code the line is the mean of each category,
    and the thresholds are the categories, each telling one class.

    1: one code predicts each factor and the others predict nothing. A code that is constant
    scores 0, any other at least chance, 1 / K: classes have a gap of at most 1 - 1 / K as soon as
    two codes vary. 0: no code predicts better than the next.
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors)
    known = np.flatnonzero(varying(factors))
    table = np.zeros((codes.shape[1], len(known)))
    representations = _representations(codes, categorical)
    for column, k in enumerate(known):
        factor, classes = factors[:, k], is_discrete(factors[:, k])
        if k in circular and not classes:
            factor, classes = discretise(factor, bins), True
        for i in np.flatnonzero(varying(codes)):
            code = representations[i]
            if classes:
                table[i, column] = _balanced_accuracy(code, factor)
            else:
                table[i, column] = LinearRegression().fit(code, factor).score(code, factor)
    return _mean_gap(table)


# --- Scores that hold one factor fixed -----------------------------------------------------------


def _blocks(factor: np.ndarray, smallest: int) -> list[np.ndarray]:
    """Rows that share a value, one array a value, of values that occur often enough."""
    labels = _labels(factor)
    ends = np.cumsum(np.bincount(labels))[:-1]
    blocks = np.split(np.argsort(labels, kind="stable"), ends)
    return [rows for rows in blocks if len(rows) >= smallest]


def _fixable(factors: np.ndarray, size: int) -> list[list[np.ndarray]]:
    """`_blocks` of every factor that varies and can be held fixed.

    Values that occur ``size`` times; where a factor has none, those that occur twice.
    """
    factors = np.asarray(factors)[:, varying(factors)]
    candidates = [_blocks(factor, size) or _blocks(factor, 2) for factor in factors.T]
    return [blocks for blocks in candidates if blocks]


def _fixable_in_both(
    factors: np.ndarray, halves: tuple[np.ndarray, np.ndarray]
) -> list[tuple[list[np.ndarray], ...]]:
    """`_blocks` of at least two rows, of each half, of every factor that has some in both."""
    known = factors[:, varying(factors)]
    candidates = [
        tuple([rows[block] for block in _blocks(factor[rows], 2)] for rows in halves)
        for factor in known.T
    ]
    return [blocks for blocks in candidates if all(blocks)]


def _group(blocks: Sequence[np.ndarray], size: int, random: np.random.Generator) -> np.ndarray:
    """Rows (size,) of one value, drawn as often as it occurs; repeated if it has fewer rows."""
    counts = np.array([len(rows) for rows in blocks])
    rows = blocks[random.choice(len(blocks), p=counts / counts.sum())]
    return random.choice(rows, size, replace=len(rows) < size)


def factor_vae_score(
    codes: np.ndarray,
    factors: np.ndarray,
    groups: int,
    group_size: int,
    rng: Random,
    categorical: Columns = (),
) -> float:
    """FactorVAE's metric: codes (N, d), factors as integers (N, f) -> [0, 1].

    Kim & Mnih 2018, "Disentangling by Factorising", section 4: images that share the value of one
    factor vote for the code that varies least among them, relative to its spread over all images;
    a majority vote of half of the groups names the factor of each code, and the score is the
    accuracy on the other half. 1: the stillest code tells which factor was held still. 1 / f:
    chance. 0: no code varies. A code without a vote in the first half is wrong in the second.
    The variance of a categorical code is Gini's, 1 less the sum of its squared shares: that of its
    one-hot vector.

    Groups come from the given images and values as often as they occur, without repetition unless
    no value of a factor occurs ``group_size`` times; then from values that occur twice at least,
    with repetition.
    """
    random = np.random.default_rng(rng)
    fixable = _fixable(factors, group_size)
    codes = np.asarray(codes, np.float64)
    columns, starts = _side_by_side(_representations(codes, categorical))

    def spread(rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.add.reduceat(rows.var(axis=0), starts))

    whole = spread(columns)
    if not fixable or not whole.any():
        return 0.0
    whole[whole == 0] = np.nan  # a constant is nobody's vote
    fixed = random.integers(len(fixable), size=groups)
    groups_of_rows = (columns[_group(fixable[k], group_size, random)] for k in fixed)
    stillest = np.array([np.nanargmin(spread(rows) / whole) for rows in groups_of_rows])
    half = groups // 2
    votes = np.zeros((codes.shape[1], len(fixable)), np.int64)
    np.add.at(votes, (stillest[:half], fixed[:half]), 1)
    named = np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
    return float(np.mean(named[stillest[half:]] == fixed[half:]))


def _pairs(
    blocks: Sequence[np.ndarray], count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two different rows of one value, (count,) each; every row is as likely to be the first."""
    lengths = np.array([len(rows) for rows in blocks])
    sizes = np.repeat(lengths, lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = np.concatenate(blocks)
    first = random.integers(len(rows), size=count)
    size, start = sizes[first], starts[first]
    second = start + (first - start + random.integers(1, size)) % size
    return rows[first], rows[second]


def beta_vae_score(
    codes: np.ndarray,
    factors: np.ndarray,
    groups: int,
    pairs: int,
    rng: Random,
    categorical: Columns = (),
    units: np.ndarray | None = None,
) -> float:
    """beta-VAE's metric: codes (N, d), factors as integers (N, f) -> [0, 1].

    Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
    Framework", section 3: the differences |z1 - z2| of pairs of images that share the value of one
    factor, averaged over the ``pairs`` of a group; a linear classifier, here logistic regression
    on standardised differences, tells which factor it was. Fitted on half of the groups, of one
    half of the images; the score is the accuracy on the other half of the groups, of the other
    images, since among few images it would know each pair again. 1: always right. 1 / f: chance.
    Mixed codes can score 1 too: it asks for a linear trace of each factor, not for a code of its
    own. 0: no factor can be held fixed in both halves. Categories either differ or do not.
    """
    random = np.random.default_rng(rng)
    halves = _halves(len(codes), units, random)
    fixable = _fixable_in_both(np.asarray(factors), halves)
    if not fixable:
        return 0.0
    codes = np.asarray(codes, np.float64)
    columns, starts = _side_by_side(_representations(codes, categorical))
    fixed = random.integers(len(fixable), size=groups)
    differences = np.zeros((groups, codes.shape[1]))
    half = groups // 2
    for group, k in enumerate(fixed):
        first, second = _pairs(fixable[k][int(group >= half)], pairs, random)
        apart = np.abs(columns[first] - columns[second]).mean(axis=0)
        differences[group] = np.add.reduceat(apart, starts)
    if len(np.unique(fixed[:half])) < 2:  # nothing to tell apart
        return float(np.mean(fixed[half:] == fixed[0]))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(differences[:half], fixed[:half])
    return float(classifier.score(differences[half:], fixed[half:]))


# --- All of them ---------------------------------------------------------------------------------


def scores(
    codes: np.ndarray,
    factors: np.ndarray,
    seed: int,
    bins: int = 20,
    categorical: Columns = (),
    circular: Columns = (),
    units: np.ndarray | None = None,
) -> dict[str, float]:
    """Every score of codes (N, d) on factors (N, f), each in [0, 1]; the same for the same seed.

    Keys: mig, dci_disentanglement, dci_completeness, dci_informativeness, sap, factor_vae,
    beta_vae. For MIG, FactorVAE and beta-VAE a factor of more than ``bins`` distinct values is cut
    into ``bins`` of equal mass: the table of images is finite, so "one factor held fixed" means
    "within one bin". DCI sees the factors as they are, and SAP all but the circular ones. DCI is
    fitted on one random half of the images, or of the units, and judged on the other; so is
    beta-VAE. That little is known of few units no score can mend: where the units are few, each
    factor that is the same all over a unit holds the unit still, and so all others of this kind.
    """
    codes, factors = np.asarray(codes, np.float64), np.array(factors, np.float64)
    factors[:, list(circular)] %= 360
    splitting, grouping, pairing = np.random.default_rng(seed).spawn(3)
    train, test = _halves(len(codes), units, splitting)
    halves = (codes[train], factors[train], codes[test], factors[test])
    trees = dci(*halves, seed, categorical, circular)
    classes = _discretised(factors, bins)
    return {
        "mig": mig(codes, classes, bins, categorical),
        **{f"dci_{name}": value for name, value in trees.items()},
        "sap": sap(codes, factors, bins, categorical, circular),
        "factor_vae": factor_vae_score(codes, classes, GROUPS, GROUP_SIZE, grouping, categorical),
        "beta_vae": beta_vae_score(codes, classes, GROUPS, PAIRS, pairing, categorical, units),
    }
