"""The swap test of a paired difference."""

from __future__ import annotations

import numpy as np

from overlap.errors import UserError

from ..run.checks import numbers

DRAWS = 10_000
_AT_ONCE = 2**21


def swap_test(sums: np.ndarray, counts: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> float:
    """Return the two-sided p-value of a difference of two ratios of sums, from random swaps of the sides of clusters.

    Under the null hypothesis the two sides of a cluster (two systems on an utterance, two checkpoints on a rollout)
    are exchangeable. Also known as approximate randomization or the paired permutation test
    (Noreen 1989). The observed arrangement counts as one of the samples: p is at least 1 / (draws + 1), and the test
    never rejects too often.

    Args:
        sums: `[G, 2]` numerators of each cluster on either side.
        counts: `[G, 2]` denominators.
        draws: Number of sampled arrangements.
        seed: Of the sampling.

    Returns:
        p; NaN where either ratio is undefined.

    Raises:
        UserError: No numbers, or shapes differ.
    """
    x, n = numbers(sums, "sums", "[[2, 1], [0, 3]]"), numbers(counts, "counts", "[[9, 9], [7, 7]]")
    if x.ndim != 2 or x.shape[1:] != (2,) or x.shape != n.shape:
        raise UserError(f"expected sums and counts [clusters, 2], received {list(x.shape)} and {list(n.shape)}")
    if not (n.sum(0) > 0).all() or not np.isfinite(x).all():
        return float("nan")
    generator, groups = np.random.default_rng(seed), len(x)
    observed = abs(_difference(x.sum(0)[None], n.sum(0)[None])[0])
    both, found, tolerance = x.sum(1).sum(), 0, 1e-9 * (1 + observed)
    total = n.sum()
    for start in range(0, draws, size := max(1, _AT_ONCE // max(groups, 1))):
        swapped = generator.random((min(size, draws - start), groups)) < 0.5
        first_x = x[:, 0].sum() + swapped @ (x[:, 1] - x[:, 0])
        first_n = n[:, 0].sum() + swapped @ (n[:, 1] - n[:, 0])
        drawn = _difference(np.stack([first_x, both - first_x], 1), np.stack([first_n, total - first_n], 1))
        # An arrangement without a denominator on one side has no difference; it counts as not smaller than the observed
        # one.
        found += int((~(np.abs(drawn) < observed - tolerance)).sum())
    return (1 + found) / (1 + draws)


def _difference(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(n > 0, x / n, np.nan)
    return ratios[:, 1] - ratios[:, 0]
