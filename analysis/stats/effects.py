"""Effect size of a paired difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from overlap.estimates.estimate import Estimate

from ..run.checks import numbers


@dataclass(frozen=True, kw_only=True)
class PairedEffect(Estimate):
    """Effect size of paired differences.

    The value is Hedges' g of the differences (mean / standard deviation, corrected for n), NaN where they do not vary;
    `n_groups` counts the pairs, `n_undefined` those without a difference that could be taken.

    Attributes:
        lower: Pairs whose second value is lower.
        higher: Pairs whose second value is higher.
        same: Pairs without a difference.
    """

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
    n_undefined = int(np.isnan(d).sum())
    d = d[~np.isnan(d)]
    g = error = math.nan
    if len(d) >= 2 and (spread := d.std(ddof=1)) > 0:
        g = (1 - 3 / (4 * (len(d) - 1) - 1)) * d.mean() / spread
        error = math.sqrt(1 / len(d) + g**2 / (2 * len(d)))
    reach = stats.norm.ppf((1 + level) / 2) * error
    return PairedEffect(
        value=float(g),
        standard_error=error,
        low=float(g - reach),
        high=float(g + reach),
        n_positions=0,
        n_groups=len(d),
        n_undefined=n_undefined,
        level=level,
        lower=int((d < 0).sum()),
        higher=int((d > 0).sum()),
        same=int((d == 0).sum()),
    )
