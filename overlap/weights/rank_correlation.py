"""Spearman's rank correlation of positions, with an interval over the clusters that they belong to."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from overlap.errors import UserError
from overlap.estimates.estimate import Estimate

FEWEST_CLUSTERS = 10
"""Least effective number of clusters in the variance of either's ranks for an interval, (Σ s)² / Σ s² of its sums s."""


def spearman(x: np.ndarray, y: np.ndarray, clusters: np.ndarray, *, level: float = 0.95) -> Estimate:
    """Spearman's ρ with ties at their middle rank, and its interval over clusters.

    The interval is that of Fisher's atanh ρ with quantiles of Student's t. The standard error sums each cluster's
    influence on ρ to first order, in which the ranks move as well as the values: it does not take positions of a
    cluster as independent. Degrees of freedom are 2G / (κ − 1) with κ the kurtosis of the G influences, at most G − 1,
    which is what a variance of such numbers has. Where a value differs from the rest in few clusters, so that the
    others hardly count, what has not been seen could change ρ by more than any such interval: there is none below
    `FEWEST_CLUSTERS`. `tests/overlap/weights/test_coverage.py` measures coverage.

    Args:
        x: ``[n]``; positions where either is NaN are left out and counted.
        y: ``[n]``.
        clusters: ``[n]`` numbers of the clusters.
        level: coverage, between 0 and 1.

    Returns:
        NaN where one of the two is constant; no interval at ±1, where clusters are all alike, or too few count.

    Raises:
        UserError: the lengths differ, or the level is out of range.
    """
    if not (x.shape == y.shape == clusters.shape and x.ndim == 1):
        raise UserError(f"spearman: expected three of one length, received {x.shape}, {y.shape} and {clusters.shape}")
    if not 0 < level < 1:
        raise UserError(f"level: expected a coverage between 0 and 1, such as 0.95, received {level!r}")
    there = ~(np.isnan(x) | np.isnan(y))
    n, undefined = int(there.sum()), int((~there).sum())
    _, number = np.unique(clusters[there], return_inverse=True)
    n_clusters = int(number.max()) + 1 if n else 0
    first, second = _Ranks(x[there]), _Ranks(y[there])
    nan = math.nan
    if n < 2 or not first.variance or not second.variance:
        return Estimate(nan, nan, nan, nan, n, n_clusters, undefined, level)
    scale = math.sqrt(first.variance * second.variance)
    covariance = float(np.mean(first.centered * second.centered))
    value = min(1.0, max(-1.0, covariance / scale))
    moved = first.centered * second.centered + first.ahead(second.centered) + second.ahead(first.centered)
    own = sum(ranks.influence_of_variance() / ranks.variance for ranks in (first, second))
    influence = (moved - 3 * covariance) / scale - value / 2 * own
    sums = np.bincount(number, influence, minlength=n_clusters) / n
    counting, squares = min(ranks.counting(number) for ranks in (first, second)), np.square(sums)
    alike = float(squares.sum()) < 1e-24  # clusters with the same values each, up to rounding
    if counting < FEWEST_CLUSTERS or alike or 1 - abs(value) < 1e-12:
        return Estimate(value, nan, nan, nan, n, n_clusters, undefined, level)
    error = math.sqrt(float(squares.sum()) * n_clusters / (n_clusters - 1))
    kurtosis = n_clusters * float(np.square(squares).sum()) / float(squares.sum()) ** 2
    freedom = min(n_clusters - 1.0, 2 * n_clusters / max(kurtosis - 1, 1e-12))
    away = stats.t.ppf((1 + level) / 2, freedom) * error / (1 - value**2)
    low, high = (math.tanh(math.atanh(value) + end) for end in (-away, away))
    return Estimate(value, error, low, high, n, n_clusters, undefined, level)


class _Ranks:
    """Middle ranks of n values as shares F, less a half: their mean is 0."""

    def __init__(self, values: np.ndarray) -> None:
        _, self._at, count = np.unique(values, return_inverse=True, return_counts=True)
        self._n = len(values)
        self.centered = ((count.cumsum() - count / 2) / max(self._n, 1) - 0.5)[self._at]
        self.variance = float(np.mean(np.square(self.centered))) if len(count) > 1 else 0.0

    def ahead(self, of: np.ndarray) -> np.ndarray:
        """Mean over j of `of`_j where j's value is above i's, half where it is equal: what i adds to ranks above it."""
        sums = np.bincount(self._at, of)
        return ((sums.sum() - sums.cumsum() + sums / 2) / self._n)[self._at]

    def counting(self, clusters: np.ndarray) -> float:
        """Effective number of clusters in the variance."""
        sums = np.bincount(clusters, np.square(self.centered))
        return float(sums.sum() ** 2 / np.square(sums).sum())

    def influence_of_variance(self) -> np.ndarray:
        return np.square(self.centered) + 2 * self.ahead(self.centered) - 3 * self.variance
