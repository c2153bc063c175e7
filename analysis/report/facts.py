"""From a run to what its verdicts rest on."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ..inference.errors import NAMES, Unit, error_rate_difference
from ..run.load import ERROR_RATES, Run
from ..run.visits import Visit, visit_numbers, visits
from .evidence import ErrorChange, Number, StageFacts

ENOUGH_SPEAKERS = 10
"""From so many on, intervals are over speakers: utterances of a speaker are not independent. Fewer make none."""
Evaluation = dict[str, Any]
"""A row of `Run.evaluations`."""
UNITS: dict[str, Unit] = {"wer": "words", "mer": "tokens"}


def stage_facts(run: Run) -> list[StageFacts]:
    """What is known of each stay of a run in a stage, in order.

    Raises:
        ValueError: Transcripts of two evaluations are not of the same utterances, or a file is damaged.
    """
    ways = visits(run)
    probes = run.probes.assign(visit=visit_numbers(run.probes))
    evaluated = _evaluations(run)
    facts, ends = [], []
    for visit in ways:
        before = _start(evaluated, ways, visit)
        if visit.number == 0 and before is not None:
            ends.append((float(before[f"{run.error_rate}.value"]), before, "the run's start"))
        after = _row(evaluated, visit.number, visit.last_step)
        errors = _change(run, before, after, "its start")
        best = min((end for end in ends if not math.isnan(end[0])), key=lambda end: end[0], default=None)
        baseline = None
        if best is not None and before is not None and best[1]["step"] != before["step"]:
            baseline = _change(run, best[1], after, best[2])
        if after is not None and visit.decision != "fall_back":
            ends.append((float(after[f"{run.error_rate}.value"]), after, visit.stage))
        own, fixed = (probes.loc[(probes["visit"] == visit.number) & (probes["states"] == s)] for s in STATES)
        facts.append(
            StageFacts(
                *(visit.stage, visit.kind, visit.first_step, visit.last_step, visit.decision, visit.reason),
                *(_numbers(part, step) for part in (own, fixed) for step in (visit.first_step, visit.last_step)),
                errors=errors if visit.steps else None,
                baseline=baseline,
            )
        )
    return facts


STATES = ("student", "fixed")


def _numbers(probes: pd.DataFrame, step: int) -> dict[str, Number]:
    found = {}
    for row in probes.loc[(probes["step"] == step) & probes["standard_error"].notna()].to_dict("records"):
        # Statistics of whole transcripts have as many positions as there are transcripts.
        unit = "transcript" if row["n_positions"] == row["n_groups"] else "position"
        found[row["statistic"]] = Number(row["value"], row["low"], row["high"], int(row["n_positions"]), unit)
    return found


def _evaluations(run: Run) -> pd.DataFrame:
    """The student's evaluations on the run's first set, with the stay that each belongs to."""
    rows = run.evaluations.loc[run.evaluations["model"] == "student"]
    rows = rows.loc[rows["set"] == rows["set"].iloc[0]] if len(rows) else rows
    return rows.assign(visit=visit_numbers(rows))


def _start(evaluated: pd.DataFrame, ways: list[Visit], visit: Visit) -> Evaluation | None:
    """The evaluation of the weights that a stay began with; after a fall back those were not evaluated there."""
    if visit.number == 0:
        return _row(evaluated, 0, visit.first_step)
    if ways[visit.number - 1].decision == "fall_back":
        return None
    return _row(evaluated, visit.number - 1, visit.first_step)


def _row(evaluated: pd.DataFrame, visit: int, step: int) -> Evaluation | None:
    rows = evaluated.loc[(evaluated["visit"] == visit) & (evaluated["step"] == step)]
    return None if rows.empty else {str(name): value for name, value in rows.iloc[-1].items()}


def _change(run: Run, before: Evaluation | None, after: Evaluation | None, since: str) -> ErrorChange | None:
    if before is None or after is None:
        return None
    rate, unit = run.error_rate, UNITS[run.error_rate]
    one, two = (_transcripts(run, row) for row in (before, after))
    if len(one) and len(two):
        by = "speaker" if _by_speaker(one) and _by_speaker(two) else None
        found = error_rate_difference(one, two, unit, by=by)
        first, second, change = (
            Number(i.value, i.low, i.high, i.n, by or "utterance")
            for i in (found.first, found.second, found.difference)
        )
        return ErrorChange(NAMES[unit], first, second, change, since, found.total)
    first, second = (_rate(row, rate) for row in (before, after))
    ends = (second.value - first.value, second.low - first.high, second.high - first.low)
    change = Number(*ends, second.n, "utterance")
    return ErrorChange(NAMES[ERROR_RATES[rate]], first, second, change, since, int(after[f"{rate}.total"]), False)


def _rate(evaluation: Evaluation, rate: str) -> Number:
    value, low, high = (float(evaluation[f"{rate}.{end}"]) for end in ("value", "low", "high"))
    return Number(value, low, high, int(evaluation["n_utterances"]), "utterance")


def _transcripts(run: Run, evaluation: Evaluation) -> pd.DataFrame:
    written = run.transcripts
    places = ("step", "stage", "set", "model")
    chosen = pd.Series(True, index=written.index)
    for place in places:
        chosen &= written[place] == evaluation[place]
    return written.loc[chosen]


def _by_speaker(transcripts: pd.DataFrame) -> bool:
    speakers = transcripts["speaker"].tolist()
    return not any(map(pd.isna, speakers)) and len(set(speakers)) >= ENOUGH_SPEAKERS
