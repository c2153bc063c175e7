"""Effect size of a paired difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..run.checks import numbers


@dataclass(frozen=True)
class PairedEffect:
    """Effect size of paired differences.

    Attributes:
        g: Hedges' g of the differences (mean / standard deviation, corrected for n); NaN where they do not vary.
        low: Lower bound of its interval.
        high: Upper bound.
        lower: Pairs whose second value is lower.
        higher: Pairs whose second value is higher.
        same: Pairs without a difference.
    """

    g: float
    low: float
    high: float
    lower: int
    higher: int
    same: int


def paired_effect(differences: np.ndarray, *, level: float = 0.95) -> PairedEffect:
    """Return Hedges' g of paired differences, with the large-sample interval of Hedges & Olkin (1985), and counts of
    signs.

    Args:
        differences: `[n]` second − first; NaN where undefined, which is left out.
        level: Coverage of the interval.

    Raises:
        UserError: No numbers.
    """
    d = numbers(differences, "differences", "after['words.errors'] - before['words.errors']")
    d = d[~np.isnan(d)]
    g = low = high = math.nan
    if len(d) >= 2 and (spread := d.std(ddof=1)) > 0:
        g = (1 - 3 / (4 * (len(d) - 1) - 1)) * d.mean() / spread
        reach = stats.norm.ppf((1 + level) / 2) * math.sqrt(1 / len(d) + g**2 / (2 * len(d)))
        low, high = g - reach, g + reach
    return PairedEffect(
        float(g), float(low), float(high), *(int(n) for n in ((d < 0).sum(), (d > 0).sum(), (d == 0).sum()))
    )
