"""What a gate says about itself, so that others can check its settings without knowing its kind."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["at_least", "at_most", "lowest", "highest", "best"]
"""What a level is: a threshold to reach, a healthy limit, or the mark that is to be improved on."""
End = Literal["low", "high"]
"""A bound of an interval."""


@dataclass(frozen=True)
class Amount:
    """A number in a statistic's unit among the settings of a gate.

    Attributes:
        key: the setting, and for a setting with a value for each statistic the statistic as well: ``("at_least",)``,
            ``("limits", "union_size")``.
        value: in the statistic's unit.
        side: what readings are compared with it as; None if the gate does not act on it alone, such as a release.
    """

    key: tuple[str, ...]
    value: float
    side: Side | None


@dataclass(frozen=True)
class Criterion:
    """What a gate reads of one statistic.

    Attributes:
        statistic: its canonical name, with its states.
        ends: bounds of the interval that decide, at least one: the lower one for a level to reach.
        amounts: the settings in the statistic's unit.
    """

    statistic: str
    ends: tuple[End, ...]
    amounts: tuple[Amount, ...] = ()


@dataclass(frozen=True)
class Wait:
    """How long a gate takes before it can act.

    Attributes:
        count: readings or steps.
        setting: the setting that it follows from; empty if it follows from none.
    """

    count: int
    setting: str = ""
