"""An average with its uncertainty, as in summaries and gates."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A micro-average over positions with its uncertainty.

    Attributes:
        value: sum over defined positions / their number; NaN where there is none.
        standard_error: from the spread between groups, to first order; NaN with fewer than two.
        low: lower end of the interval, see `overlap.estimates.summary.estimate`; NaN with fewer than two groups.
        high: its upper end.
        n_positions: defined positions.
        n_groups: groups (utterances) with at least one defined position.
        n_undefined: positions looked at where the statistic has no value; they are in no average.
    """

    value: float
    standard_error: float
    low: float
    high: float
    n_positions: int
    n_groups: int
    n_undefined: int
