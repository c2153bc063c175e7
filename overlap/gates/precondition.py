"""The gate that reads overlap only where transcripts end."""

from dataclasses import replace
from typing import Any, ClassVar

from overlap.errors import UserError
from overlap.gates.combine import Combination
from overlap.gates.decision import Action, Decision, Gate
from overlap.gates.reading import Readings


class Precondition(Combination):
    """Let a gate advance only at readings where all conditions hold; otherwise it is not read.

    Overlap cannot tell a good student from one whose transcripts do not end: in the audit SimOPD the five kinds of runs
    that collapsed had the highest masses (0.991 to 0.9997). So conditions on the end of text come first. At a reading
    where one of them does not hold, the gate forgets its earlier readings: it advances on readings that all conditions
    allow, without one in between that they do not.

    A gate that only guards (`Collapse`) would not be read when it is needed most. Set it beside this one instead:
    ``AnyOf(Precondition(…, then=…), Collapse(…))``.

    A condition must say of each reading by itself whether it is in order, as `Threshold` does. With ``release`` that
    holds below its level too, and `Plateau` and `Saturation` hold wherever a statistic stays, so these are refused.

    Example:
        >>> from overlap import Estimate, Threshold
        >>> gate = Precondition(Threshold("end_of_text", at_least=0.9), then=Threshold("overlap_ratio", at_least=0.5))
        >>> loops = {"end_of_text": Estimate(0.4, 0.1, 0.3, 0.5, 60, 60, 0),
        ...          "overlap_ratio": Estimate(0.96, 0.01, 0.95, 0.97, 5000, 60, 0)}
        >>> gate.read(loops, 100).action
        <Action.stay: 'stay'>
    """

    kind: ClassVar[str] = "precondition"

    def __init__(self, *conditions: Gate, then: Gate) -> None:
        super().__init__(*conditions, then)
        if not conditions:
            raise UserError(f"{self.kind}: expected at least one condition before the gate, received none")
        for gate in self.gates:
            if not gate.can_advance:
                raise UserError(
                    f"{self.kind}: {gate.name} never advances, so nothing would ever open; guard with it beside this "
                    f"gate: AnyOf(Precondition(…), {type(gate).__name__}(…))"
                )

        for gate in self.conditions:
            if not gate.judges_each_reading:
                raise UserError(
                    f"{self.kind}: {gate.name} may hold at readings below its level (a release), or at any level (a "
                    "plateau, a saturation), so it is no condition; write a threshold without release"
                )

    @property
    def conditions(self) -> tuple[Gate, ...]:
        """What must hold at a reading."""
        return self.gates[:-1]

    @property
    def then(self) -> Gate:
        """The gate that decides where the conditions hold."""
        return self.gates[-1]

    @property
    def member_keys(self) -> tuple[str, ...]:
        """Where a recipe has each member."""
        return (*(f"conditions.{i}" for i in range(len(self.conditions))), "then")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.conditions))}, then={self.then!r})"

    @property
    def name(self) -> str:
        """``precondition(statistics) then gate``."""
        read = dict.fromkeys(
            name for one in self.conditions for name in (() if one.grouped_by else one.statistics) or (one.name,)
        )
        return f"{self.kind}({', '.join(read)}) then {self.then.name}"

    def read(self, summary: Readings, step: int) -> Decision:
        """Read the conditions, and the gate where all of them advance."""
        decisions = [gate.read(summary, step) for gate in self.conditions]
        unmet = [decision for decision in decisions if decision.action is not Action.advance]
        if unmet:
            self.then.reset()
            reasons = tuple(f"{decision.gate} does not hold: {decision.reason}" for decision in unmet)
            words = f"{'; '.join(reasons)}; {self.then.name} is not read"
            return replace(self.combined(decisions, Action.stay, words, step), unmet=reasons)
        last = self.then.read(summary, step)
        reason = "; ".join([last.reason, *(f"{decision.gate} holds: {decision.reason}" for decision in decisions)])
        return self.combined([*decisions, last], last.action, reason, step)

    def parameters(self) -> dict[str, Any]:
        """Kind and parameters of the conditions and of the gate."""
        *conditions, then = [{"gate": gate.kind, "parameters": gate.parameters()} for gate in self.gates]
        return {"conditions": conditions, "then": then}

    def _advances(self, votes: list[bool]) -> bool:
        return all(votes)
