"""The gate that waits for a statistic to pass a level."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from overlap.definitions import checked
from overlap.gates.criteria import Amount, Criterion, End, Side
from overlap.gates.decision import Action, Decision, Gate, Level, check_step, count, too_early
from overlap.gates.reading import Reading, Readings
from overlap.gates.settings import RefusedSettingsError, check_settings, level, minimum


@dataclass
class Threshold(Gate):
    """Advance when a statistic has certainly passed a level for some readings.

    ``at_least`` is judged on the interval's lower bound and ``at_most`` on its upper bound, so that chance alone does
    not end a stage. A reading that reaches the level adds to the streak and one that does not resets it. With
    ``release`` a streak that has begun survives readings between the level and ``release``: these neither add nor
    reset. After the streak is complete the gate says advance at every reading until a reset.

    Attributes:
        statistic: name in the summary, its alias, or ``own.`` and a name for a number of your own.
        at_least: the level that the interval's lower bound must reach; give this or at_most.
        at_most: the level that the interval's upper bound must not exceed.
        on: judge on the ``"bound"`` (the interval's bound) or on the ``"value"`` itself.
        patience: consecutive readings that must reach the level.
        release: the looser level, past which a streak is reset; by default the level itself.
        min_steps: steps that the stage must have before it may advance.
        min_utterances: utterances that a reading must rest on; fewer are no evidence, which matters on the value.
    """

    kind: ClassVar[str] = "threshold"
    statistic: str
    at_least: float | None = None
    at_most: float | None = None
    on: Literal["bound", "value"] = "bound"
    patience: int = field(default=1, metadata=minimum(1, "readings"))
    release: float | None = None
    min_steps: int = field(default=0, metadata=minimum(0, "steps"))
    min_utterances: int = field(default=0, metadata=minimum(0, "utterances"))
    streak: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.statistic = checked(self.statistic)
        check_settings(self)
        where = f"threshold on {self.statistic}"
        if (self.at_least is None) == (self.at_most is None):
            received, rule = "neither", "no level"
            if self.at_least is not None:
                both = f"at_least={self.at_least} and at_most={self.at_most}"
                received, rule = f"{both}; for a corridor combine two with AllOf", "two levels"
            raise RefusedSettingsError(
                f"{where}: expected exactly one of at_least and at_most, received {received}", rule
            )
        for name in ("at_least", "at_most", "release"):
            if getattr(self, name) is not None:
                setattr(self, name, level(getattr(self, name), f"{where}: {name}"))
        if self.release is not None and (self.release > self._level if self._rising else self.release < self._level):
            raise RefusedSettingsError(
                f"{where}: expected release {'at most' if self._rising else 'at least'} {self._level:g} (the level), "
                f"received {self.release:g}",
                "release",
            )

    @property
    def name(self) -> str:
        """``threshold(statistic)``."""
        return f"{self.kind}({self.statistic})"

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The statistic, by the end that must pass the level."""
        amounts = [Amount((self._side,), self._level, self._side)]
        if self.release is not None:
            amounts.append(Amount(("release",), self.release, None))
        return (Criterion(self.statistic, (self._end,), tuple(amounts)),)

    @property
    def judges_each_reading(self) -> bool:
        """Not with ``release``: then it goes on advancing at readings between the level and that."""
        return self.release is None

    @property
    def _side(self) -> Side:
        return "at_least" if self._rising else "at_most"

    @property
    def _end(self) -> End:
        return "low" if self._rising else "high"

    @property
    def _rising(self) -> bool:
        return self.at_least is not None

    @property
    def _level(self) -> float:
        found = self.at_least if self.at_least is not None else self.at_most
        assert found is not None
        return found

    def read(self, summary: Readings, step: int) -> Decision:
        """Compare the interval's bound with the level; see the class."""
        step = check_step(step)
        reading = self._look_up(summary, self.statistic, self.on)
        numbers = {"step": step, "at_least": self.at_least, "at_most": self.at_most, **reading.numbers()}
        problem = reading.problem or self._too_few(reading)
        if problem:
            numbers |= {"bound": None, "streak": self.streak}
            return Decision(Action.stay, problem, self.name, numbers, self._held_against(None))
        bound = reading.bound(self._end, self.on)
        if self._reaches(bound, self._level):
            self.streak += 1
            verdict = "satisfies"
        elif self.streak and self.release is not None and self._reaches(bound, self.release):
            verdict = f"misses, but is not past the release at {self.release:g},"
        else:
            self.streak = 0
            verdict = "misses"
        wanted = f"at {'least' if self._rising else 'most'} {self._level:g}"
        reason = f"{reading.words()} {verdict} {wanted} ({count(self.streak, self.patience)})"
        done = self.streak >= self.patience
        reason += too_early(step, self.min_steps) if done else ""
        action = Action.advance if done and step >= self.min_steps else Action.stay
        numbers |= {"bound": bound, "streak": self.streak}
        return Decision(action, reason, self.name, numbers, self._held_against(bound))

    def _too_few(self, reading: Reading) -> str:
        n = reading.estimate.n_groups if reading.estimate is not None else 0
        return f"{reading.words()}, fewer than the {self.min_utterances} needed" if n < self.min_utterances else ""

    def _held_against(self, bound: float | None) -> tuple[Level]:
        satisfied = bound is not None and self._reaches(bound, self._level)
        return (Level.from_reading(self.statistic, self._side, self._level, bound, satisfied),)

    def _reaches(self, bound: float, mark: float) -> bool:
        return bound >= mark if self._rising else bound <= mark
