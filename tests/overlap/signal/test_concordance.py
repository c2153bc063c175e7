"""AUROC and its interval, against loops over pairs, scikit-learn and the formulas written out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from overlap.errors import UserError
from overlap.signal.concordance import Concordance
from tests.overlap.signal.samples import binormal, rollouts


def compared(values, right, clusters=None, strata=None):
    n = len(values)
    clusters = np.arange(n) if clusters is None else np.asarray(clusters)
    strata = np.zeros(n, dtype=int) if strata is None else np.asarray(strata)
    return Concordance.from_values(np.asarray(values, float), np.asarray(right, bool), clusters, strata)


def by_pairs(values, right, strata):
    """Share and number of pairs, one after another."""
    won = [
        1.0 if values[i] > values[j] else 0.5 if values[i] == values[j] else 0.0
        for i, j in itertools.product(np.flatnonzero(right), np.flatnonzero(~right))
        if strata[i] == strata[j]
    ]
    return math.fsum(won) / len(won) if won else math.nan, len(won)


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_share_of_pairs(seed, n, strata, ties):
    generator = np.random.default_rng(seed)
    values, right = generator.normal(size=n), generator.random(n) < 0.5
    values = np.round(values) if ties else values
    within = generator.integers(strata, size=n)
    found = compared(values, right, strata=within)
    share, pairs = by_pairs(values, right, within)
    assert found.value == pytest.approx(share, nan_ok=True)
    assert found.pairs.sum() == pairs
    if strata == 1 and 0 < right.sum() < n:
        assert found.value == pytest.approx(roc_auc_score(right, values))


def test_variance_between_clusters_is_that_of_delong_and_obuchowski():
    """DeLong's variance with its structural components, here summed over speakers, each step written out.

    Obuchowski lets pairs of one speaker count in both members' components; they count by halves here.
    """
    values, right, own = binormal(np.random.default_rng(2), 60, 0.7, speakers=12)
    good, bad = values[right], values[~right]
    share = roc_auc_score(right, values)
    by_speaker = np.zeros(12)
    for side, mine, others, sign in ((right, good, bad, 1), (~right, bad, good, -1)):
        several = len(set(own[side]))
        for speaker, value in zip(own[side], mine, strict=True):
            component = math.fsum(
                (0.5 if speaker == another else 1.0) * ((np.sign(sign * (value - other)) + 1) / 2 - share)
                for another, other in zip(own[~side], others, strict=True)
            )
            by_speaker[speaker] += component / (len(mine) * len(others)) * math.sqrt(several / (several - 1))
    found = compared(values, right, own)
    m, n = len(good), len(bad)
    assert found.inflation * found.variance(found.value) == pytest.approx((by_speaker**2).sum())
    assert found.inflation > 1
    # Hanley & McNeil's variance with the mean of both sizes, as Newcombe has it.
    q1, q2, both = share / (2 - share), 2 * share**2 / (1 + share), (m + n) / 2
    expected = share * (1 - share) + (both - 1) * (q1 - share**2) + (both - 1) * (q2 - share**2)
    assert found.variance(share) == pytest.approx(expected / (m * n))


def test_pairs_of_one_against_one_are_a_binomial():
    """Two rollouts each, one right: the share is that of utterances, and so is its variance."""
    values = np.array([1.0, 0.0] * 30 + [0.0, 1.0] * 10)
    found = compared(values, [True, False] * 40, np.arange(80) // 2, np.arange(80) // 2)
    assert found.value == 0.75
    assert found.variance(0.6) == pytest.approx(0.6 * 0.4 / 40)
    assert found.n_clusters == 40
    low, high = (found.estimate(0.95).low, found.estimate(0.95).high)
    wilson = stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=0.012)  # Student's quantile is a little more


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("auroc", [0.5, 0.9])
def test_ends_are_where_the_p_value_is_one_minus_the_level(auroc, level):
    values, right, own = binormal(np.random.default_rng(4), 50, auroc)
    found = compared(values, right, own)
    one = found.estimate(level)
    assert one.low < one.value < one.high
    assert found.p_value(one.low) == pytest.approx(1 - level, abs=1e-6)
    assert found.p_value(one.high) == pytest.approx(1 - level, abs=1e-6)
    assert found.p_value(one.value) == pytest.approx(1.0)


def test_p_value_is_near_that_of_a_rank_test():
    values, right, own = binormal(np.random.default_rng(8), 300, 0.58)
    theirs = stats.mannwhitneyu(values[right], values[~right], method="asymptotic").pvalue
    assert compared(values, right, own).p_value(0.5) == pytest.approx(theirs, rel=0.3)


def test_perfect_separation_leaves_room_below_and_less_for_more():
    lows = []
    for n in (3, 6, 20, 200):
        one = compared(np.arange(2 * n), np.arange(2 * n) >= n).estimate(0.95)
        assert (one.value, one.high) == (1.0, 1.0)
        lows.append(one.low)
    assert lows == sorted(lows)
    assert lows[0] < 0.5 < 0.8 < lows[2]
    zero = compared(-np.arange(40.0), np.arange(40) >= 20).estimate(0.95)
    assert (zero.low, zero.high) == pytest.approx((0.0, 1 - lows[2]))


def test_one_more_pair_in_order_never_lowers_the_interval():
    right = np.arange(20) >= 10
    ends = []
    for swapped in range(4):
        values = np.arange(20.0)
        values[9] += swapped  # the best of the wrong ones, above so many right ones
        one = compared(values, right).estimate(0.95)
        ends.append((one.low, one.high))
    assert ends == sorted(ends, reverse=True)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_order_names_and_monotone_transforms_do_not_matter(seed):
    generator = np.random.default_rng(seed)
    values, right, own = binormal(generator, 30, 0.7, speakers=6)
    plain = compared(values, right, own)
    order = generator.permutation(30)
    for other in (
        compared(values[order], right[order], own[order]),
        compared(np.exp(values / 3), right, own),
        compared(values, right, generator.permutation(6)[own]),
    ):
        assert other.estimate(0.95) == plain.estimate(0.95) or vars(other.estimate(0.95)) == pytest.approx(
            vars(plain.estimate(0.95)), nan_ok=True
        )
    turned, one = compared(-values, right, own).estimate(0.95), plain.estimate(0.95)
    assert (turned.value, turned.low, turned.high) == pytest.approx(
        (1 - one.value, 1 - one.high, 1 - one.low), nan_ok=True
    )


def test_infinite_values_are_ranked():
    found = compared([-math.inf, -1.0, -1.0, math.inf], [False, False, True, True])
    assert found.value == pytest.approx(3.5 / 4)


@pytest.mark.parametrize("right", [[True] * 4, [False] * 4])
def test_undefined_without_both(right):
    found = compared(np.arange(4), right)
    one = found.estimate(0.95, 3)
    assert math.isnan(one.value)
    assert math.isnan(one.low)
    assert math.isnan(found.p_value(0.5))
    assert (one.n_positions, one.n_groups, one.n_undefined) == (0, 0, 3)
    empty = compared(np.zeros(0), np.zeros(0, bool)).estimate(0.95)
    assert math.isnan(empty.value)


def test_a_single_cluster_has_a_value_and_no_interval():
    values, right, _ = rollouts(np.random.default_rng(0), 1, 12, 1.0)
    one = compared(values, right, np.zeros(12, int)).estimate(0.95)
    assert 0 <= one.value <= 1
    assert math.isnan(one.low)


def test_a_level_out_of_range():
    with pytest.raises(UserError, match="level: expected a coverage between 0 and 1"):
        compared(np.arange(4), [True, False, True, False]).estimate(95)
