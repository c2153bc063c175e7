"""The studentised bootstrap written out, one resample after another: the oracle of `overlap.bootstrap`."""

import math

import numpy as np


def estimate_and_error(sums: np.ndarray, counts: np.ndarray, weights: tuple[float, ...]) -> tuple[float, float]:
    """A weighted sum of ratios of `[G, K]` sums and counts, and its standard error from each cluster's influence."""
    n, totals = len(sums), counts.sum(0)
    ratios = sums.sum(0) / totals
    influence = [sum(c * (x - r * m) / t for c, x, m, r, t in zip(weights, *row, ratios, totals, strict=True))
                 for row in zip(sums, counts, strict=True)]  # fmt: skip
    return float(np.dot(weights, ratios)), math.sqrt(n / (n - 1) * math.fsum(z * z for z in influence))


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
    distances = []
    for _ in range(draws):
        rows = generator.choice(n, n)
        drawn, its_error = estimate_and_error(sums[rows], counts[rows], weights)
        distances.append((drawn - value) / its_error)
    low, high = np.quantile(distances, [(1 - level) / 2, (1 + level) / 2])
    return value - high * error, value - low * error
