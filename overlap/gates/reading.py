"""One statistic of one reading, as a gate judges it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from overlap.definitions import by_canonical_name
from overlap.errors import UserError
from overlap.estimates.estimate import RECORDED, Estimate
from overlap.gates.settings import as_number
from overlap.plain_json import plain

Readings = Mapping[str, Estimate] | Mapping[str, float]
"""What a gate reads, by name or alias: estimates, or plain numbers for gates that judge on the value."""


@dataclass(frozen=True)
class Reading:
    """One statistic of one reading, or why there is nothing to read.

    Attributes:
        estimate: None when the statistic is missing.
        problem: why it cannot be judged, empty when it can.
        bare: whether it is a plain number, of which no counts are known.
    """

    statistic: str
    estimate: Estimate | None
    problem: str
    bare: bool = False

    @classmethod
    def from_summary(cls, summary: Readings, statistic: str, on: str) -> "Reading":
        """Look up a statistic that is to be judged on its interval's ``"bound"`` or on its ``"value"``."""
        named = by_canonical_name(summary, "reading")
        if statistic not in named:
            return cls(statistic, None, f"{statistic} is missing from the reading")
        found = named[statistic]
        if not isinstance(found, Estimate):
            return cls._of_number(statistic, found, on)
        found = _in_python_numbers(found, statistic)
        if math.isnan(found.value):
            problem = f"{statistic} is undefined ({found.n_undefined} positions without a value)"
        elif on == "bound" and (math.isnan(found.low) or math.isnan(found.high)):
            problem = f"{statistic} is {found.value:.5g} without an interval ({utterances(found)})"
        else:
            problem = ""
        return cls(statistic, found, problem)

    @classmethod
    def _of_number(cls, statistic: str, number: Any, on: str) -> "Reading":
        """Return a number that comes without interval and counts."""
        found = as_number(number)
        if found is None:
            raise UserError(f"{statistic}: expected an Estimate or a number, received {type(number).__name__}")
        value = float(found)
        if on == "bound":
            raise UserError(
                f"{statistic}: received the plain number {value:g}, and the gate judges on the interval's "
                'bound. Pass an Estimate (as summary() gives it), or make the gate with on="value"'
            )
        problem = f"{statistic} is undefined" if math.isnan(value) else ""
        return cls(statistic, Estimate(value, math.nan, math.nan, math.nan, 0, 0, 0), problem, bare=True)

    def bound(self, side: str, on: str) -> float:
        """Return the ``"low"`` or ``"high"`` bound of the interval, or the value itself where the gate judges on the
        value."""
        assert self.estimate is not None
        return self.estimate.value if on == "value" else getattr(self.estimate, side)

    def words(self) -> str:
        """Return the estimate with its interval and what it rests on."""
        item = self.estimate
        if item is None or self.problem:
            return self.problem
        if self.bare:
            return f"{self.statistic} {item.value:.5g}"
        interval = "" if math.isnan(item.low) else f" [{item.low:.5g}, {item.high:.5g}]"
        return f"{self.statistic} {item.value:.5g}{interval} over {utterances(item)}"

    def numbers(self) -> dict[str, float | int | None]:
        """Return the estimate's numbers, None where they are not known."""
        if self.estimate is None:
            return dict.fromkeys(RECORDED)
        known = plain(self.estimate.to_dict())
        return {**dict.fromkeys(RECORDED), "value": known["value"]} if self.bare else known


def utterances(estimate: Estimate) -> str:
    """Return how much an estimate rests on, in words."""
    return f"{estimate.n_groups} utterance{'s' if estimate.n_groups != 1 else ''}, {estimate.n_positions} positions"


def _in_python_numbers(estimate: Estimate, statistic: str) -> Estimate:
    """Return the same estimate as JSON can hold it, whatever numbers a user made it of."""
    found = {item.name: as_number(getattr(estimate, item.name)) for item in fields(Estimate)}
    for name, number in found.items():
        if number is None:
            raise UserError(
                f"{statistic}: expected a number as its Estimate's {name}, received {getattr(estimate, name)!r}"
            )
    return Estimate(**cast(Any, found))
