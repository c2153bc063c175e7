"""The off-policy share of a step: linear over steps, or falling as an overlap reading improves."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from overlap.definitions import checked
from overlap.gates.criteria import Amount, Criterion, End
from overlap.gates.decision import check_step
from overlap.gates.reader import Reader
from overlap.gates.reading import Reading, Readings
from overlap.gates.settings import RefusedSettingsError, check_settings, level, minimum, proportion
from overlap.soft_switches.anneal import linear


@dataclass(frozen=True)
class Share:
    """The share in force at a step.

    Attributes:
        value: Between 0 and 1.
        reason: Why, in words with the numbers.
        reading: The bound of the interval, or the value, that decided; None where no reading did.
    """

    value: float
    reason: str
    reading: float | None = None


class ShareRule(Reader):
    """Says what share of steps is taken on transcripts that the student did not write; has no state."""

    @abstractmethod
    def share(self, readings: Readings | None, step: int) -> Share:
        """Return the share in force.

        Args:
            readings: The last reading, estimates or plain numbers by name; None before the first.
            step: Steps done in the stage before this one.

        Raises:
            UserError: `step` is not a whole number of at least 0, or a reading is not what gates read.
        """


@dataclass
class LinearShare(ShareRule):
    """The share changes linearly over the first steps of a stage and then stays.

    Attributes:
        start: share of the stage's first step.
        end: share from step ``steps`` of the stage on.
        steps: steps from the first share to the last.
    """

    kind: ClassVar[str] = "linear"
    start: float = field(default=1.0, metadata=proportion())
    end: float = field(default=0.0, metadata=proportion())
    steps: int = field(kw_only=True, metadata=minimum(1, "steps"))

    def __post_init__(self) -> None:
        check_settings(self)
        if self.start == self.end:
            raise RefusedSettingsError(
                f"linear share: expected start and end to differ, received {self.start:g} for both", "constant"
            )

    @property
    def name(self) -> str:
        """``linear(start to end)``."""
        return f"{self.kind}({self.start:g} to {self.end:g})"

    def share(self, readings: Readings | None, step: int) -> Share:
        """Return the share of the step; readings are not looked at."""
        del readings
        step = check_step(step)
        value = linear(self.start, self.end, step, self.steps)
        return Share(value, f"{min(step, self.steps)} of the {self.steps} steps from {self.start:g} to {self.end:g}")


@dataclass
class OverlapShare(ShareRule):
    """The share falls linearly from 1 to 0 as a statistic goes from its worse level to its better one.

    It is judged on the last reading, by default on the interval's end that shows less overlap, so that chance alone
    does not lower the share. Without a reading, or where it cannot be judged, the share is 1.

    Attributes:
        statistic: name in the readings, its alias, or ``own.`` and a name for a number of your own.
        low: in mode ``"max"`` the share is 1 at or below this level, in mode ``"min"`` it is 0.
        high: in mode ``"max"`` the share is 0 at or above this level, in mode ``"min"`` it is 1.
        mode: ``"max"`` when larger is better, ``"min"`` when smaller is.
        on: judge on the ``"bound"`` (the interval's end that is worse) or on the ``"value"`` itself.
    """

    kind: ClassVar[str] = "overlap"
    statistic: str
    low: float
    high: float
    mode: Literal["max", "min"] = "max"
    on: Literal["bound", "value"] = "bound"

    def __post_init__(self) -> None:
        self.statistic = checked(self.statistic)
        check_settings(self)
        where = f"overlap share on {self.statistic}"
        self.low, self.high = level(self.low, f"{where}: low"), level(self.high, f"{where}: high")
        if self.low >= self.high:
            raise RefusedSettingsError(
                f"{where}: expected low below high, received low = {self.low:g} and high = {self.high:g}; where "
                'smaller is better, set mode="min" and keep low below high',
                "levels cross",
            )

    @property
    def name(self) -> str:
        """``overlap(statistic)``."""
        return f"{self.kind}({self.statistic})"

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The statistic, by the worse end of its interval."""
        rising = self.mode == "max"
        low = Amount(("low",), self.low, None if rising else "at_most")
        high = Amount(("high",), self.high, "at_least" if rising else None)
        return (Criterion(self.statistic, (self._end,), (low, high)),)

    @property
    def _end(self) -> End:
        return "low" if self.mode == "max" else "high"

    def share(self, readings: Readings | None, step: int) -> Share:
        """Return the share for the last reading; the step is not looked at."""
        check_step(step)
        if readings is None:
            return Share(1.0, f"{self.statistic} has not been read yet")
        reading = Reading.from_summary(readings, self.statistic, self.on)
        if reading.problem:
            return Share(1.0, reading.problem)
        bound = reading.bound(self._end, self.on)
        way = min(1.0, max(0.0, (bound - self.low) / (self.high - self.low)))
        what = "value" if self.on == "value" else f"{'lower' if self._end == 'low' else 'upper'} end"
        reason = f"{reading.words()}: its {what} against low = {self.low:g} and high = {self.high:g}"
        return Share(1.0 - way if self.mode == "max" else way, reason, bound)
