"""From a run to what its verdicts rest on."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from overlap.definitions import SEQUENCE_STATISTICS, TOKEN_STATISTICS

from ..formatting import count
from ..inference.errors import NAMES, error_rate_difference
from ..inference.evaluated import UNITS, cluster_of, evaluated, transcripts_of
from ..run.load import ERROR_RATES, Run
from ..run.visits import Visit, at_end, visit_numbers, visits
from .evidence import ErrorChange, Number, StageFacts

Evaluation = dict[str, Any]
"""A row of `Run.evaluations`."""


def stage_facts(run: Run) -> list[StageFacts]:
    """What is known of each stay of a run in a stage, in order.

    Raises:
        ValueError: Transcripts of two evaluations are not of the same utterances, or a file is damaged.
    """
    ways = visits(run)
    probes = run.probes.assign(visit=visit_numbers(run.probes))
    tested = _evaluations(run)
    facts, ends = [], []
    for visit in ways:
        before = _start(tested, ways, visit)
        if visit.number == 0 and before is not None:
            ends.append((float(before[f"{run.error_rate}.value"]), before, "the run's start"))
        after = _last(at_end(tested, visit))
        errors = _change(run, before, after, "its start", visit)
        best = min((end for end in ends if not math.isnan(end[0])), key=lambda end: end[0], default=None)
        baseline = None
        if best is not None and before is not None and best[1]["step"] != before["step"]:
            baseline = _change(run, best[1], after, best[2], visit)
        if after is not None and visit.decision != "fall_back":
            ends.append((float(after[f"{run.error_rate}.value"]), after, visit.stage))
        own, fixed = (probes.loc[(probes["visit"] == visit.number) & (probes["states"] == s)] for s in STATES)
        facts.append(
            StageFacts(
                *(visit.stage, visit.kind, visit.first_step, visit.last_step, visit.decision, visit.reason),
                *(_numbers(part, step) for part in (own, fixed) for step in (visit.first_step, visit.last_step)),
                errors=errors if visit.steps else None,
                baseline=baseline,
                start_evaluated=before is not None,
            )
        )
    return facts


STATES = ("student", "fixed")


def _numbers(probes: pd.DataFrame, step: int) -> dict[str, Number]:
    """Statistics of a probe; the bins of the funnel, which are in the same file, are none."""
    found = {}
    for row in probes.loc[probes["step"] == step].to_dict("records"):
        name = str(row["statistic"]).split(".")[0]  # `forward_kl.lower` is an end of a statistic
        if name in SEQUENCE_STATISTICS or name in TOKEN_STATISTICS:
            whole = name in SEQUENCE_STATISTICS
            unit, groups = "transcript" if whole else "position", None if whole else int(row["n_groups"])
            ends = float(row["value"]), float(row["low"]), float(row["high"])
            found[str(row["statistic"])] = Number(*ends, int(row["n_positions"]), unit, groups)
    return found


def _evaluations(run: Run) -> pd.DataFrame:
    """The student's evaluations on the run's main set, with the stay that each belongs to."""
    rows = evaluated(run)
    rows = rows.loc[rows["model"] == "student"]
    return rows.assign(visit=visit_numbers(rows))


def _start(tested: pd.DataFrame, ways: list[Visit], visit: Visit) -> Evaluation | None:
    """The evaluation of the weights that a stay began with; after a fall back those were not evaluated there."""
    if visit.number == 0:
        return _row(tested, 0, visit.first_step)
    if ways[visit.number - 1].decision == "fall_back":
        return None
    return _row(tested, visit.number - 1, visit.first_step)


def _row(tested: pd.DataFrame, visit: int, step: int) -> Evaluation | None:
    return _last(tested.loc[(tested["visit"] == visit) & (tested["step"] == step)])


def _last(rows: pd.DataFrame) -> Evaluation | None:
    return None if rows.empty else {str(name): value for name, value in rows.iloc[-1].items()}


def _change(
    run: Run, before: Evaluation | None, after: Evaluation | None, since: str, visit: Visit
) -> ErrorChange | None:
    if before is None or after is None:
        return None
    rate, unit = run.error_rate, UNITS[run.error_rate]
    until = f"at step {count(after['step'])}" if visit.decision == "stay" else ""
    one, two = (transcripts_of(run, row) for row in (before, after))
    if len(one) and len(two):
        by = cluster_of(one, two)
        found = error_rate_difference(one, two, unit, by=by)
        first, second, change = (
            Number(i.value, i.low, i.high, i.n, by or "utterance")
            for i in (found.first, found.second, found.difference)
        )
        return ErrorChange(NAMES[unit], first, second, change, since, found.total, until=until)
    first, second = (_rate(row, rate) for row in (before, after))
    ends = (second.value - first.value, second.low - first.high, second.high - first.low)
    change, total = Number(*ends, second.n, second.unit), int(after[f"{rate}.total"])
    return ErrorChange(NAMES[ERROR_RATES[rate]], first, second, change, since, total, paired=False, until=until)


def _rate(evaluation: Evaluation, rate: str) -> Number:
    value, low, high = (float(evaluation[f"{rate}.{end}"]) for end in ("value", "low", "high"))
    return Number(value, low, high, int(evaluation["n_over"]), str(evaluation["over"]).removesuffix("s"))
