"""Rank correlation: its value against scipy, its standard error against the jackknife over clusters."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overlap.errors import UserError
from overlap.weights.rank_correlation import spearman


def drawn(seed, n_clusters, levels=None, shared=1.0):
    """Positions of clusters of 3 to 12, correlated within them; few levels make ties."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), rng.integers(3, 13, n_clusters))
    common = shared * rng.normal(size=(2, n_clusters))[:, clusters]
    x = common[0] + rng.normal(size=len(clusters))
    y = 0.5 * x + common[1] + rng.normal(size=len(clusters))
    if levels:
        x, y = (np.floor(levels * stats.norm.cdf(value / 1.5)) for value in (x, y))
    return x, y, clusters


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 12), levels=st.sampled_from([None, 2, 5]))
def test_the_value_is_scipys(seed, n, levels):
    x, y, clusters = drawn(seed, n, levels)
    found = spearman(x, y, clusters)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found.value)
        return
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert (found.n_positions, found.n_groups, found.n_undefined) == (len(x), n, 0)
    assert math.isnan(found.low) or -1 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("levels", [None, 2, 6])
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_the_standard_error_is_about_the_jackknifes(levels, shared):
    """Leaving out one cluster at a time, with all ranks made anew."""
    x, y, clusters = drawn(5, 80, levels, shared)
    left = [stats.spearmanr(x[clusters != one], y[clusters != one]).statistic for one in range(80)]
    jackknife = math.sqrt(79 / 80 * np.square(np.array(left) - np.mean(left)).sum())
    assert spearman(x, y, clusters).standard_error == pytest.approx(jackknife, rel=0.03)


def test_monotone_transforms_and_the_order_of_positions_change_nothing():
    x, y, clusters = drawn(7, 20, 6)
    there = spearman(x, y, clusters)
    assert spearman(np.exp(x), y**3, clusters) == pytest.approx(there)
    order = np.random.default_rng(0).permutation(len(x))
    turned = spearman(x[order], y[order], clusters[order])
    assert (turned.value, turned.low) == (pytest.approx(there.value), pytest.approx(there.low))
    assert spearman(y, x, clusters).standard_error == pytest.approx(there.standard_error)
    mirrored = spearman(-x, y, clusters)
    assert (mirrored.value, mirrored.low) == (pytest.approx(-there.value), pytest.approx(-there.high))


def test_undefined_positions_are_left_out_and_counted():
    x, y, clusters = drawn(7, 20)
    x[3], y[10] = math.nan, math.nan
    found, keep = spearman(x, y, clusters), ~(np.isnan(x) | np.isnan(y))
    assert found.value == spearman(x[keep], y[keep], clusters[keep]).value
    assert (found.n_positions, found.n_undefined) == (len(x) - 2, 2)


@pytest.mark.parametrize(
    ("x", "y", "clusters", "value"),
    [
        ([1, 1, 1], [1, 2, 3], [0, 1, 2], math.nan),
        ([1], [1], [0], math.nan),
        ([], [], [], math.nan),
        ([1, 2, 3], [2, 4, 6], [0, 1, 2], 1.0),
        ([1, 2, 3], [3, 2, 1], [0, 1, 2], -1.0),
        ([1, 2, 3, 4], [1, 3, 2, 4], [0, 0, 0, 0], 0.8),
        ([1, 2, 3, 4], [1, 3, 2, 4], [0, 1, 2, 3], 0.8),
        ([1, 2, 3, 4] * 12, [1, 3, 2, 4] * 12, [i // 4 for i in range(48)], 0.8),
        ([1] + [0] * 39, [0] * 20 + [1] * 20, list(range(40)), -math.sqrt(1 / 39)),
    ],
)
def test_no_interval_where_nothing_says_how_wide(x, y, clusters, value):
    found = spearman(*(np.array(one, dtype=np.float64) for one in (x, y)), np.array(clusters, dtype=np.int64))
    assert found.value == pytest.approx(value, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_wrong_arguments_are_named():
    one, two = np.zeros(3), np.zeros(2)
    with pytest.raises(UserError, match=r"spearman: expected three of one length, received \(3,\), \(2,\) and \(3,\)"):
        spearman(one, two, one)
    with pytest.raises(UserError, match="level: expected a coverage between 0 and 1"):
        spearman(one, one, one, level=95)
