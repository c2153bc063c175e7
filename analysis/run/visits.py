"""The stays of a run in its stages. A stage that a gate fell back to is visited twice."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .load import Run
from .wanted import want_run

Key = tuple[int, str]
"""Training step and stage."""
EXHAUSTED, ENTRY, RUN = "exhausted", "entry", "run"
"""What stands for a gate in readings of none: the stage's steps are spent, it has only begun, the run has ended."""


@dataclass(frozen=True)
class Visit:
    """One stay in a stage.

    Attributes:
        number: From 0, in the order of the run.
        stage: Name of the stage.
        kind: `sft`, `td` or `opd`.
        first_step: Training steps taken before it.
        last_step: Training steps when it was left; of a stage not left yet, at its gate's last reading.
        decision: `advance`, `fall_back`, `abort`, `stop`, `end`, or `stay` where the run is still in the stage.
        gate: Which gate decided.
        reason: Why, in words.
    """

    number: int
    stage: str
    kind: str
    first_step: int
    last_step: int
    decision: str
    gate: str
    reason: str

    @property
    def steps(self) -> int:
        """Training steps of this stay."""
        return self.last_step - self.first_step

    @property
    def exhausted(self) -> bool:
        """Whether it was left because its steps were spent, its gate not having opened."""
        return self.gate == EXHAUSTED


def visits(run: Run) -> list[Visit]:
    """The stays of a run in its stages, in order; the last one may be going on.

    Raises:
        ValueError: No run.
    """
    want_run(run)
    kinds = {stage["name"]: stage["type"] for stage in run.stages}
    found = []
    for number, readings in run.decisions.groupby(visit_numbers(run.decisions), sort=False):
        last = readings.iloc[-1]
        decisive = readings[readings["decision"] != "stay"]
        chosen = decisive.iloc[0] if len(decisive) else last
        decision, reason = chosen["decision"], chosen["reason"]
        if last["decision"] == "end" and last["reason"] != "finished":
            reason = last["reason"] if reason in last["reason"] else f"{reason}; {last['reason']}"
            # The trainer refuses to fall back where there is nowhere to go, or too often.
            decision = "abort" if decision == "fall_back" else decision
        stage = last["stage"]
        end, length = int(chosen["step"]), int(chosen["stage_step"])
        found.append(
            Visit(int(str(number)), stage, kinds[stage], end - length, end, decision, chosen["gate"], reason),
        )
    return found


def at_end(rows: pd.DataFrame, visit: Visit) -> pd.DataFrame:
    """The evaluations of a stay where it ended; of a stay that goes on, the latest since it began.

    Args:
        rows: Evaluations of the student, with the number of the visit that each belongs to in the column `visit`.
        visit: The stay.
    """
    own = rows.loc[rows["visit"] == visit.number]
    if visit.decision != "stay":
        return own.loc[own["step"] == visit.last_step]
    return own.loc[own["step"] > visit.first_step].tail(1)


def visit_numbers(rows: pd.DataFrame) -> pd.Series:
    """The number of the visit that each row of a log belongs to.

    Args:
        rows: Gate readings, probes, or evaluations of the student, in the order they were written. Each of these has a
            row at the end of every visit, and a visit is never followed by another of the same stage.

    Returns:
        Integers from 0, on the index of `rows`.
    """
    stage = rows["stage"]
    return pd.Series(stage.ne(stage.shift()).to_numpy().cumsum() - 1, index=rows.index)
