"""The gate that only counts steps."""

from dataclasses import dataclass, field
from typing import ClassVar

from overlap.gates.decision import Action, Decision, Gate, Readings, check_step
from overlap.gates.settings import check_settings, minimum


@dataclass
class FixedSteps(Gate):
    """Advance once a number of steps is done, whatever the overlap, as in arXiv 2605.28139; the control condition.

    Attributes:
        steps: of the stage.
    """

    kind: ClassVar[str] = "fixed_steps"
    steps: int = field(metadata=minimum(1))

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def name(self) -> str:
        """``fixed_steps``."""
        return self.kind

    def read(self, summary: Readings, step: int) -> Decision:
        """Advance at ``steps`` and after; the summary is not looked at."""
        check_step(step)
        action = Action.advance if step >= self.steps else Action.stay
        return Decision(action, f"step {step} of {self.steps}", self.name, {"step": step, "steps": self.steps})
