"""Rules on evaluations: the error rate since the stage's start, and transcripts that were cut off."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from overlap.definitions import Ranges
from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate
from overlap.gates import Question

from ..formatting import count, number, plural
from ..run.load import Run
from ..stages.ends import rows_at_start
from ..stages.error_rates import UNITS, cluster_of, transcripts_of
from ..stats.error_rates import NAMES, error_rate_difference
from .advisory import Advisory, Rule, Severity
from .readings import Standing, at, level_for, shown, standing

Found = Sequence[Advisory] | None


def _students(run: Run) -> pd.DataFrame:
    rows = run.main_evaluations
    return rows.loc[rows["model"] == "student"]


def _worse_than_at_start(run: Run) -> Found:
    students = _students(run)
    if students.empty or not run.visits:
        return None
    last = {str(name): value for name, value in students.iloc[-1].items()}
    visit = next((one for one in run.visits if one.number == last["visit"]), None)
    before = None if visit is None else rows_at_start(students, visit).tail(1)
    if visit is None or before is None or before.empty:
        return None
    first = {str(name): value for name, value in before.iloc[0].items()}
    if first["step"] == last["step"]:
        return None
    one, two = (transcripts_of(run, row) for row in (first, last))
    if one.empty or two.empty:
        return None
    unit = UNITS[run.error_rate]
    try:
        found = error_rate_difference(one, two, unit, by=cluster_of(one, two))
    except UserError:  # other utterances or another normalizer: the report says so where it compares them
        return None
    change = found.difference
    if not change.low > 0:
        return []
    clusters = f"{count(change.n_groups)} {plural(found.cluster, change.n_groups)}"
    said = (
        f"{NAMES[unit]} {number(100 * found.first.value, 1)} → {number(100 * found.second.value, 1)} %, "
        f"{change.shown(1, 100, sign=True)} points since step {count(first['step'])} (paired, {clusters}, n = "
        f"{count(found.total)} {unit})"
    )
    if visit.kind == "opd":
        severity = Severity.CRITICAL
        advice = (
            "Stop, and go back to the weights at the start of the stage: on-policy training should not cost errors."
        )
    elif visit.kind == "td":
        severity = Severity.WARNING
        advice = (
            "This is usual while the student learns the teacher's written form. If it stays so, compare ten "
            "transcripts with the teacher's and check that the normalizer makes both forms equal."
        )
    else:
        severity = Severity.WARNING
        advice = "Lower the learning rate, and check that the labels have the written form of the references."
    title = f"{NAMES[unit]} is worse than at the stage's start"
    return [Advisory("worse_error_rate", severity, title, at(last["stage"], last["step"]), said, advice, change)]


def _finished_share(run: Run) -> Found:
    students = _students(run)
    if students.empty:
        return None
    last = {str(name): value for name, value in students.iloc[-1].items()}
    written = transcripts_of(run, last)
    if written.empty or "finished" not in written or bool(written["finished"].isna().any()):
        return None
    by = cluster_of(written)
    values = {"end_of_text": written["finished"].to_numpy(dtype=float)}
    groups = written[by or "id"].to_numpy(dtype=str)
    found = estimate(GroupSums.from_values(values, groups), ranges=Ranges())["end_of_text"]
    row = level_for(run, "end_of_text", Question.collapse)
    how = standing(found, row)
    if how not in (Standing.MISSED, Standing.DOUBTFUL):
        return []
    over = f" of {count(found.n_groups)} {plural(by, found.n_groups)}" if by else ""
    said = (
        f"{shown(found)} of the evaluated transcripts ended by themselves, n = {count(len(written))} transcripts{over}"
        f"; level {row.bound}"
    )
    advice = (
        "The error rate counts cut transcripts. Raise `max_new_tokens` of [evaluation] if they only are long; if they "
        "loop, go back to the last checkpoint whose transcripts end."
    )
    severity = Severity.CRITICAL if how is Standing.MISSED else Severity.WARNING
    title = "Evaluated transcripts are cut off"
    return [Advisory("truncated_evaluation", severity, title, at(last["stage"], last["step"]), said, advice, found)]


RULES = (
    Rule("truncated_evaluation", "end of evaluated transcripts", _finished_share),
    Rule("worse_error_rate", "error rate since the stage's start", _worse_than_at_start),
)
