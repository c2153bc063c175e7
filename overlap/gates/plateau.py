"""The gate that waits for a statistic to stop improving."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from overlap.definitions import checked
from overlap.gates.criteria import Amount, Criterion, End, Wait
from overlap.gates.decision import Action, Decision, Gate, Level, check_step, count, too_early
from overlap.gates.reading import Readings
from overlap.gates.settings import check_settings, minimum


@dataclass
class Plateau(Gate):
    """Advance when a statistic has shown no certain improvement for some readings.

    The first reading's value is the mark. A reading improves on it when the near bound of its interval (the lower bound
    in mode ``"max"``, the upper in ``"min"``) lies beyond the mark by more than ``min_delta``; then its value becomes
    the mark and the count starts again. Because a mark moves only on certain improvement, slow progress adds up until
    it is certain, and a lucky reading does not raise the bar. A later reading that is worse than the mark counts as no
    improvement.

    Attributes:
        statistic: name in the summary, its alias, or ``own.`` and a name for a number of your own.
        min_delta: improvement too small to wait for, in the statistic's unit, at least 0.
        patience: readings without improvement before the gate advances.
        mode: ``"max"`` when larger is better, ``"min"`` when smaller is.
        on: judge on the ``"bound"`` (the interval's bound) or on the ``"value"`` itself.
        min_steps: steps that the stage must have before it may advance.
    """

    kind: ClassVar[str] = "plateau"
    statistic: str
    min_delta: float = field(default=0.0, metadata=minimum(0))
    patience: int = field(default=3, metadata=minimum(1, "readings"))
    mode: Literal["max", "min"] = "max"
    on: Literal["bound", "value"] = "bound"
    min_steps: int = field(default=0, metadata=minimum(0, "steps"))
    best: float | None = field(default=None, init=False)
    since: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.statistic = checked(self.statistic)
        check_settings(self)

    @property
    def name(self) -> str:
        """``plateau(statistic)``."""
        return f"{self.kind}({self.statistic})"

    @property
    def judges_each_reading(self) -> bool:
        """No: it advances at whatever level the statistic stays."""
        return False

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The statistic, by its near bound."""
        return (Criterion(self.statistic, (self._end,), (Amount(("min_delta",), self.min_delta, None),)),)

    @property
    def first_reading(self) -> Wait:
        """One more than ``patience``: the first reading is the mark."""
        return Wait(self.patience + 1, "patience")

    @property
    def _end(self) -> End:
        return "low" if self.mode == "max" else "high"

    def read(self, summary: Readings, step: int) -> Decision:
        """Compare the reading with the mark; see the class."""
        step = check_step(step)
        reading = self._look_up(summary, self.statistic, self.on)
        numbers = {"step": step, "min_delta": self.min_delta, **reading.numbers()}
        if reading.estimate is None or reading.problem:
            numbers |= {"best": self.best, "since": self.since}
            return Decision(Action.stay, reading.problem, self.name, numbers, self._held_against(None, False))
        sign = 1.0 if self.mode == "max" else -1.0
        bound = reading.bound(self._end, self.on)
        mark, improves = self.best, False
        if mark is None:
            self.best, self.since, verdict = reading.estimate.value, 0, "is the first mark"
        elif sign * (bound - mark) > self.min_delta:
            self.best, self.since, improves = reading.estimate.value, 0, True
            verdict = f"improves on {mark:.5g} by more than {self.min_delta:g}"
        else:
            self.since += 1
            verdict = f"does not certainly improve on {mark:.5g} by more than {self.min_delta:g}"
        reason = f"{reading.words()} {verdict} ({count(self.since, self.patience)})"
        done = self.since >= self.patience
        reason += too_early(step, self.min_steps) if done else ""
        action = Action.advance if done and step >= self.min_steps else Action.stay
        numbers |= {"best": self.best, "since": self.since}
        return Decision(action, reason, self.name, numbers, self._held_against(bound, improves))

    def _held_against(self, bound: float | None, improves: bool) -> tuple[Level, ...]:
        return () if self.best is None else (Level.from_reading(self.statistic, "best", self.best, bound, improves),)
