"""What a gate answers, and what every gate can do."""

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, cast

from overlap.estimate import Estimate


class Action(enum.StrEnum):
    """What to do with the stage."""

    stay = "stay"
    advance = "advance"
    fall_back = "fall_back"
    abort = "abort"


@dataclass(frozen=True)
class Decision:
    """A gate's answer to one reading.

    Attributes:
        action: what to do.
        reason: why, in words with the numbers.
        gate: which gate says so.
        numbers: what was read and compared, as JSON can hold it (an undefined number is None).
    """

    action: Action
    reason: str
    gate: str
    numbers: dict[str, Any] = field(default_factory=dict)


class Gate(ABC):
    """Reads probe summaries and decides when a stage is over.

    A kind of gate is a dataclass: the arguments of its constructor are its parameters, fields with ``init=False`` its
    state.
    """

    kind: ClassVar[str]

    @property
    def can_advance(self) -> bool:
        """Whether the gate can ever say advance; one that cannot only guards others (see `All`)."""
        return True

    @property
    @abstractmethod
    def name(self) -> str:
        """The gate as decisions name it, such as ``threshold(union_size)``."""

    @abstractmethod
    def read(self, summary: Mapping[str, Estimate], step: int) -> Decision:
        """Take in one reading and decide.

        Args:
            summary: estimates by name, such as an `OverlapSummary`. A statistic that is missing or undefined is no
                evidence: the gate stays, says so, and keeps its state.
            step: optimisation steps done in this stage.
        """

    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {item.name: _plain(getattr(self, item.name)) for item in self._fields(init=True)}

    def state_dict(self) -> dict[str, Any]:
        """Kind, parameters and state, as JSON can hold them."""
        state = {item.name: getattr(self, item.name) for item in self._fields(init=False)}
        return {"gate": self.kind, "parameters": self.parameters(), "state": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: if the state was saved by another kind of gate or with other parameters.
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
        saved, mine = (state.get("gate"), _plain(state.get("parameters"))), (self.kind, self.parameters())
        if saved != mine:
            raise ValueError(
                f"gate state: this gate is {mine[0]} with {mine[1]}, the state was saved by {saved[0]} with {saved[1]}"
                "; resume with the gate of the saved run, or start the stage anew without its state"
            )


@dataclass(frozen=True)
class Reading:
    """One statistic of one reading, or why there is nothing to read.

    Attributes:
        estimate: None when the statistic is missing.
        problem: why it cannot be judged, empty when it can.
    """

    statistic: str
    estimate: Estimate | None
    problem: str

    @classmethod
    def of(cls, summary: Mapping[str, Estimate], statistic: str, on: str) -> "Reading":
        """Look up a statistic that is to be judged on its interval's ``"bound"`` or on its ``"value"``."""
        if statistic not in summary:
            return cls(statistic, None, f"{statistic} is missing from the reading")
        estimate = summary[statistic]
        if math.isnan(estimate.value):
            problem = f"{statistic} is undefined ({estimate.n_undefined} positions without a value)"
        elif on == "bound" and (math.isnan(estimate.low) or math.isnan(estimate.high)):
            problem = f"{statistic} is {estimate.value:.5g} without an interval ({utterances(estimate)})"
        else:
            problem = ""
        return cls(statistic, estimate, problem)

    def bound(self, side: str, on: str) -> float:
        """The ``"low"`` or ``"high"`` end of the interval, or the value itself where the gate judges on the value."""
        assert self.estimate is not None
        return self.estimate.value if on == "value" else getattr(self.estimate, side)

    def words(self) -> str:
        """The estimate with its interval and what it rests on."""
        item = self.estimate
        if item is None or self.problem:
            return self.problem
        interval = "" if math.isnan(item.low) else f" [{item.low:.5g}, {item.high:.5g}]"
        return f"{self.statistic} {item.value:.5g}{interval} over {utterances(item)}"

    def numbers(self) -> dict[str, float | int | None]:
        """The estimate's fields; all None when it is missing."""
        names = [item.name for item in fields(Estimate)]
        return {name: None if self.estimate is None else _plain(getattr(self.estimate, name)) for name in names}


def utterances(estimate: Estimate) -> str:
    """How much an estimate rests on, in words."""
    return f"{estimate.n_groups} utterance{'s' if estimate.n_groups != 1 else ''}, {estimate.n_positions} positions"


def count(streak: int, patience: int) -> str:
    """A streak in words."""
    return f"{streak} reading{'s' if streak != 1 else ''} of {patience} needed"


def check_step(step: int) -> None:
    """Refuse a step that is not a whole number of at least 0."""
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"step: expected the whole number of steps done in the stage, received {step!r}")


def check_settings(*, on: str, patience: int, min_steps: int) -> None:
    """Refuse settings out of range, naming what is allowed."""
    if on not in ("bound", "value"):
        raise ValueError(f'on: expected "bound" (of the interval) or "value", received {on!r}')
    if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
        raise ValueError(f"patience: expected a whole number of readings of at least 1, received {patience!r}")
    if isinstance(min_steps, bool) or not isinstance(min_steps, int) or min_steps < 0:
        raise ValueError(f"min_steps: expected a whole number of steps of at least 0, received {min_steps!r}")


def too_early(step: int, min_steps: int) -> str:
    """What to add to a reason while the stage is too young to advance, empty afterwards."""
    return f", but step {step} is before the {min_steps} steps the stage must have" if step < min_steps else ""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return str(value) if isinstance(value, enum.Enum) else value
