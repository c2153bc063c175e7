"""The gate that waits for a statistic to stop improving."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from overlap.definitions import checked
from overlap.gates.decision import Action, Decision, Gate, Readings, check_settings, check_step, count, level, too_early


@dataclass
class Plateau(Gate):
    """Advance when a statistic has shown no certain improvement for some readings.

    The first reading's value is the mark. A reading improves on it when the near end of its interval (the lower end in
    mode ``"max"``, the upper in ``"min"``) lies beyond the mark by more than ``min_delta``; then its value becomes the
    mark and the count starts again. Because a mark moves only on certain improvement, slow progress adds up until it is
    certain, and a lucky reading does not raise the bar. A later reading that is worse than the mark counts as no
    improvement.

    Attributes:
        statistic: name in the summary, its alias, or ``own.`` and a name for a number of your own.
        min_delta: improvement too small to wait for, in the statistic's unit, at least 0.
        patience: readings without improvement before the gate advances.
        mode: ``"max"`` when larger is better, ``"min"`` when smaller is.
        on: ``"bound"`` of the interval, or the ``"value"``.
        min_steps: steps that the stage must have before it may advance.
    """

    kind: ClassVar[str] = "plateau"
    statistic: str
    min_delta: float = 0.0
    patience: int = 3
    mode: Literal["max", "min"] = "max"
    on: Literal["bound", "value"] = "bound"
    min_steps: int = 0
    best: float | None = field(default=None, init=False)
    since: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.statistic = checked(self.statistic)
        check_settings(on=self.on, patience=self.patience, min_steps=self.min_steps)
        if self.mode not in ("max", "min"):
            raise ValueError(f'mode: expected "max" or "min", received {self.mode!r}')
        self.min_delta = level(self.min_delta, "min_delta", least=0)

    @property
    def name(self) -> str:
        """``plateau(statistic)``."""
        return f"{self.kind}({self.statistic})"

    def read(self, summary: Readings, step: int) -> Decision:
        """Compare the reading with the mark; see the class."""
        check_step(step)
        reading = self._look_up(summary, self.statistic, self.on)
        numbers = {"step": step, "min_delta": self.min_delta, **reading.numbers()}
        if reading.estimate is None or reading.problem:
            return Decision(
                Action.stay, reading.problem, self.name, {**numbers, "best": self.best, "since": self.since}
            )
        sign = 1.0 if self.mode == "max" else -1.0
        bound = reading.bound("low" if self.mode == "max" else "high", self.on)
        mark = self.best
        if mark is None:
            self.best, self.since, verdict = reading.estimate.value, 0, "is the first mark"
        elif sign * (bound - mark) > self.min_delta:
            self.best, self.since = reading.estimate.value, 0
            verdict = f"improves on {mark:.5g} by more than {self.min_delta:g}"
        else:
            self.since += 1
            verdict = f"does not certainly improve on {mark:.5g} by more than {self.min_delta:g}"
        reason = f"{reading.words()} {verdict} ({count(self.since, self.patience)})"
        done = self.since >= self.patience
        reason += too_early(step, self.min_steps) if done else ""
        action = Action.advance if done and step >= self.min_steps else Action.stay
        return Decision(action, reason, self.name, {**numbers, "best": self.best, "since": self.since})
