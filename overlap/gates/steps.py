"""The gate that only counts steps."""

from dataclasses import dataclass
from typing import ClassVar

from overlap.errors import UserError
from overlap.gates.decision import Action, Decision, Gate, Readings, check_step


@dataclass
class FixedSteps(Gate):
    """Advance once a number of steps is done, whatever the overlap, as in arXiv 2605.28139; the control condition.

    Attributes:
        steps: at least 1.
    """

    kind: ClassVar[str] = "fixed_steps"
    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise UserError(f"steps: expected a whole number of at least 1, received {self.steps!r}")

    @property
    def name(self) -> str:
        """``fixed_steps``."""
        return self.kind

    def read(self, summary: Readings, step: int) -> Decision:
        """Advance at ``steps`` and after; the summary is not looked at."""
        check_step(step)
        action = Action.advance if step >= self.steps else Action.stay
        return Decision(action, f"step {step} of {self.steps}", self.name, {"step": step, "steps": self.steps})
