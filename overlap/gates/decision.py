"""The decision of a gate, and what every gate can do."""

import enum
import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

from overlap.arguments import callers_level, whole_number
from overlap.definitions.names import states_of
from overlap.errors import UserError
from overlap.gates.criteria import Side, Wait
from overlap.gates.reader import Reader
from overlap.gates.reading import Reading, Readings
from overlap.plain_json import plain


class Action(enum.StrEnum):
    """What to do with the stage."""

    stay = "stay"
    advance = "advance"
    fall_back = "fall_back"
    abort = "abort"


@dataclass(frozen=True)
class Level:
    """A level that a gate compared a reading with.

    Attributes:
        statistic: what was read, without its states.
        states: on whose transcripts: ``student``, ``fixed``, …; None for a number of your own.
        side: ``at_least`` or ``at_most`` of a threshold, ``lowest`` or ``highest`` healthy value, or ``best``: the mark
            of a plateau after the reading.
        level: in the statistic's unit.
        bound: the bound of the interval (or the value) that was compared; None where nothing could be judged.
        satisfied: whether it reaches the threshold, keeps within the limit, or improves on the mark before it.
        group: of the utterances that were read, such as ``language=de``; None for a whole set.
    """

    statistic: str
    states: str | None
    side: Side
    level: float
    bound: float | None
    satisfied: bool
    group: str | None = None

    @classmethod
    def from_reading(cls, name: str, side: Side, level: float, bound: float | None, satisfied: bool) -> "Level":
        """Return a level for a reading by the name that the gate has for it, such as ``fixed.union_size``."""
        states, statistic = states_of(name)
        return cls(statistic, states, side, level, bound, satisfied)


@dataclass(frozen=True)
class Decision:
    """The decision of a gate on one reading.

    Attributes:
        action: what to do.
        reason: why, in words with the numbers.
        gate: which gate says so.
        numbers: what was read and compared, as JSON can hold it (an undefined number is None).
        levels: every level that a reading was compared with; none for a gate that counts steps.
        unmet: conditions that do not hold and without which nothing may open, in words; see `Precondition`.
    """

    action: Action
    reason: str
    gate: str
    numbers: dict[str, Any] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()
    unmet: tuple[str, ...] = ()


class Gate(Reader):
    """Reads probe summaries and decides when a stage is over.

    A kind of gate is a dataclass: the arguments of its constructor are its parameters, fields with ``init=False`` its
    state. Recipes derive their keys from the parameters: from annotation, default, description and minimum.

    To add a kind, write the dataclass with `kind`, `name`, `read` and, if it reads statistics, `criteria`; export it
    here and in `overlap`; add a line to ``SECTIONS`` of ``distill/recipe/gates.py``. Override a property below where
    its default is wrong for the kind. In every kind, fields named ``on``, ``patience`` and ``min_steps`` have the
    meaning that `Threshold` gives them.
    """

    @property
    def members(self) -> "tuple[Gate, ...]":
        """The gates that a combination is made of; none for a simple gate."""
        return ()

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """Fields of whose groups it reads, such as ``language``; none for a gate that reads whole sets."""
        return tuple(dict.fromkeys(field for gate in self.members for field in gate.grouped_by))

    @property
    def member_keys(self) -> tuple[str, ...]:
        """Where a recipe has each member."""
        return tuple(f"gates.{i}" for i in range(len(self.members)))

    @property
    def can_advance(self) -> bool:
        """Whether the gate can ever say advance; one that cannot only guards others (see `AllOf`)."""
        return True

    @property
    def judges_each_reading(self) -> bool:
        """Whether advance means that a level is reached at this very reading (or that steps are done), as it must in a
        condition of `Precondition`. A gate that compares readings with each other may advance at any level."""
        return True

    @property
    def opens_without_intervals(self) -> bool:
        """Whether the gate can say advance on readings without intervals, such as those of a single utterance."""
        return self.can_advance and self.works_without_intervals

    @property
    def first_reading(self) -> Wait:
        """At which reading of a stage, counted from 1, the gate can act at the earliest."""
        return Wait(getattr(self, "patience", 1), "patience" if hasattr(self, "patience") else "")

    @property
    def first_step(self) -> Wait:
        """After how many steps of a stage the gate can advance at the earliest."""
        return Wait(getattr(self, "min_steps", 0), "min_steps" if hasattr(self, "min_steps") else "")

    @property
    def due_steps(self) -> frozenset[int]:
        """Steps of a stage at which the gate must be read, even if no probe is due."""
        return frozenset()

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

    def _look_up(self, summary: Readings, statistic: str, on: str, *, absent_at_first: bool = False) -> "Reading":
        """Return the reading of a statistic; warns when it is missing for the first time, or the second, if asked."""
        assert statistic in self.statistics, f"{type(self).__name__}.criteria lacks {statistic}, which the gate reads"
        reading = Reading.from_summary(summary, statistic, on)
        missed: Counter[str] = vars(cast(Any, self)).setdefault("_missed", Counter())
        missed[statistic] += reading.estimate is None
        if reading.estimate is None and missed[statistic] == 1 + absent_at_first:
            warnings.warn(
                f"{self.name}: {reading.problem}, which holds {', '.join(summary) or 'nothing'}; the gate cannot act "
                "on it until a reading has it",
                stacklevel=callers_level(),
            )
        return reading

    def state_dict(self) -> dict[str, Any]:
        """Return kind, parameters and state, as JSON can hold them."""
        state = {item.name: deepcopy(getattr(self, item.name)) for item in self._fields(init=False)}
        return {"gate": self.kind, "parameters": self.parameters(), "state": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            UserError: if the state was saved by another kind of gate or with other parameters.
        """
        self._refuse(state)
        for name, value in state["state"].items():
            setattr(self, name, deepcopy(value))  # or a list would go on growing in what was saved

    def reset(self) -> None:
        """Forget all readings."""
        fresh = type(self)(**{item.name: getattr(self, item.name) for item in self._fields(init=True)})
        for item in self._fields(init=False):
            setattr(self, item.name, getattr(fresh, item.name))

    def _refuse(self, state: Mapping[str, Any]) -> None:
        saved, mine = (state.get("gate"), plain(state.get("parameters"))), (self.kind, self.parameters())
        if saved != mine:
            raise UserError(
                f"gate state: this gate is {mine[0]} with {mine[1]}, the state was saved by {saved[0]} with {saved[1]}"
                "; resume with the gate of the saved run, or start the stage again without its state"
            )


def count(streak: int, patience: int) -> str:
    """Return a streak in words."""
    return f"{streak} reading{'s' if streak != 1 else ''} of {patience} needed"


def check_step(step: int) -> int:
    """Return the step as Python's own number; refuse one that is not a whole number of at least 0."""
    found = whole_number(step)
    if found is None or found < 0:
        raise UserError(f"step: expected the whole number of steps done in the stage, received {step!r}")
    return found


def too_early(step: int, min_steps: int) -> str:
    """Return what to add to a reason while the stage is too young to advance, empty afterwards."""
    return f", but step {step} is before the {min_steps} steps the stage must have" if step < min_steps else ""
