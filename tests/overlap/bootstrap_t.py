"""The studentized bootstrap written out, one resample after another: the oracle of `overlap.estimates.bootstrap`."""

import math

import numpy as np
from scipy import optimize, special, stats


def influences(sums: np.ndarray, counts: np.ndarray, weights: tuple[float, ...]) -> list[float]:
    """How far each cluster of `[G, K]` sums and counts moves a weighted sum of ratios."""
    totals = counts.sum(0)
    ratios = sums.sum(0) / totals
    return [
        math.fsum(c * (x - r * m) / t for c, x, m, r, t in zip(weights, *row, ratios, totals, strict=True))
        for row in zip(sums, counts, strict=True)
    ]


def estimate_and_error(sums: np.ndarray, counts: np.ndarray, weights: tuple[float, ...]) -> tuple[float, float]:
    """A weighted sum of ratios, and its standard error from each cluster's influence."""
    n, ratios = len(sums), sums.sum(0) / counts.sum(0)
    squares = math.fsum(z * z for z in influences(sums, counts, weights))
    return float(np.dot(weights, ratios)), math.sqrt(n / (n - 1) * squares)


def floor(sums: np.ndarray, counts: np.ndarray, weights: tuple[float, ...], level: float) -> float:
    """Share of the standard error below which a resample's is not taken, by scipy's Poisson variable.

    So many events as deviate: what mean would make it a chance of (1 − level)/2 to see no more than these?
    """
    z = influences(sums, counts, weights)
    events = max(1.0, math.fsum(x**2 for x in z) ** 2 / math.fsum(x**4 for x in z))
    # P(Poisson(mean) ≤ m) is the regularized upper incomplete gamma function of m + 1 at the mean, m whole or not.
    mean = optimize.brentq(lambda mean: special.gammaincc(events + 1, mean) - (1 - level) / 2, events, 99 * events)
    # Student's quantile as the root of a ratio of a squared normal to a mean of squared normals.
    student = math.sqrt(stats.f.ppf(level, 1, len(sums) - 1))
    return min(1 / student, events / (mean - events))


def interval(
    sums: np.ndarray,
    counts: np.ndarray,
    weights: tuple[float, ...] = (1.0,),
    *,
    level: float = 0.95,
    draws: int,
    rng: int,
) -> tuple[float, float]:
    """Ends of the interval of clusters that all vary, with resamples of its own."""
    generator, n = np.random.default_rng(rng), len(sums)
    value, error = estimate_and_error(sums, counts, weights)
    least, distances = floor(sums, counts, weights, level) * error, []
    for _ in range(draws):
        rows = generator.choice(n, n)
        drawn, its_error = estimate_and_error(sums[rows], counts[rows], weights)
        distances.append((drawn - value) / max(its_error, least))
    low, high = np.quantile(distances, [(1 - level) / 2, (1 + level) / 2])
    return value - high * error, value - low * error
