"""The gate that reads another one for every group of utterances."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, ClassVar, cast

from overlap.arguments import callers_level
from overlap.definitions.group_names import by_group, check_field, group_name, in_group
from overlap.errors import UserError
from overlap.estimates.estimate import Estimate
from overlap.gates.criteria import Criterion
from overlap.gates.decision import Action, Decision, Gate, check_step
from overlap.gates.reading import Readings
from overlap.plain_json import plain

NAMED = 3
"""Groups whose numbers a reason gives, the worst ones; it counts the others."""
_FIRST = (Action.abort, Action.fall_back, Action.stay, Action.advance)


class EveryGroup(Gate):
    """Advance when a gate advances for every group of utterances at one and the same reading.

    A mean over a set hides its worst part: if nine tenths of the utterances are English, a student that never ends a
    German transcript still reads 0.9. A group is a value of a field of the utterances, such as every language. Each is
    read by a copy of the gate with a state of its own, so that streaks and marks are the group's. An alarm (fall back,
    abort) of one group is an alarm.

    The readings of a group are named ``language=de/end_of_text``: field and value, a slash, and what the gate itself
    reads; all else in a reading is ignored. `overlap.estimates.group_readings.group_readings` makes them from sums by
    utterance, `overlap.definitions.group_names.named_by_group` from a mapping for each group. ``distill`` gives those
    of every group of at least 20 utterances.

    A group that is new at a reading starts without earlier readings, so the gate does not advance before the group has
    satisfied it by itself. A group that was read before and is missing is no evidence: its state stays as it is, and
    the gate does not advance until the group is back; alarms of others still count. The reason names the worst groups
    first: those that decided, and among them the one whose bound is the furthest from its level, as a share of the
    level.

    Args:
        of: the field, such as ``language``.
        gate: read for each group by itself.

    Raises:
        UserError: if the field cannot be named, or the gate reads no statistic, or groups itself.

    Example:
        >>> from overlap import Estimate, Threshold
        >>> gate = EveryGroup("language", Threshold("end_of_text", at_least=0.9))
        >>> reading = {"language=de/end_of_text": Estimate(0.6, 0.1, 0.4, 0.8, 30, 30),
        ...            "language=en/end_of_text": Estimate(1.0, 0.0, 0.93, 1.0, 50, 50)}
        >>> decision = gate.read(reading, 100)
        >>> decision.action, decision.reason[:47]
        (<Action.stay: 'stay'>, 'language=de: end_of_text 0.6 [0.4, 0.8] over 30')
    """

    kind: ClassVar[str] = "every_group"

    def __init__(self, of: str, gate: Gate) -> None:
        self.of = check_field(of, f"{self.kind}: of")
        if not isinstance(gate, Gate):
            raise UserError(f"{self.kind}: expected a gate to read for every group, received {type(gate).__name__}")
        if not gate.criteria:
            raise UserError(
                f"{self.kind}: {gate.name} reads no statistic, so it is the same for every group; write it beside this "
                "gate, as in AllOf"
            )
        if gate.grouped_by:
            raise UserError(
                f"{self.kind}: {gate.name} reads groups itself, and there are no groups within groups; write one "
                "beside the other, as in AllOf"
            )
        self.gate = gate
        self._gates: dict[str, Gate] = {}
        self._is_told = False

    @property
    def members(self) -> tuple[Gate, ...]:
        """The gate that is read for each group, without its states."""
        return (self.gate,)

    @property
    def member_keys(self) -> tuple[str, ...]:
        """Where a recipe has it."""
        return ("gate",)

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Those of the gate, of each group."""
        return self.gate.criteria

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The field."""
        return (self.of,)

    @property
    def can_advance(self) -> bool:
        """Whether the gate can."""
        return self.gate.can_advance

    @property
    def judges_each_reading(self) -> bool:
        """Whether the gate does."""
        return self.gate.judges_each_reading

    @property
    def opens_without_intervals(self) -> bool:
        """Whether the gate does."""
        return self.gate.opens_without_intervals

    @property
    def due_steps(self) -> frozenset[int]:
        """Those of the gate."""
        return self.gate.due_steps

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.of!r}, {self.gate!r})"

    @property
    def name(self) -> str:
        """``every_group(language: gate)``."""
        return f"{self.kind}({self.of}: {self.gate.name})"

    def read(self, summary: Readings, step: int) -> Decision:
        """Let the copy of each group read its part of the summary, then combine; see the class."""
        step = check_step(step)
        found = by_group(cast(Mapping[str, Estimate], summary), self.of)
        absent = sorted(set(self._gates) - set(found))
        for group in sorted(set(found) - set(self._gates)):
            self._gates[group] = self._copy()
        decisions = {group: self._gates[group].read(found[group], step) for group in sorted(found)}
        if not found:
            self._tell(summary)
        action = self._combined(decisions, absent)
        worst = sorted(decisions, key=lambda group: (_FIRST.index(decisions[group].action), _room(decisions[group])))
        numbers = {
            "step": step,
            "of": self.of,
            "absent": absent,
            "groups": [
                {"group": one, "decision": str(decisions[one].action), "numbers": decisions[one].numbers}
                for one in worst
            ],
        }
        levels = tuple(
            replace(level, group=group_name(self.of, one)) for one in worst for level in decisions[one].levels
        )
        unmet = tuple(f"{group_name(self.of, one)}: {words}" for one in worst for words in decisions[one].unmet)
        return Decision(action, self._reason(decisions, worst, absent), self.name, numbers, levels, unmet)

    def _combined(self, decisions: Mapping[str, Decision], absent: list[str]) -> Action:
        actions = {decision.action for decision in decisions.values()}
        if alarm := next((one for one in (Action.abort, Action.fall_back) if one in actions), None):
            return alarm
        return Action.advance if actions == {Action.advance} and not absent else Action.stay

    def _reason(self, decisions: Mapping[str, Decision], worst: list[str], absent: list[str]) -> str:
        parts = []
        if absent:
            names = ", ".join(group_name(self.of, group) for group in absent)
            parts.append(f"no reading of {names}, which {'was' if len(absent) == 1 else 'were'} read before")
        elif not decisions:
            parts.append(f"no reading of a group of {self.of}")
        shown = [f"{group_name(self.of, group)}: {decisions[group].reason}" for group in worst[:NAMED]]
        others = Counter(str(decisions[group].action).replace("_", " ") for group in worst[NAMED:])
        more = [f"{n} other{'s' if n > 1 else ''}: {action}" for action, n in others.items()]
        alarms = bool(worst) and decisions[worst[0]].action in _FIRST[:2]
        return "; ".join([*shown, *more, *parts] if alarms else [*parts, *shown, *more])

    def _tell(self, summary: Readings) -> None:
        """Warn of the first reading without a group."""
        if not self._is_told and not self._gates:
            self._is_told = True
            wanted = in_group(self.of, "VALUE", self.gate.statistics[0])
            warnings.warn(
                f"{self.name}: no reading of a group of {self.of}, such as {wanted}, in the reading, which holds "
                f"{', '.join(summary) or 'nothing'}; the gate cannot act until a reading has one",
                stacklevel=callers_level(),
            )

    def _copy(self) -> Gate:
        """A gate for one group, without readings."""
        fresh = deepcopy(self.gate)
        fresh.reset()
        return fresh

    def parameters(self) -> dict[str, Any]:
        """The field, and kind and parameters of the gate."""
        return {"of": self.of, "gate": {"gate": self.gate.kind, "parameters": plain(self.gate.parameters())}}

    def state_dict(self) -> dict[str, Any]:
        """Return kind, parameters and the state of every group."""
        groups = {group: gate.state_dict() for group, gate in self._gates.items()}
        return {"gate": self.kind, "parameters": self.parameters(), "state": {"groups": groups}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            UserError: if the state was saved by another gate, or with other parameters.
        """
        self._refuse(state)
        self._gates = {}
        for group, saved in state["state"]["groups"].items():
            self._gates[group] = self._copy()
            self._gates[group].load_state_dict(saved)

    def reset(self) -> None:
        """Forget all readings, but not which groups there are."""
        self._gates = {group: self._copy() for group in self._gates}


def _room(decision: Decision) -> float:
    """Return how far a group's bounds are beyond the levels that they missed (or that they satisfied, if none was
    missed), as a share of the level; the least of several. Below 0 it missed one, −∞ where nothing could be judged."""
    levels = [level for level in decision.levels if level.side != "best"]
    missed = [level for level in levels if not level.satisfied] or levels
    if any(level.bound is None for level in missed):
        return -math.inf
    rooms = []
    for level in missed:
        beyond = cast(float, level.bound) - level.level
        rooms.append((beyond if level.side in ("at_least", "lowest") else -beyond) / (abs(level.level) or 1.0))
    return min(rooms, default=0.0)
