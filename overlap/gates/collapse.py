"""The gate that detects collapse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from overlap.definitions import by_canonical_name, checked
from overlap.errors import UserError
from overlap.gates.criteria import Amount, Criterion, End
from overlap.gates.decision import Action, Decision, Gate, Level, check_step, count
from overlap.gates.reading import Reading, Readings
from overlap.gates.settings import RefusedSettingsError, check_settings, level, minimum

Limits = tuple[float | None, float | None]


@dataclass
class Collapse(Gate):
    """Fall back or abort when any statistic has certainly left its healthy range for some readings; never advances.

    A statistic is outside if its entire interval is: the upper bound below the lower limit or the lower bound above the
    upper limit. A reading with any statistic outside adds to the streak. A reading with no statistic outside resets
    the streak. A reading in which nothing can be judged leaves the streak as it is. The reason names statistics that
    could not be judged.

    Attributes:
        limits: (lowest, highest) healthy value by statistic (named as in `Threshold`, each once), None for an open
            side.
        patience: readings in a row before the gate acts.
        action: ``"fall_back"`` to the teacher data before this stage (a recipe's ``max_fallbacks`` limits how often),
            or ``"abort"`` the run.
        on: judge on the ``"bound"`` (the interval's bound) or on the ``"value"`` itself.
    """

    kind: ClassVar[str] = "collapse"
    limits: Mapping[str, Limits]
    patience: int = field(default=1, metadata=minimum(1, "readings"))
    action: Literal["fall_back", "abort"] = "fall_back"
    on: Literal["bound", "value"] = "bound"
    streak: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.limits:
            raise RefusedSettingsError(
                "limits: expected at least one statistic with its (low, high), received none", "no limits"
            )
        for statistic in self.limits:
            checked(statistic)
        named = by_canonical_name(self.limits, "limits")
        self.limits = {statistic: _pair(statistic, limits) for statistic, limits in named.items()}
        for statistic, (low, high) in self.limits.items():
            if low is None and high is None:
                raise RefusedSettingsError(
                    f"limits: {statistic} has neither a low nor a high limit; give one or leave it out",
                    "open limits",
                    statistic,
                )
            if low is not None and high is not None and not low < high:
                raise RefusedSettingsError(
                    f"limits: {statistic} expects low < high, received ({low:g}, {high:g})", "limits cross", statistic
                )

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The statistics with limits: the far bound of the interval shows that a limit is left."""
        return tuple(_criterion(statistic, low, high) for statistic, (low, high) in self.limits.items())

    @property
    def can_advance(self) -> bool:
        """Never."""
        return False

    @property
    def name(self) -> str:
        """``collapse(statistic, …)``."""
        return f"{self.kind}({', '.join(self.limits)})"

    def read(self, summary: Readings, step: int) -> Decision:
        """Look for a statistic outside its limits; see the class."""
        step = check_step(step)
        readings = [self._look_up(summary, statistic, self.on) for statistic in self.limits]
        unknown = [reading for reading in readings if reading.problem]
        out = [(reading, words) for reading in readings if not reading.problem and (words := self._outside(reading))]
        if out:
            self.streak += 1
        elif len(unknown) < len(readings):
            self.streak = 0
        parts = [f"{reading.words()} is {words}" for reading, words in out] or ["nothing certainly outside its limits"]
        reason = "; ".join(parts) + f" ({count(self.streak, self.patience)})"
        reason += "".join(f"; not judged: {reading.problem}" for reading in unknown)
        numbers = {
            "step": step,
            "streak": self.streak,
            "outside": [reading.statistic for reading, _ in out],
            "undefined": [reading.statistic for reading in unknown],
            "statistics": {
                reading.statistic: {**reading.numbers(), "limits": list(self.limits[reading.statistic])}
                for reading in readings
            },
        }
        action = Action(self.action) if out and self.streak >= self.patience else Action.stay
        levels = tuple(level for reading in readings for level in self._held_against(reading))
        return Decision(action, reason, self.name, numbers, levels)

    def _held_against(self, reading: Reading) -> Iterator[Level]:
        """Yield the limits of a statistic, each with the far bound of the interval, which alone shows that one is
        left."""
        low, high = self.limits[reading.statistic]
        if low is not None:
            bound = None if reading.problem else reading.bound("high", self.on)
            yield Level.from_reading(reading.statistic, "lowest", low, bound, bound is not None and bound >= low)
        if high is not None:
            bound = None if reading.problem else reading.bound("low", self.on)
            yield Level.from_reading(reading.statistic, "highest", high, bound, bound is not None and bound <= high)

    def _outside(self, reading: Reading) -> str:
        """Return how a statistic is out of its limits, empty when it may be within."""
        low, high = self.limits[reading.statistic]
        if low is not None and reading.bound("high", self.on) < low:
            return f"below {low:g}"
        if high is not None and reading.bound("low", self.on) > high:
            return f"above {high:g}"
        return ""


def _criterion(statistic: str, low: float | None, high: float | None) -> Criterion:
    ends: list[End] = []
    amounts = []
    if low is not None:
        ends.append("high")
        amounts.append(Amount(("limits", statistic), low, "lowest"))
    if high is not None:
        ends.append("low")
        amounts.append(Amount(("limits", statistic), high, "highest"))
    return Criterion(statistic, tuple(ends), tuple(amounts))


def _pair(statistic: str, limits: object) -> Limits:
    if not isinstance(limits, tuple | list) or len(limits) != 2:
        raise UserError(f"limits: {statistic} expects (low, high), received {limits!r}")
    low, high = (None if end is None else level(end, f"limits: {statistic}") for end in limits)
    return low, high
