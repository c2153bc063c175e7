"""The gate that waits until a statistic certainly improves no more."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from overlap.definitions import checked
from overlap.definitions.names import change_of, changed_by, is_change
from overlap.errors import UserError
from overlap.gates.criteria import Amount, Criterion, End, Side
from overlap.gates.decision import Action, Decision, Gate, Level, check_step, count, too_early
from overlap.gates.reading import Readings
from overlap.gates.settings import check_settings, minimum


@dataclass
class Saturation(Gate):
    """Advance when a statistic has certainly improved by no more than ``min_delta`` for some readings.

    It reads the paired change since the reading before, ``total_variation.change``, which
    `overlap.estimates.paired_change` computes from both readings' sums. A reading is saturated if the entire interval
    says that the improvement is at most ``min_delta``: its upper end in mode ``"max"``, its lower in ``"min"``. So a
    change that is not known well enough is no saturation, and a change for the worse is one. `Plateau` asks the
    opposite question: it advances where an improvement is not certain, which a small probe does at once.

    ``min_delta`` must be more than a probe of this size leaves open where nothing changes: about 3.7 / n of the
    statistic's range for n positions that are alike (`overlap.estimates.bootstrap.unseen_share`).

    Readings in a row count; one without a change, such as the first of a visit, neither counts nor resets them. Read
    ``fixed`` states: there both readings have the same positions. On the student's own it includes the change of
    transcripts.

    Attributes:
        statistic: name of the statistic, not of its change.
        min_delta: improvement between two readings that is too small to wait for, in the statistic's unit, at least 0.
        mode: ``"max"`` when larger is better, ``"min"`` when smaller is.
        patience: saturated readings in a row before the gate advances.
        min_steps: steps that the stage must have before it may advance.
    """

    kind: ClassVar[str] = "saturation"
    statistic: str
    min_delta: float = field(metadata=minimum(0))
    mode: Literal["max", "min"] = "max"
    patience: int = field(default=2, metadata=minimum(1, "readings"))
    min_steps: int = field(default=0, metadata=minimum(0, "steps"))
    streak: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.statistic = checked(self.statistic)
        if is_change(self.statistic):
            raise UserError(
                f'statistic: expected the statistic, not its change, received "{self.statistic}"; write '
                f'"{changed_by(self.statistic)}"'
            )
        check_settings(self)

    @property
    def name(self) -> str:
        """``saturation(statistic)``."""
        return f"{self.kind}({self.statistic})"

    @property
    def judges_each_reading(self) -> bool:
        """No: it advances at whatever level the statistic stays."""
        return False

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The change, by the end that shows the largest improvement."""
        return (Criterion(self._change, (self._end,), (Amount(("min_delta",), self._level, self._side),)),)

    @property
    def _change(self) -> str:
        return change_of(self.statistic)

    @property
    def _end(self) -> End:
        return "high" if self.mode == "max" else "low"

    @property
    def _side(self) -> Side:
        return "at_most" if self.mode == "max" else "at_least"

    @property
    def _level(self) -> float:
        return self.min_delta if self.mode == "max" else -self.min_delta

    def read(self, summary: Readings, step: int) -> Decision:
        """Compare the largest improvement that the interval allows with ``min_delta``; see the class."""
        check_step(step)
        reading = self._look_up(summary, self._change, "bound", absent_at_first=True)
        numbers = {"step": step, "min_delta": self.min_delta, **reading.numbers()}
        if reading.problem:
            numbers |= {"bound": None, "streak": self.streak}
            first = ", as from the first one of a visit" if reading.estimate is None else ""
            return Decision(Action.stay, f"{reading.problem}{first}", self.name, numbers, self._held_against(None))
        bound = reading.bound(self._end, "bound")
        saturated = self._saturated(bound)
        self.streak = self.streak + 1 if saturated else 0
        verdict = f"{'excludes' if saturated else 'allows'} an improvement by more than {self.min_delta:g}"
        reason = f"{reading.words()} {verdict} ({count(self.streak, self.patience)})"
        done = self.streak >= self.patience
        reason += too_early(step, self.min_steps) if done else ""
        action = Action.advance if done and step >= self.min_steps else Action.stay
        numbers |= {"bound": bound, "streak": self.streak}
        return Decision(action, reason, self.name, numbers, self._held_against(bound))

    def _saturated(self, bound: float) -> bool:
        return bound <= self._level if self.mode == "max" else bound >= self._level

    def _held_against(self, bound: float | None) -> tuple[Level]:
        satisfied = bound is not None and self._saturated(bound)
        return (Level.from_reading(self._change, self._side, self._level, bound, satisfied),)
