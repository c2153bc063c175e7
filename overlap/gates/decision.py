"""What a gate answers, and what every gate can do."""

import enum
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Literal, cast

from overlap.definitions import by_canonical_name
from overlap.definitions.names import states_of
from overlap.errors import UserError
from overlap.estimates.estimate import RECORDED, Estimate
from overlap.gates.settings import as_number
from overlap.plain_json import plain

Readings = Mapping[str, Estimate] | Mapping[str, float]
"""What a gate reads, by name or alias: estimates, or plain numbers for gates that judge on the value."""


class Action(enum.StrEnum):
    """What to do with the stage."""

    stay = "stay"
    advance = "advance"
    fall_back = "fall_back"
    abort = "abort"


Side = Literal["at_least", "at_most", "lowest", "highest", "best"]
"""What a level is: a threshold to reach, a healthy limit, or the mark that is to be improved on."""


@dataclass(frozen=True)
class Level:
    """A level that a gate compared a reading with.

    Attributes:
        statistic: what was read, without its states.
        states: on whose transcripts: ``student``, ``fixed``, …; None for a number of your own.
        side: ``at_least`` or ``at_most`` of a threshold, ``lowest`` or ``highest`` healthy value, or ``best``: the mark
            of a plateau after the reading.
        level: in the statistic's unit.
        bound: the end of the interval (or the value) that was compared; None where nothing could be judged.
        satisfied: whether it reaches the threshold, keeps within the limit, or improves on the mark before it.
    """

    statistic: str
    states: str | None
    side: Side
    level: float
    bound: float | None
    satisfied: bool

    @classmethod
    def from_reading(cls, name: str, side: Side, level: float, bound: float | None, satisfied: bool) -> "Level":
        """A level for a reading by the name that the gate has for it, such as ``fixed.union_size``."""
        states, statistic = states_of(name)
        return cls(statistic, states, side, level, bound, satisfied)


@dataclass(frozen=True)
class Decision:
    """A gate's answer to one reading.

    Attributes:
        action: what to do.
        reason: why, in words with the numbers.
        gate: which gate says so.
        numbers: what was read and compared, as JSON can hold it (an undefined number is None).
        levels: every level that a reading was compared with; none for a gate that counts steps.
    """

    action: Action
    reason: str
    gate: str
    numbers: dict[str, Any] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()


class Gate(ABC):
    """Reads probe summaries and decides when a stage is over.

    A kind of gate is a dataclass: the arguments of its constructor are its parameters, fields with ``init=False`` its
    state. Recipes derive their keys from the parameters: from annotation, default, description and minimum.
    """

    kind: ClassVar[str]

    @property
    def can_advance(self) -> bool:
        """Whether the gate can ever say advance; one that cannot only guards others (see `AllOf`)."""
        return True

    @property
    @abstractmethod
    def name(self) -> str:
        """The gate as decisions name it, such as ``threshold(union_size)``."""

    @abstractmethod
    def read(self, summary: Readings, step: int) -> Decision:
        """Take in one reading and decide.

        Args:
            summary: estimates by name, such as an `OverlapSummary`. A statistic that is missing or undefined is no
                evidence: the decision is ``stay``, with a reason, and the state is unchanged; the first time that one
                is missing, it warns. A gate that judges on the value takes plain numbers as well.
            step: optimization steps done in this stage.

        Raises:
            UserError: if step is not a whole number, a statistic comes under two names, or it is a plain number
                without the interval that the gate judges on, or no number at all.
        """

    def _look_up(self, summary: Readings, statistic: str, on: str) -> "Reading":
        """The reading of a statistic; warns the first time that it is missing."""
        reading = Reading.from_summary(summary, statistic, on)
        missed: set[str] = vars(cast(Any, self)).setdefault("_missed", set())
        if reading.estimate is None and statistic not in missed:
            missed.add(statistic)
            warnings.warn(
                f"{self.name}: {reading.problem}, which holds {', '.join(summary) or 'nothing'}; the gate cannot act "
                "on it until a reading has it",
                stacklevel=3,
            )
        return reading

    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {item.name: plain(getattr(self, item.name)) for item in self._fields(init=True)}

    def state_dict(self) -> dict[str, Any]:
        """Kind, parameters and state, as JSON can hold them."""
        state = {item.name: getattr(self, item.name) for item in self._fields(init=False)}
        return {"gate": self.kind, "parameters": self.parameters(), "state": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            UserError: if the state was saved by another kind of gate or with other parameters.
        """
        self._refuse(state)
        for name, value in state["state"].items():
            setattr(self, name, value)

    def reset(self) -> None:
        """Forget all readings."""
        for item in self._fields(init=False):
            setattr(self, item.name, item.default)

    def _fields(self, *, init: bool) -> list[Field]:
        return [item for item in fields(cast(Any, self)) if item.init is init]

    def _refuse(self, state: Mapping[str, Any]) -> None:
        saved, mine = (state.get("gate"), plain(state.get("parameters"))), (self.kind, self.parameters())
        if saved != mine:
            raise UserError(
                f"gate state: this gate is {mine[0]} with {mine[1]}, the state was saved by {saved[0]} with {saved[1]}"
                "; resume with the gate of the saved run, or start the stage again without its state"
            )


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
        """A number that comes without interval and counts."""
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
        """The ``"low"`` or ``"high"`` end of the interval, or the value itself where the gate judges on the value."""
        assert self.estimate is not None
        return self.estimate.value if on == "value" else getattr(self.estimate, side)

    def words(self) -> str:
        """The estimate with its interval and what it rests on."""
        item = self.estimate
        if item is None or self.problem:
            return self.problem
        if self.bare:
            return f"{self.statistic} {item.value:.5g}"
        interval = "" if math.isnan(item.low) else f" [{item.low:.5g}, {item.high:.5g}]"
        return f"{self.statistic} {item.value:.5g}{interval} over {utterances(item)}"

    def numbers(self) -> dict[str, float | int | None]:
        """The estimate's numbers, None where they are not known."""
        if self.estimate is None:
            return dict.fromkeys(RECORDED)
        known = plain(self.estimate.to_dict())
        return {**dict.fromkeys(RECORDED), "value": known["value"]} if self.bare else known


def utterances(estimate: Estimate) -> str:
    """How much an estimate rests on, in words."""
    return f"{estimate.n_groups} utterance{'s' if estimate.n_groups != 1 else ''}, {estimate.n_positions} positions"


def count(streak: int, patience: int) -> str:
    """A streak in words."""
    return f"{streak} reading{'s' if streak != 1 else ''} of {patience} needed"


def check_step(step: int) -> None:
    """Refuse a step that is not a whole number of at least 0."""
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise UserError(f"step: expected the whole number of steps done in the stage, received {step!r}")


def too_early(step: int, min_steps: int) -> str:
    """What to add to a reason while the stage is too young to advance, empty afterwards."""
    return f", but step {step} is before the {min_steps} steps the stage must have" if step < min_steps else ""


def _in_python_numbers(estimate: Estimate, statistic: str) -> Estimate:
    """The same estimate as JSON can hold it, whatever numbers a user made it of."""
    found = {item.name: as_number(getattr(estimate, item.name)) for item in fields(Estimate)}
    for name, number in found.items():
        if number is None:
            raise UserError(
                f"{statistic}: expected a number as its Estimate's {name}, received {getattr(estimate, name)!r}"
            )
    return Estimate(**cast(Any, found))
