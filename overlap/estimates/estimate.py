"""A value with its interval: what summaries hold, gates read and comparisons return."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overlap.estimates.number_formatting import UNDEFINED, count, decimals, plural, with_interval


@dataclass(frozen=True)
class Estimate:
    """A ratio of sums over groups, such as an average over positions, with its uncertainty.

    Attributes:
        value: sum over defined positions / their number; NaN where there is none.
        standard_error: from the spread between groups, to first order; NaN with fewer than two, or if it is not known.
        low: lower bound of the interval, see `overlap.estimates.summary.estimate`; NaN where there is none.
        high: its upper bound.
        n_positions: defined positions (of an error rate: tokens of the references); 0 if they are not counted.
        n_groups: groups (utterances, speakers) that the interval is over; 0 if they are not counted.
        n_undefined: positions looked at where the statistic has no value; they are in no average.
        level: coverage of the interval, between 0 and 1.
    """

    value: float
    standard_error: float
    low: float
    high: float
    n_positions: int
    n_groups: int
    n_undefined: int = 0
    level: float = 0.95

    def to_dict(self) -> dict[str, float | int]:
        """Return the numbers that records hold, by name: `RECORDED`. A record states the level once for all of them."""
        return {name: getattr(self, name) for name in RECORDED}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], level: float = 0.95) -> "Estimate":
        """Build it from a record with the numbers of `to_dict`, whatever else it holds."""
        numbers: dict[str, Any] = {name: float(record[name]) for name in RECORDED[:4]}
        numbers |= {name: int(record[name]) for name in RECORDED[4:]}
        return cls(**numbers, level=level)

    def shown(self, digits: int = 2, scale: float = 1.0, *, sign: bool = False) -> str:
        """Return `value [low, high]`, with a dash for what is undefined.

        >>> Estimate(0.1234, 0.01, 0.1, 0.15, 700, 40).shown(1, scale=100)
        '12.3 [10.0, 15.0]'

        Args:
            digits: decimals.
            scale: factor, such as 100 for percent.
            sign: whether a positive value has its sign.
        """
        if math.isnan(self.value):
            return UNDEFINED
        return with_interval(self.value, self.low, self.high, digits, scale, sign=sign)

    def __str__(self) -> str:
        digits = decimals(self.standard_error)
        over = f"{count(self.n_groups)} {plural('cluster', self.n_groups)}"
        return f"{self.shown(digits)}, {100 * self.level:g} % interval over {over}"


RECORDED = ("value", "standard_error", "low", "high", "n_positions", "n_groups", "n_undefined")
"""Fields of an estimate in summaries, frames, logs of decisions and probes."""
