"""Intervals of ratios of sums over clusters: error rates, micro-averages, their differences and quotients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overlap.bootstrap import DRAWS, studentised

from ..formatting import count, decimals, interval, number, plural
from ..run.wanted import numbers

HOW = "studentised bootstrap"
"""The kind of these intervals, as tables name it."""


@dataclass(frozen=True)
class Interval:
    """An estimate and what is known about its error.

    Attributes:
        value: The estimate; NaN where it is undefined.
        standard_error: From the spread between clusters (linearised); NaN with fewer than two.
        low: Lower end; NaN where there is none.
        high: Upper end.
        n: Clusters (utterances, or speakers).
        level: Coverage aimed at.
    """

    value: float
    standard_error: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __str__(self) -> str:
        digits = decimals(self.standard_error)
        return f"{self.shown(digits)}, {100 * self.level:g} % interval over {count(self.n)} {plural('cluster', self.n)}"

    def shown(self, digits: int = 2, scale: float = 1.0) -> str:
        """`value [low, high]`, such as in per cent with a scale of 100."""
        ends = interval(scale * self.low, scale * self.high, digits)
        return f"{number(scale * self.value, digits)} {ends}" if math.isfinite(self.value) else number(math.nan, digits)


def contrast(
    sums: np.ndarray,
    counts: np.ndarray,
    weights: Sequence[float] = (1.0,),
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """A weighted sum of ratios, Σ_k c_k Σ_i x_ik / Σ_i n_ik, with the interval of `overlap.bootstrap.studentised`.

    All ratios share the clusters, so a difference (weights 1 and −1) is paired. Where nothing varies there is no
    interval.

    Args:
        sums: `[G, K]` numerators of each cluster, such as errors.
        counts: `[G, K]` denominators, such as words of the reference.
        weights: `[K]` c_k.
        limits: Least and largest value that there can be; ends are cut off there.
        level: Coverage, between 0 and 1.
        draws: Resamples, at least 2.
        seed: Of the resampling; the same seed and number of clusters draw the same resamples.

    Raises:
        ValueError: No numbers, shapes differ, or level or draws is out of range.
    """
    x = numbers(sums, "sums", "transcripts[['words.errors']]")
    n = numbers(counts, "counts", "transcripts[['words.total']]")
    if x.ndim != 2 or x.shape != n.shape or len(weights) != x.shape[1]:
        raise ValueError(
            f"expected sums and counts [clusters, ratios] and a weight a ratio, received {list(x.shape)}, "
            f"{list(n.shape)} and {[len(weights)]}"
        )
    found = studentised(x[:, None], n[:, None], weights, level=level, draws=draws, seed=seed)
    value, error, low, high = (float(end[0]) for end in (found.values, found.standard_errors, found.lows, found.highs))
    return Interval(value, error, max(low, limits[0]), min(high, limits[1]), len(x), level)
