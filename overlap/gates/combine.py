"""Gates made of gates."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from overlap.errors import UserError
from overlap.gates.criteria import Criterion
from overlap.gates.decision import Action, Decision, Gate
from overlap.gates.reading import Readings


class Combination(Gate):
    """Members read every summary, so that all streaks continue; abort, then fall back, win over the rest."""

    def __init__(self, *gates: Gate) -> None:
        if not gates:
            raise UserError(f"{self.kind}: expected at least one gate, received none")
        for gate in gates:
            if not isinstance(gate, Gate):
                unpack = f"; write {type(self).__name__}(*gates)" if isinstance(gate, list | tuple) else ""
                raise UserError(f"{self.kind}: expected gates, received {type(gate).__name__}{unpack}")
        self.gates = gates

    @property
    def members(self) -> tuple[Gate, ...]:
        """The gates, in the order given."""
        return self.gates

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Those of all members."""
        return tuple(criterion for gate in self.gates for criterion in gate.criteria)

    @property
    def can_advance(self) -> bool:
        """Whether a member can."""
        return any(gate.can_advance for gate in self.gates)

    @property
    def judges_each_reading(self) -> bool:
        """Whether all members that can advance do."""
        return all(gate.judges_each_reading for gate in self.gates if gate.can_advance)

    @property
    def opens_without_intervals(self) -> bool:
        """Whether enough members do."""
        return self._advances([gate.opens_without_intervals for gate in self.gates])

    @property
    def due_steps(self) -> frozenset[int]:
        """Those of all members."""
        return frozenset().union(*(gate.due_steps for gate in self.gates))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.gates))})"

    @property
    def name(self) -> str:
        """``all(…)`` or ``any(…)`` of the members' names."""
        return f"{self.kind}({', '.join(gate.name for gate in self.gates)})"

    def read(self, summary: Readings, step: int) -> Decision:
        """Let every member read, then combine."""
        decisions = [gate.read(summary, step) for gate in self.gates]
        actions = {decision.action for decision in decisions}
        action = next((alarm for alarm in (Action.abort, Action.fall_back) if alarm in actions), None)
        if action is None:
            voters = (decision for decision, gate in zip(decisions, self.gates, strict=True) if gate.can_advance)
            votes = [decision.action is Action.advance for decision in voters]
            action = Action.advance if self._advances(votes) else Action.stay
        # The members that caused the decision come first.
        ordered = sorted(decisions, key=lambda decision: decision.action is not action)
        reason = "; ".join(f"{decision.gate} says {decision.action}: {decision.reason}" for decision in ordered)
        return self.combined(decisions, action, reason, step)

    def combined(self, decisions: Sequence[Decision], action: Action, reason: str, step: int) -> Decision:
        """A decision with the numbers and levels of the members'."""
        members = [
            {"gate": decision.gate, "decision": str(decision.action), "numbers": decision.numbers}
            for decision in decisions
        ]
        levels = tuple(level for decision in decisions for level in decision.levels)
        unmet = self._unmet(decisions)
        return Decision(action, reason, self.name, {"step": step, "members": members}, levels, unmet)

    def _unmet(self, decisions: Sequence[Decision]) -> tuple[str, ...]:
        """Return conditions without which the combination may not open, given the decisions of all members."""
        return tuple(words for decision in decisions for words in decision.unmet)

    @abstractmethod
    def _advances(self, votes: list[bool]) -> bool: ...

    def parameters(self) -> dict[str, object]:
        """Return kind and parameters of every member."""
        return {"gates": [{"gate": gate.kind, "parameters": gate.parameters()} for gate in self.gates]}

    def state_dict(self) -> dict[str, object]:
        """Return kind, parameters and the members' states."""
        return {
            "gate": self.kind,
            "parameters": self.parameters(),
            "state": {"gates": [gate.state_dict() for gate in self.gates]},
        }

    def load_state_dict(self, state: Mapping) -> None:
        """Continue from a saved state.

        Raises:
            UserError: if it was saved by another combination.
        """
        self._refuse(state)
        for gate, member in zip(self.gates, state["state"]["gates"], strict=True):
            gate.load_state_dict(member)

    def reset(self) -> None:
        """Forget all readings."""
        for gate in self.gates:
            gate.reset()


class AllOf(Combination):
    """Advance when every member says advance at one and the same reading.

    Members do not latch: a condition that held earlier and holds no longer does not count. `Threshold` and `Plateau`
    keep saying advance as long as their condition holds (until ``release`` is passed), and `FixedSteps` always
    afterwards. A member that can never advance (`Collapse`) has no vote, so that it guards the others without blocking
    them.
    """

    kind: ClassVar[str] = "all"

    def _advances(self, votes: list[bool]) -> bool:
        return bool(votes) and all(votes)


class AnyOf(Combination):
    """Advance when a member says advance and none says fall back or abort."""

    kind: ClassVar[str] = "any"

    def _advances(self, votes: list[bool]) -> bool:
        return any(votes)

    def _unmet(self, decisions: Sequence[Decision]) -> tuple[str, ...]:
        voters = [decision for decision, gate in zip(decisions, self.gates, strict=True) if gate.can_advance]
        return super()._unmet(voters) if all(decision.unmet for decision in voters) else ()
