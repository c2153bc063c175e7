"""The numbers that rules read: the newest probe of a run, the levels for it, and how they compare."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import pandas as pd

from overlap import Estimate
from overlap.gates import READINESS, Question, ReadinessLevel

from ..formatting import count, number, plural
from ..run.load import Run

KINDS = {"sft": "supervised training", "td": "teacher data", "opd": "on-policy training"}


@dataclass(frozen=True, eq=False)
class Reading:
    """A probe on one kind of states.

    Attributes:
        where: Stage and step, in words.
        kind: `sft`, `td` or `opd`; empty for the trace of a probe.
        step: Training steps taken.
        rows: Its rows of `Run.probes`.
        estimates: By statistic, those that are defined.
    """

    where: str
    kind: str
    step: int
    rows: pd.DataFrame
    estimates: Mapping[str, Estimate] = field(default_factory=dict)


def newest_probe(run: Run, states: str = "student") -> Reading | None:
    """Return the last probe on a kind of states; None without one."""
    rows = run.probes.loc[run.probes["states"] == states]
    if rows.empty:
        return None
    last = rows.iloc[-1]
    rows = rows.loc[(rows["visit"] == last["visit"]) & (rows["step"] == last["step"])]
    found = {str(row["statistic"]): Estimate.from_dict(row) for row in rows.to_dict("records")}
    defined = {name: one for name, one in found.items() if not math.isnan(one.value)}
    step, stage = int(last["step"]), str(last["stage"])
    if run.probed is not None:
        return Reading("this probe", "", step, rows, defined)
    kinds = dict(zip(run.begun["visit"], run.begun["type"], strict=True))
    return Reading(at(stage, step), str(kinds.get(last["visit"], "")), step, rows, defined)


def newest_rows(run: Run, frame: pd.DataFrame, **of: str) -> tuple[pd.DataFrame, str] | None:
    """Return the rows of the last probe that a frame has, with its stage and step in words; None without one.

    Args:
        run: A run, finished or not, or the trace of a probe.
        frame: A frame of it with rows of probes, such as `Run.signal`.
        of: Values of columns that the rows must have.
    """
    rows = frame
    for name, value in of.items():
        rows = rows.loc[rows[name] == value]
    if rows.empty:
        return None
    last = rows.iloc[-1]
    rows = rows.loc[(rows["visit"] == last["visit"]) & (rows["step"] == last["step"])]
    return rows, "this probe" if run.probed is not None else at(str(last["stage"]), int(last["step"]))


def at(stage: str, step: float) -> str:
    """Return `on-policy, step 1,200`."""
    return f"{stage}, step {count(step)}"


def level_for(run: Run, statistic: str, question: Question = Question.switch) -> ReadinessLevel:
    """Return the level of a statistic: that of the run's recipe if the table has one, else that of any pair."""
    names = {row.name for row in READINESS}
    own = f"{run.recipe}/{question}/{statistic}"
    return READINESS[own if own in names else f"any/{question}/{statistic}"]


class Standing(Enum):
    """How a number compares with its level, by its interval."""

    MET = "met"
    OPEN = "on the right side, not certainly"
    DOUBTFUL = "on the wrong side, not certainly"
    MISSED = "certainly on the wrong side"


def standing(estimate: Estimate, row: ReadinessLevel) -> Standing:
    """Compare a defined number with a level; without an interval nothing is certain."""
    sign = 1.0 if row.side == "at_least" else -1.0
    value, level = sign * estimate.value, sign * row.level
    ends = sorted((sign * estimate.low, sign * estimate.high))
    bounded = not any(map(math.isnan, ends))
    if value >= level:
        return Standing.MET if bounded and ends[0] >= level else Standing.OPEN
    return Standing.MISSED if bounded and ends[1] < level else Standing.DOUBTFUL


def shown(estimate: Estimate, digits: int = 2, scale: float = 1.0) -> str:
    """Return `0.40 [0.29, 0.51]`; a note instead of a missing interval."""
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return f"{number(scale * estimate.value, digits)} (no interval)"
    return estimate.shown(digits, scale)


def n_of(estimate: Estimate, unit: str, over: str = "utterance") -> str:
    """Return `n = 80 transcripts`, or `n = 1,413 positions in 80 utterances`."""
    n = estimate.n_positions
    counted = f"n = {count(n)} {plural(unit, n)}"
    groups = estimate.n_groups
    return counted if groups in (0, n) else f"{counted} in {count(groups)} {plural(over, groups)}"
