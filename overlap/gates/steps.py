"""The gate that only counts steps."""

from dataclasses import dataclass, field
from typing import ClassVar

from overlap.gates.criteria import Wait
from overlap.gates.decision import Action, Decision, Gate, check_step
from overlap.gates.reading import Readings
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

    @property
    def first_step(self) -> Wait:
        """``steps``."""
        return Wait(self.steps, "steps")

    @property
    def due_steps(self) -> frozenset[int]:
        """``steps``."""
        return frozenset({self.steps})

    def read(self, summary: Readings, step: int) -> Decision:
        """Advance at ``steps`` and after; the summary is not looked at."""
        step = check_step(step)
        action = Action.advance if step >= self.steps else Action.stay
        return Decision(action, f"step {step} of {self.steps}", self.name, {"step": step, "steps": self.steps})
