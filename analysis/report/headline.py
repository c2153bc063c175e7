"""A run's verdicts in one sentence: what one run can show, and what it takes to show more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from ..formatting import count
from .evidence import Recommendation, StageVerdict
from .verdict import GATE_SHUT, NOT_YET, READY, WORSE_ON_FIXED

SOUNDNESS = re.compile(r"soundness [a-z ]+")
"""What a stage's headline says where it is not known whether the student is sound."""


def _ready(stage: StageVerdict) -> str:
    """Whether the pair was ready for OPD after a stage, or is by now where that goes on."""
    was, step = "is" if stage.ongoing else "was", count(stage.last_step)
    where = f"({stage.stage}, step {step} so far)" if stage.ongoing else f"after {stage.stage} (step {step})"
    if stage.recommendation is Recommendation.GO:
        return f"the pair {was} ready for OPD {where}{stage.headline.removeprefix(READY).removesuffix(WORSE_ON_FIXED)}"
    known = stage.recommendation is not Recommendation.UNKNOWN
    said = f"the pair {was} not ready" if known else f"it is not known whether the pair {was} ready"
    why = f": {GATE_SHUT.removeprefix('Wait: ')}" if stage.headline.startswith(GATE_SHUT) else ""
    return f"{said} for OPD {where}{why}"


def _ruling(warm: Sequence[StageVerdict]) -> StageVerdict:
    """The stage that says whether the pair was ready: the last that is judged, or the first since which all were."""
    judged = [stage for stage in warm if stage.recommendation is not Recommendation.UNKNOWN]
    ready = list(takewhile(lambda stage: stage.recommendation is Recommendation.GO, reversed(judged)))
    return (ready or judged[-1:] or warm)[-1]


def _during(last: StageVerdict, steps: str) -> list[str]:
    """What the error rate did during an on-policy stage, and what that shows."""
    assert last.errors is not None
    rates, change = last.errors.short().removeprefix(f"{last.errors.rate} "), last.errors.change
    verb = "fell" if change.high < 0 else "rose" if change.low > 0 else "did not certainly change,"
    parts = [f"{last.errors.rate} {verb} {rates} during on-policy training ({steps})"]
    if last.controls:
        parts += [one.sentence() for one in last.controls]
    elif change.high < 0:
        parts.append("whether it would have under teacher data alone needs a control")
    parts += last.left_out
    return [*parts, *SOUNDNESS.findall(last.headline)]


def headline(verdicts: Sequence[StageVerdict]) -> str:
    """One sentence for a run: when it was ready, and how its OPD ended."""
    if not verdicts:
        return "No stage can be judged: there are no gate readings (decisions.jsonl) yet."
    parts = []
    warm = [v for v in verdicts if v.kind != "opd"]
    if warm:
        parts.append(_ready(_ruling(warm)))
    on_policy = [v for v in verdicts if v.kind == "opd"]
    if on_policy:
        last = on_policy[-1]
        kind, _, said = last.headline.partition(": ")
        if last.recommendation is Recommendation.UNKNOWN:
            known = "OPD is not judged yet" if kind == NOT_YET else "whether the error rate fell is not known"
            said = f"{known}: {said}"
        so_far = " so far" if last.ongoing else ""
        steps = f"{last.stage}, steps {count(last.first_step)} to {count(last.last_step)}{so_far}"
        fell = last.errors is not None and last.errors.change.high < 0
        stopped = last.recommendation is Recommendation.STOP
        if last.errors is None or (stopped and fell):
            change = "" if last.errors is None else f", {last.errors.short()}"
            parts.append(f"{said} ({steps}{change})")
        else:
            parts += _during(last, steps)
    elif warm:
        parts.append(f"no on-policy stage has run{' yet' if warm[-1].ongoing else ''}")
    worse = [one for one in verdicts if one.worsened]
    parts += [f"{one.stage} made recorded rollouts worse: {one.worsened[0].short()}" for one in worse]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
