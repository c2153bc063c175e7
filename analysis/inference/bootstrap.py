"""Intervals of ratios of sums over clusters: error rates, micro-averages, their differences and quotients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from ..formatting import interval, number

Method = Literal["studentised", "t", "percentile"]
METHODS: tuple[Method, ...] = ("studentised", "t", "percentile")
DRAWS = 2000
_DRAWS_AT_ONCE = 2**21  # multiplicities drawn together: 16 MiB


@dataclass(frozen=True)
class Interval:
    """An estimate and what is known about its error.

    Attributes:
        value: The estimate; NaN where it is undefined.
        standard_error: From the spread between clusters (linearised); NaN with fewer than two.
        low: Lower end; NaN where there is none.
        high: Upper end.
        n: Clusters (utterances, or speakers).
        method: How the ends were found.
        level: Coverage aimed at.
    """

    value: float
    standard_error: float
    low: float
    high: float
    n: int
    method: str
    level: float = 0.95

    def shown(self, digits: int = 2, scale: float = 1.0) -> str:
        """`value [low, high]`, such as in per cent with a scale of 100."""
        ends = interval(scale * self.low, scale * self.high, digits)
        return f"{number(scale * self.value, digits)} {ends}" if math.isfinite(self.value) else number(math.nan, digits)


def contrast(
    sums: np.ndarray,
    counts: np.ndarray,
    weights: Sequence[float] = (1.0,),
    *,
    method: Method = "studentised",
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """A weighted sum of ratios, Σ_k c_k Σ_i x_ik / Σ_i n_ik, with an interval from clusters drawn with replacement.

    All ratios share the clusters, so a difference (weights 1 and −1) is paired. Ways to the interval:

    * `studentised` (bootstrap-t; Efron & Tibshirani 1993, chapter 12): every resample's distance from the estimate is
      divided by that resample's own standard error. It holds its coverage on skewed counts where the others fall short;
      `tests/studies/test_coverage.py` has the numbers.
    * `t`: the linearised standard error times Student's quantile with n − 1 degrees of freedom.
    * `percentile`: what `overlap.summary.estimate` gives, so the intervals of probes and evaluations. With few or
      skewed clusters it is too short.

    A resample in which a ratio is undefined is left out.

    Args:
        sums: `[G, K]` numerators of each cluster, such as errors.
        counts: `[G, K]` denominators, such as words of the reference.
        weights: `[K]` c_k.
        method: See above.
        level: Coverage, between 0 and 1.
        draws: Resamples, at least 2.
        seed: Of the resampling; the same seed and number of clusters draw the same resamples.

    Raises:
        ValueError: Shapes differ, or level, draws or method is out of range.
    """
    check(level, draws, method)
    x, n = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    c = np.asarray(weights, dtype=np.float64)
    if x.ndim != 2 or x.shape != n.shape or c.shape != x.shape[1:]:
        raise ValueError(
            f"expected sums and counts [clusters, ratios] and a weight a ratio, received {list(x.shape)}, "
            f"{list(n.shape)} and {list(c.shape)}"
        )
    table = np.concatenate([x, n], axis=1)
    moments = (table[:, :, None] * table[:, None, :]).reshape(len(table), table.shape[1] ** 2)
    value, error = (float(found[0]) for found in _linearised(table.sum(0)[None], moments.sum(0)[None], c, len(table)))
    low = high = math.nan
    if len(table) >= 2 and math.isfinite(error) and error > 0:
        if method == "t":
            reach = float(stats.t.ppf((1 + level) / 2, len(table) - 1)) * error
            low, high = value - reach, value + reach
        else:
            drawn, errors = _resampled(table, moments, c, draws, seed)
            low, high = _ends(value, error, drawn, errors, method, level)
    return Interval(value, error, low, high, len(table), method, level)


def check(level: float, draws: int, method: str = "percentile") -> None:
    """Refuse settings that make no interval."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a coverage between 0 and 1, such as 0.95, received {level!r}")
    if draws < 2:
        raise ValueError(f"draws: expected at least 2 resamples, received {draws!r}")
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, received {method!r}")


def _linearised(totals: np.ndarray, moments: np.ndarray, c: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and standard errors of draws, from totals `[B, 2K]` and second moments `[B, (2K)²]` of the clusters.

    A cluster moves the value by z_i = Σ_k c_k (x_ik − R_k n_ik) / N_k to first order; z sums to zero.
    """
    x, counts = np.split(totals, 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(counts > 0, x / counts, np.nan)
        slope = np.concatenate([c / counts, -c * ratios / counts], axis=1)
        squares = np.einsum("bi,bij,bj->b", slope, moments.reshape(-1, slope.shape[1], slope.shape[1]), slope)
        # Rounding may leave a little where every cluster has the same ratio.
        size = np.einsum("bi,bii,bi->b", slope, moments.reshape(-1, slope.shape[1], slope.shape[1]), slope)
        squares = np.where(squares > 1e-12 * size, squares, 0.0 * squares)
        errors = np.sqrt(squares * n / (n - 1)) if n > 1 else np.full(len(totals), np.nan)
    return ratios @ c, errors


def _resampled(
    table: np.ndarray, moments: np.ndarray, c: np.ndarray, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values and standard errors of resamples of the clusters, `[draws]` each."""
    n, generator = len(table), np.random.default_rng(seed)
    both, width = np.concatenate([table, moments], axis=1), table.shape[1]
    parts = []
    for start in range(0, draws, size := max(1, _DRAWS_AT_ONCE // n)):
        times = generator.multinomial(n, np.full(n, 1 / n), size=min(size, draws - start))
        parts.append(times.astype(np.float64) @ both)
    drawn = np.concatenate(parts)
    return _linearised(drawn[:, :width], drawn[:, width:], c, n)


def _ends(
    value: float, error: float, drawn: np.ndarray, errors: np.ndarray, method: Method, level: float
) -> tuple[float, float]:
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "percentile":
        kept = drawn[np.isfinite(drawn)]
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (drawn - value) / errors
        kept = distance[np.isfinite(distance)]
    if 2 * len(kept) < len(drawn):
        return math.nan, math.nan
    low, high = np.quantile(kept, tails)
    if method == "percentile":
        return float(low), float(high)
    return value - float(high) * error, value - float(low) * error
