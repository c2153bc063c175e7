"""The visits of a run to its stages. A stage that a gate fell back to is visited twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.errors import UserError

from .kinds import REMEDY

EXHAUSTED, GUARDED, ENTRY, RUN = "exhausted", "guarded", "entry", "run"
"""Values instead of a gate in `decisions.jsonl` if no gate was read: the steps are spent and the gate has not opened,
or it only guards; the stage has begun; the run ended."""
NO_GATE = (EXHAUSTED, GUARDED, ENTRY, RUN)


@dataclass(frozen=True)
class Visit:
    """One visit of a stage.

    Attributes:
        number: From 0, in the order of the run.
        stage: Name of the stage.
        kind: `sft`, `td` or `opd`.
        first_step: Training steps taken before it.
        last_step: Training steps when it was left; before that, at its gate's last reading.
        decision: `advance`, `fall_back`, `abort`, `stop`, `end`, or `stay` while the run is in it.
        gate: The gate that decided.
        reason: Why, in words.
        outcome: How the run ended in it: `finished`, `stopped` or `aborted`; None if it did not.
        started_from: The weights it began with: the `model` of the recipe, `previous` for those at the end of the visit
            before, or `entry`: after a fall back, those with which the visit that was left had begun; `best_end`: those
            of the visit that was left whose transcripts ended most often.
        source_visit: The visit that had them; None for the recipe's model.
        source_step: Training step that they are of, likewise.
        gated: Whether a gate was read in it, as trainers without gates do not.
    """

    number: int
    stage: str
    kind: str
    first_step: int
    last_step: int
    decision: str
    gate: str
    reason: str
    outcome: str | None = None
    started_from: str = "previous"
    source_visit: int | None = None
    source_step: int | None = None
    gated: bool = True

    @property
    def steps(self) -> int:
        """Training steps of this visit."""
        return self.last_step - self.first_step

    @property
    def ongoing(self) -> bool:
        """Whether it has not ended."""
        return self.decision == "stay"

    @property
    def exhausted(self) -> bool:
        """Whether it was left because its steps were spent, before its gate opened if it has one."""
        return self.gate == EXHAUSTED

    @property
    def guarded(self) -> bool:
        """Whether it was left because its steps were spent, with a gate that only guards."""
        return self.gate == GUARDED

    @property
    def why(self) -> str:
        """The reason, after the outcome if the run ended in this visit."""
        advanced = self.decision == "advance" and self.outcome != "aborted"
        return self.reason if self.outcome is None or advanced else said(self.outcome, self.reason)


def said(outcome: str, reason: str) -> str:
    """Return how a run ended and why.

    >>> said("stopped", "its steps are spent"), said("finished", "")
    ('stopped: its steps are spent', 'finished')
    """
    return ": ".join(filter(None, (outcome, reason)))


def visits_of(begun: pd.DataFrame, decisions: pd.DataFrame) -> tuple[Visit, ...]:
    """Return the visits of a run with gate readings, in order; the last one may be ongoing.

    Args:
        begun: Rows of `visits.jsonl`.
        decisions: Rows of `decisions.jsonl`.
    """
    found = []
    readings = dict(list(decisions.groupby("visit")))
    for row in begun.to_dict("records"):
        number = int(row["visit"])
        if number in readings:
            source = {k: None if pd.isna(row[k]) else int(row[k]) for k in ("source_visit", "source_step")}
            about = {"started_from": str(row["started_from"]), **source}
            end = _end(readings[number])
            found.append(Visit(number, str(row["stage"]), str(row["type"]), int(row["first_step"]), **end, **about))
    return tuple(found)


def _end(readings: pd.DataFrame) -> dict[str, Any]:
    """Return time, decision and reason of the end of a visit."""
    last = readings.iloc[-1]
    decisive = readings[readings["decision"] != "stay"]
    chosen = decisive.iloc[0] if len(decisive) else last
    decision, reason, outcome = chosen["decision"], chosen["reason"], None
    if last["decision"] == "end":
        outcome = last["outcome"]
        if outcome == "stopped" and decision == "advance":
            reason = f"{reason}; {said(outcome, last['reason'])}"
        elif outcome != "finished":
            reason = last["reason"]
        # The trainer refuses to fall back without a stage to return to, or too often.
        decision = "abort" if decision == "fall_back" else decision
    return {
        "last_step": int(chosen["step"]),
        "decision": str(decision),
        "gate": str(chosen["gate"]),
        "reason": str(reason),
        "outcome": outcome,
        "gated": not bool(readings["gate"].isin(NO_GATE).all()),
    }


def check_places(path: Path, stages: Sequence[Mapping[str, Any]], begun: pd.DataFrame) -> None:
    """Refuse visits that contradict the recipe or each other.

    Args:
        path: `visits.jsonl`.
        stages: Of the run's recipe.
        begun: Its rows.

    Raises:
        UserError: Names the file, its line, the field, and what to do.
    """
    kinds = {stage["name"]: stage["type"] for stage in stages}
    check_known(path, begun, "stage", list(kinds), "the recipe's stages")
    seen: set[int] = set()
    sources = begun["source_visit"].astype(object).where(begun["source_visit"].notna(), None).tolist()
    for line, (row, source) in enumerate(zip(begun.to_dict("records"), sources, strict=True), start=1):
        where, number = f"{path}, line {line}", int(row["visit"])
        if row["type"] != kinds[row["stage"]]:
            raise UserError(
                f"{where}: field `type` is `{row['type']}`, but stage {row['stage']!r} of the recipe is "
                f"`{kinds[row['stage']]}`; {REMEDY}"
            )
        if number in seen:
            raise UserError(f"{where}: field `visit` is {number}, as of an earlier line; each visit has one; {REMEDY}")
        if source is not None and int(source) not in seen:
            raise UserError(f"{where}: field `source_visit` is {int(source)}, which is no earlier visit; {REMEDY}")
        seen.add(number)


def check_known(path: Path, rows: pd.DataFrame, field: str, known: Sequence[Any], what: str) -> None:
    """Refuse rows of a stage or visit that the run does not have.

    Args:
        path: Their file.
        rows: All rows of the file.
        field: That names the stage or visit.
        known: What it may hold.
        what: These in words.

    Raises:
        UserError: Names the file, its line, the field, and what to do.
    """
    values = rows[field].tolist()
    number = next((number for number, value in enumerate(values) if value not in known), None)
    if number is not None:
        line = f"{'row' if path.suffix == '.parquet' else 'line'} {number + 1}"
        names = ", ".join(map(repr, known)) or "none"
        raise UserError(f"{path}, {line}: field `{field}` is {values[number]!r}; {what} are {names}; {REMEDY}")
