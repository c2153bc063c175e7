"""Rank correlation of a value with the error rate, over utterances or within them, with an interval from few."""

import numpy as np
from scipy import stats

from overlap.estimates.bootstrap import check
from overlap.estimates.estimate import Estimate

_LARGEST = 1 - 1e-12  # Fisher's scale ends at 1
MOST_GROUPS = 200
"""More clusters than these are left out several at a time."""


def rank_correlation_within(
    x: np.ndarray, y: np.ndarray, clusters: np.ndarray, strata: np.ndarray, *, level: float, n_undefined: int = 0
) -> Estimate:
    """Spearman's ρ within strata, averaged over strata by their number of pairs with different y.

    The interval is Student's on Fisher's scale, atanh ρ, with a jackknife over clusters; with more than `MOST_GROUPS`
    of these, clusters are left out in so many groups. For few clusters it covers more than percentiles of a bootstrap
    (`tests/overlap/signal/test_signal_coverage.py`). If ρ does not vary, or one cluster decides whether it is defined,
    there is no interval.

    Args:
        x: ``[N]`` defined values.
        y: ``[N]`` defined values.
        clusters: ``[N]`` integers from 0.
        strata: ``[N]`` integers from 0.
        level: coverage, between 0 and 1.
        n_undefined: utterances that were left out.

    Returns:
        ρ; NaN where x or y is constant in every stratum. ``n_positions`` is the number of utterances in strata where
        both vary, ``n_groups`` that of their clusters.

    Raises:
        UserError: if the level is out of range.
    """
    check(level, 2)
    order = np.argsort(strata, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(strata[order])) + 1)
    rows = [part for part in rows if _correlated(x[part], y[part])[1] > 0]
    used = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    own = np.unique(clusters[used], return_inverse=True)[1]
    n_clusters = int(own.max(initial=-1)) + 1
    value = _average([_correlated(x[part], y[part]) for part in rows])
    error = low = high = np.nan
    groups = np.full(len(x), -1)
    groups[used] = own % MOST_GROUPS
    n_groups = min(n_clusters, MOST_GROUPS)
    if n_groups > 2:
        fisher = np.arctanh(np.clip(_without_each(x, y, groups, n_groups, rows), -_LARGEST, _LARGEST))
        spread = (n_groups - 1) / n_groups * np.square(fisher - fisher.mean()).sum()
        if spread > 0:  # not where a value is undefined
            middle = np.arctanh(np.clip(value, -_LARGEST, _LARGEST))
            reach = stats.t.ppf((1 + level) / 2, n_groups - 2) * np.sqrt(spread)
            error = float(np.sqrt(spread) * (1 - value**2))
            low, high = (float(end) for end in np.tanh([middle - reach, middle + reach]))
    return Estimate(value, error, low, high, len(used), n_clusters, n_undefined, level)


def _without_each(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, n_groups: int, rows: list[np.ndarray]
) -> np.ndarray:
    """ρ without each group ``[n_groups]``. A stratum is ranked anew only where the group has a part in it."""
    whole = [_correlated(x[part], y[part]) for part in rows]
    touched: list[list[int]] = [[] for _ in range(n_groups)]
    for number, part in enumerate(rows):
        for group in np.unique(groups[part]):
            touched[group].append(number)
    found = np.zeros(n_groups)
    sums = np.array([[weight * rho, weight] for rho, weight in whole]).sum(0)
    for group, numbers in enumerate(touched):
        kept = [rows[number][groups[rows[number]] != group] for number in numbers]
        replaced = [_correlated(x[part], y[part]) for part in kept]
        changed = [[weight * rho, weight] for rho, weight in replaced if weight]
        changed += [[-whole[number][0] * whole[number][1], -whole[number][1]] for number in numbers]
        total, weight = sums + np.sum(changed, axis=0)
        found[group] = total / weight if weight > 0 else np.nan
    return found


def _average(found: list[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in found)
    return sum(rho * weight for rho, weight in found) / total if total else np.nan


def _correlated(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Spearman's ρ, and the number of pairs with different y; (NaN, 0) where either is constant."""
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return np.nan, 0.0
    a, b = stats.rankdata(x), stats.rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    _, counts = np.unique(y, return_counts=True)
    pairs = (len(y) ** 2 - np.square(counts).sum()) / 2
    return float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum())), float(pairs)
