"""The result of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..run import best
from ..run.best import Best
from ..run.checkpoint import Outcome, TrainingState


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        path: The run directory.
        model: The last checkpoint, loadable with `from_pretrained`.
        step: Training steps taken.
        outcome: `finished`; `stopped` if a gate did not open in time, so that the run ended before its last stage; or
            `aborted` by a gate.
        reason: Why, in words.
        best: The weights with the lowest error rate, if the recipe keeps them.
        best_model: Their folder, loadable likewise.
    """

    path: Path
    model: Path
    step: int
    outcome: Outcome
    reason: str
    best: Best | None = None
    best_model: Path | None = None

    @classmethod
    def from_state(cls, path: Path, model: Path, state: TrainingState) -> RunResult:
        """Return the result from the state of a run that has ended."""
        assert state.outcome is not None
        found = best.best_of(state)
        return cls(
            path,
            model,
            state.step,
            state.outcome,
            state.reason,
            found,
            None if found is None else best.directory(path, found),
        )

    @property
    def aborted(self) -> bool:
        """Whether a gate aborted the run."""
        return self.outcome == "aborted"

    @property
    def stopped(self) -> bool:
        """Whether a gate did not open in time."""
        return self.outcome == "stopped"
