"""Intervals of ratios of sums over clusters: error rates, micro-averages, their differences and quotients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, studentized
from overlap.estimates.estimate import Estimate

from ..run.checks import numbers

HOW = "studentized bootstrap"
"""The kind of these intervals, for tables."""


def contrast(
    sums: np.ndarray,
    counts: np.ndarray,
    weights: Sequence[float] = (1.0,),
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Return a weighted sum of ratios, Σ_k c_k Σ_i x_ik / Σ_i n_ik, with the interval of
    `overlap.estimates.bootstrap.studentized`.

    All ratios share the clusters, so a difference (weights 1 and −1) is paired. If nothing varies, there is no
    interval.

    Args:
        sums: `[G, K]` numerators of each cluster, such as errors.
        counts: `[G, K]` denominators, such as words of the reference.
        weights: `[K]` c_k.
        limits: Least and largest value that there can be; ends are cut off there.
        level: Coverage, between 0 and 1.
        draws: Resamples, at least 2.
        seed: Of the resampling; the same seed and number of clusters draw the same resamples.

    Returns:
        The estimate; `n_groups` counts all clusters, `n_positions` is the denominator, the smallest of several.

    Raises:
        UserError: No numbers, shapes differ, or level or draws is out of range.
    """
    x = numbers(sums, "sums", "transcripts[['words.errors']]")
    n = numbers(counts, "counts", "transcripts[['words.total']]")
    if x.ndim != 2 or x.shape != n.shape or len(weights) != x.shape[1]:
        raise UserError(
            f"expected sums and counts [clusters, ratios] and one weight for each ratio, received {list(x.shape)}, "
            f"{list(n.shape)} and {[len(weights)]}"
        )
    (found,) = studentized(x[:, None], n[:, None], weights, level=level, draws=draws, seed=seed)
    return replace(found, low=max(found.low, limits[0]), high=min(found.high, limits[1]), n_groups=len(x))
