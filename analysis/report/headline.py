"""A run's verdicts in two or three sentences: which stage, what to do, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from ..formatting import count
from .verdict import GATE_SHUT
from .verdict_types import Recommendation, StageVerdict, Standing

SHORT = (Standing.MISSED, Standing.UNDECIDED)
"""Standings of a number that does not certainly satisfy its threshold."""

NO_READINGS = "decisions.jsonl has no gate readings"


def _readiness_clause(stage: StageVerdict) -> str:
    """Return whether the pair was ready for OPD after a stage, or is so far if the stage is ongoing."""
    was, step = "is" if stage.ongoing else "was", count(stage.last_step)
    where = f"({stage.stage}, step {step} so far)" if stage.ongoing else f"after {stage.stage} (step {step})"
    if stage.recommendation is Recommendation.GO:
        return f"the pair {was} ready for OPD {where}" + (f", but {stage.soundness}" if stage.soundness else "")
    known = stage.recommendation is not Recommendation.UNKNOWN
    said = f"the pair {was} not ready" if known else f"it is not known whether the pair {was} ready"
    missed = (f"{row.name} {row.shown}, needed {row.threshold}" for row in stage.evidence if row.standing in SHORT)
    why = GATE_SHUT if stage.gate_shut else next(missed, "") if known else ""
    return f"{said} for OPD {where}{': ' if why else ''}{why}"


def _deciding_stage(warm: Sequence[StageVerdict]) -> StageVerdict:
    """Return the stage that decides whether the pair was ready: the last judged one, or the first of its run of
    "go"."""
    judged = [stage for stage in warm if stage.recommendation is not Recommendation.UNKNOWN]
    ready = list(takewhile(lambda stage: stage.recommendation is Recommendation.GO, reversed(judged)))
    return (ready or judged[-1:] or warm)[-1]


def _on_policy_clauses(last: StageVerdict, steps: str) -> list[str]:
    """Return the change of the error rate during an on-policy stage, and what its attribution requires."""
    assert last.errors is not None
    rates, change = last.errors.rates(), last.errors.change
    verb = "fell" if change.high < 0 else "rose" if change.low > 0 else "did not change significantly:"
    parts = [f"{last.errors.rate} {verb} {rates} during on-policy training ({steps})"]
    if last.controls:
        parts += [one.sentence() for one in last.controls]
    elif change.high < 0:
        parts.append("attribution to OPD needs a control run without it")
    return [*parts, *last.left_out, *filter(None, [last.soundness])]


def headline(verdicts: Sequence[StageVerdict], unknown: str = NO_READINGS) -> str:
    """Return whether the pair of a run was ready for OPD, after which stage, and how its OPD ended.

    Args:
        verdicts: One a visit.
        unknown: Why there is none, if so.
    """
    if not verdicts:
        return f"No stage can be judged yet: {unknown}."
    parts = []
    warm = [v for v in verdicts if v.kind != "opd"]
    if warm:
        parts.append(_readiness_clause(_deciding_stage(warm)))
    on_policy = [v for v in verdicts if v.kind == "opd"]
    if on_policy:
        last = on_policy[-1]
        said = last.answer
        if last.recommendation is Recommendation.UNKNOWN:
            known = "OPD is not judged yet" if last.not_yet else "it is not known whether the error rate fell"
            said = f"{known}: {said}"
        so_far = " so far" if last.ongoing else ""
        steps = f"{last.stage}, steps {count(last.first_step)} to {count(last.last_step)}{so_far}"
        fell = last.errors is not None and last.errors.change.high < 0
        stopped = last.recommendation is Recommendation.STOP
        if last.errors is None or (stopped and fell):
            change = "" if last.errors is None else f", {last.errors.short()}"
            parts.append(f"{said} ({steps}{change})")
        else:
            parts += _on_policy_clauses(last, steps)
    elif warm:
        parts.append(f"no on-policy stage has run{' yet' if warm[-1].ongoing else ''}")
    worse = [one for one in verdicts if one.worsened]
    parts += [f"stage {one.stage} worsened recorded rollouts: {one.worsened[0].short()}" for one in worse]
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)
