"""Intervals of ratios of sums over clusters, by resampling the clusters."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from overlap.errors import UserError
from overlap.estimates.estimate import Estimate

DRAWS = 2000
_DRAWS_AT_ONCE = 2**22  # cluster indices drawn together: 32 MiB


def check(level: float, draws: int) -> None:
    """Refuse settings that make no interval.

    Raises:
        UserError: naming the setting.
    """
    if not 0 < level < 1:
        raise UserError(f"level: expected a coverage between 0 and 1, such as 0.95, received {level!r}")
    if draws < 2:
        raise UserError(f"draws: expected at least 2 resamples, received {draws!r}")


def studentized(
    sums: np.ndarray,
    counts: np.ndarray,
    weights: Sequence[float] = (1.0,),
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Estimate]:
    """Return weighted sums of ratios, Σ_k c_k Σ_i x_ik / Σ_i n_ik, with intervals from clusters drawn with replacement.

    The bootstrap-t (Efron & Tibshirani 1993, chapter 12): every resample's distance from the estimate is divided by
    that resample's own standard error, and the quantiles of these distances take the place of Student's. It keeps its
    coverage on skewed values, such as bursts of errors, where percentile intervals are too short; the numbers are in
    `tests/studies/test_coverage.py`. All S estimates share the resamples, and the K ratios of one share their
    clusters, so that a difference (weights 1 and −1) is paired.

    If few clusters differ from the rest, many resamples contain none of them, hardly vary, and would be infinitely far
    away. A resample's standard error therefore has a lower limit, a fraction of the estimate's own. It is chosen so
    that the interval for one, two or three deviating clusters is that of as many events of a Poisson variable (up to
    5.6, 7.2 or 8.8 events at 95 %), and for very few clusters that of Student's t.
    Resamples in which a ratio is undefined are left out; if these are the majority, there is no interval.

    Args:
        sums: ``[G, S, K]`` numerators of each cluster, such as errors.
        counts: ``[G, S, K]`` denominators, such as words of the reference.
        weights: ``[K]`` c_k.
        level: coverage, between 0 and 1.
        draws: number of resamples, at least 2.
        seed: of the resampling; the same seed and number of clusters draw the same resamples.

    Returns:
        S estimates, without an interval where nothing varies between clusters. ``n_positions`` is the denominator (the
        smallest of several; 0 if negative), ``n_groups`` the number of clusters with a nonzero denominator.

    Raises:
        UserError: if shapes differ, or level or draws is out of range.
    """
    check(level, draws)
    x, n = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    c = np.asarray(weights, dtype=np.float64)
    if x.ndim != 3 or x.shape != n.shape or c.shape != x.shape[2:]:
        raise UserError(
            f"expected sums and counts [clusters, estimates, ratios] and one weight for each ratio, received "
            f"{list(x.shape)}, "
            f"{list(n.shape)} and {list(c.shape)}"
        )
    n_clusters = ((x != 0) | (n != 0)).any(2).sum(0)
    finite = np.asarray(np.isfinite(x).all((0, 2)))
    with np.errstate(invalid="ignore"):  # +inf and -inf together have no average
        infinite = _ratios(x.sum(0), n.sum(0)) @ c
    table = np.concatenate([np.where(finite[:, None], x, 0.0), n], axis=2)
    moments = table[:, :, :, None] * table[:, :, None, :]
    values, errors = _linearized(table.sum(0), moments.sum(0), c, n_clusters)
    values, errors = np.where(finite, values, infinite), np.where(finite, errors, np.nan)
    lows, highs = np.full_like(values, np.nan), np.full_like(values, np.nan)
    varying = np.flatnonzero(errors > 0)
    if len(varying):
        there = table[:, varying], moments[:, varying], values[varying]
        least = errors[varying] * _least_share(_deviating(table[:, varying], c), n_clusters[varying], level)
        distances = _distances(*there, c, least, draws, seed)
        known = np.isfinite(distances).sum(0) * 2 >= draws
        low, high = np.nanquantile(distances[:, known], [(1 + level) / 2, (1 - level) / 2], axis=0)
        at = varying[known]
        lows[at], highs[at] = values[at] - low * errors[at], values[at] - high * errors[at]
    sizes = np.maximum(np.nan_to_num(n.sum(0), posinf=0.0), 0.0).min(1)
    columns = zip(values, errors, lows, highs, sizes, n_clusters, strict=True)
    return [
        Estimate(float(value), float(error), float(low), float(high), int(size), int(groups), level=level)
        for value, error, low, high, size, groups in columns
    ]


def unseen_share(n_clusters: int, n_positions: float, level: float) -> float:
    """Return the largest share of deviating positions that is compatible with observing none: 0.06 for 60 independent
    ones.

    The upper bound of the Clopper–Pearson interval (1934) for no event in the effective number of positions after the
    correction of Korn & Graubard (1998) for few clusters, (t_{N−1} / t_{G−1})² N. If no position deviates, the
    clustering of deviations is unknown: if entire utterances fail together, the share may be larger.

    Args:
        n_clusters: G, at least 2.
        n_positions: N, at least G.
        level: coverage of the two-sided interval, of which this is one end.
    """
    tail = (1 + level) / 2
    worth = n_positions * (stats.t.ppf(tail, n_positions - 1) / stats.t.ppf(tail, n_clusters - 1)) ** 2
    return float(-np.expm1(math.log(1 - tail) / worth))


def unseen_errors(value: float, n_clusters: int, n_words: float, level: float) -> tuple[float, float]:
    """Ends of an error rate that all clusters share: the words that could deviate unobserved then have one error more
    or less.

    Args:
        value: the error rate, errors per word.
        n_clusters: at least 2.
        n_words: of the references.
        level: coverage of the interval.
    """
    share = unseen_share(n_clusters, n_words, level)
    return max(0.0, value - share), value + share


def _ratios(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.divide(x, n, out=np.full_like(x, np.nan), where=n > 0)


def _slope(totals: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ratios ``[…, K]``, and the derivative of their weighted sum with respect to each total ``[…, 2K]``."""
    x, counts = np.split(totals, 2, axis=-1)
    ratios, one = _ratios(x, counts), _ratios(np.ones_like(counts), counts)
    return ratios, np.concatenate([c * one, -c * ratios * one], axis=-1)


def _deviating(table: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the effective number of deviating clusters, ``[S]``: (Σ z²)² / Σ z⁴ of their contributions z; m if m of
    many deviate."""
    contributions = (table * _slope(table.sum(0), c)[1]).sum(2)
    # By a power of two, which is exact: fourth powers of tiny numbers would be 0.
    largest = np.frexp(np.abs(contributions).max(0))[1]
    squares = np.square(np.ldexp(contributions, -largest))
    return np.square(squares.sum(0)) / np.square(squares).sum(0)


def _least_share(deviating: np.ndarray, n_clusters: np.ndarray, level: float) -> np.ndarray:
    """Return the least standard error of a resample, as a share of the estimate's standard error.

    With m events, a resample without any lies m / (m^½ f) away in units of the least share f, so the end m / f beyond
    m; the Poisson variable's end is half a quantile of χ² with 2m + 2 degrees of freedom. With few
    clusters such resamples are frequent, so the floor is at most 1 / t_{G−1}, about a half for many clusters.
    """
    m, tail = np.maximum(deviating, 1.0), (1 + level) / 2
    return np.minimum(m / (stats.chi2.ppf(tail, 2 * m + 2) / 2 - m), 1 / stats.t.ppf(tail, n_clusters - 1))


def _linearized(
    totals: np.ndarray, moments: np.ndarray, c: np.ndarray, n_clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and standard errors ``[…]``, from totals ``[…, 2K]`` and second moments ``[…, 2K, 2K]`` of the
    clusters.

    A cluster moves the value by z_i = Σ_k c_k (x_ik − R_k n_ik) / N_k to first order; z sums to zero.
    """
    ratios, slope = _slope(totals, c)
    squares = np.einsum("...i,...ij,...j->...", slope, moments, slope)
    # Rounding may leave a small value if every cluster has the same ratio.
    size = np.einsum("...i,...ii,...i->...", slope, moments, slope)
    squares = np.where(squares > 1e-12 * size, squares, 0.0 * squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.sqrt(squares * np.where(n_clusters > 1, n_clusters / (n_clusters - 1), np.nan))
    return ratios @ c, errors


def _distances(
    table: np.ndarray,
    moments: np.ndarray,
    values: np.ndarray,
    c: np.ndarray,
    least: np.ndarray,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Return ``[draws, S]`` distances of resamples from the values in standard errors, NaN where one is undefined."""
    n, generator = len(table), np.random.default_rng(seed)
    width = table.shape[2]
    both = np.concatenate([table, moments.reshape(*table.shape[:2], width**2)], axis=2).reshape(n, -1)
    n_clusters = (table != 0).any(2).sum(0)
    parts = []
    for start in range(0, draws, at_once := max(1, _DRAWS_AT_ONCE // n)):
        size = min(at_once, draws - start)
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        sums = (times.astype(np.float64) @ both).reshape(size, len(values), -1)
        found, error = _linearized(
            sums[:, :, :width], sums[:, :, width:].reshape(size, len(values), width, width), c, n_clusters
        )
        parts.append((found - values) / np.maximum(error, least))
    return np.concatenate(parts)
