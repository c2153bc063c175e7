"""Go, wait or stop: what a stage's numbers say, as pure functions of them.

After a stage of supervised training or teacher data the question is whether the pair is ready for on-policy
distillation (OPD). After an on-policy stage it is whether OPD paid, and whether the student collapsed. Numbers are
judged by the conservative end of their interval, as gates judge them. The thresholds are heuristics, see `Thresholds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from overlap.gates import READINESS, Question

from ..formatting import count, number
from ..run.visits import said
from .evidence import (
    NAMES,
    Control,
    Evidence,
    Recommendation,
    StageFacts,
    StageVerdict,
    Standing,
    Thresholds,
    groups_of,
)
from .rows import bar, collapse_signs, context, error_rows, mass_kept, sentence_of
from .studies import won_back


def verdict(facts: StageFacts, thresholds: Thresholds = Thresholds()) -> StageVerdict:  # noqa: B008 (frozen)
    """Is the pair ready for OPD after this stage; or, of an on-policy stage, did it pay and did it collapse?"""
    judged = _payoff(facts, thresholds) if facts.kind == "opd" else _readiness(facts, thresholds)
    question, recommendation, headline, reasons, evidence = judged
    if facts.worsened:
        headline += WORSE_ON_FIXED if recommendation is Recommendation.GO else WORSE_AS_WELL
        reasons = [*reasons, _worse(facts)]
    return StageVerdict(
        *(facts.stage, facts.kind, facts.first_step, facts.last_step),
        *(question, recommendation, headline, tuple(reasons), tuple(evidence), _gate(facts), facts.decision == "stay"),
        moved=_moved(facts),
        errors=facts.errors,
        worsened=facts.worsened,
        controls=facts.controls,
        left_out=facts.left_out,
    )


DECIDED = {
    "advance": "The gate advanced",
    "fall_back": "The gate fell back",
    "abort": "The gate aborted the run",
    "stop": "The stage stopped",
    "end": "The run ended",
}

NEEDED = ("top1_agreement", "student_mass", "teacher_mass")
"""Overlap that is held against the least from which OPD has been seen to pay."""

MOVED = {"top1_agreement": ("top-1 agreement", 3), "union_size": ("VUSS", 2)}
"""Overlap whose change over a stage is said, on the student's own transcripts: label and decimals."""

READY = "Go: ready for OPD"
GATE_SHUT = "Wait: the recipe's gate has not opened"
WORSE_ON_FIXED = ", but worse on recorded rollouts"
WORSE_AS_WELL = ", and worse on recorded rollouts"
"""The same, after bad news."""
ALONE = (
    "What caused it one run does not show: whether {rate} would have fallen as much under teacher data alone needs a "
    "control, a run that spends these steps without OPD; give both to `distill report`."
)
NOT_YET = "Not judged yet"

Judged = tuple[str, Recommendation, str, list[str], list[Evidence]]


def _gate(facts: StageFacts) -> str:
    """What the run's own gate decided, without saying twice that the run ended."""
    if facts.decision == "end" and facts.outcome is not None:
        return f"The run {said(facts.outcome, facts.reason)}"
    if facts.exhausted:
        how = "Left all the same" if facts.decision == "advance" else "The run stopped"
        return f"{how} at step {count(facts.last_step)}: {facts.reason}"
    decided = DECIDED.get(facts.decision, "The stage goes on")
    at = f" at step {count(facts.last_step)}" if facts.decision in DECIDED else ""
    return ": ".join(filter(None, (f"{decided}{at}", facts.reason)))


def _worse(facts: StageFacts) -> str:
    """What the stage did to the same recorded rollouts: the sign that own rollouts hide by moving to easier places."""
    over = groups_of(facts.worsened[0].change.n_groups, "utterance")
    return (
        f"On the same recorded rollouts it made worse: {', '.join(one.short() for one in facts.worsened)} ({over}). "
        "That is no harm where the student would no longer write those rollouts; elsewhere it unlearned."
    )


def _moved(facts: StageFacts) -> str:
    """From where to where the stage took the error rate and overlap: their intervals are in the table of stages."""
    parts = [] if facts.errors is None else [facts.errors.short()]
    for name, (label, digits) in MOVED.items():
        before, after = facts.before.get(name), facts.after.get(name)
        if before is not None and after is not None and facts.last_step > facts.first_step:
            parts.append(f"{label} {number(before.value, digits)} → {number(after.value, digits)}")
    return ", ".join(parts)


def _readiness(facts: StageFacts, thresholds: Thresholds) -> Judged:
    asked = "Is the pair ready for OPD after this stage?"
    needed = [bar(facts.after, name, at_least=getattr(thresholds, name)) for name in NEEDED]
    signs = collapse_signs(facts, thresholds)
    shared = [
        bar(facts.after, name, at_least=thresholds.mapped_mass)
        for name in ("student_mapped_mass", "teacher_mapped_mass")
        if name in facts.after
    ]
    shown = [*needed, *signs, *shared, *context(facts), *error_rows(facts)]
    alarms = [row for row in (*signs, *shared) if row.standing is Standing.MISSED]
    if alarms:
        what = "the student has collapsed" if alarms[0] in signs else "the vocabularies hardly meet"
        return asked, Recommendation.STOP, f"Stop: {what}", [sentence_of(row) for row in alarms], shown
    missed = [row for row in needed if row.standing is Standing.MISSED]
    undecided = [row for row in needed if row.standing is Standing.UNDECIDED]
    unmeasured = [row for row in needed if row.standing is Standing.UNMEASURED]
    reasons = [sentence_of(row) for row in (*missed, *undecided, *unmeasured)]
    if missed:
        return asked, Recommendation.WAIT, "Wait: not enough overlap yet", reasons, shown
    if facts.waiting:
        waits = f"The recipe's gate has not opened: {facts.waiting}. Where it asks for more than this report, it rules."
        met = [sentence_of(row) for row in needed if row.standing is Standing.MET]
        return asked, Recommendation.WAIT, GATE_SHUT, [waits, *reasons, *met], shown
    if any(row.bounded for row in undecided):
        return asked, Recommendation.WAIT, "Wait: the interval reaches below the threshold", reasons, shown
    if undecided:
        why = "An interval takes at least two utterances that differ: probe more of them."
        return asked, Recommendation.UNKNOWN, "Unknown: no interval, so nothing is certain", [*reasons, why], shown
    if unmeasured:
        return asked, Recommendation.UNKNOWN, "Not measured", reasons, shown
    sound, sounds = _soundness(signs, facts)
    reasons = [*sounds, *map(sentence_of, needed)] if sound else [*map(sentence_of, needed), *sounds]
    reasons += _cautious(facts)
    if facts.errors is not None and facts.errors.change.low > 0:
        reasons.append(
            f"{facts.errors.sentence()}. That alone does not speak against OPD: in this project's study of the demo, "
            f"OPD behind the gate ended {won_back()}, whatever teacher data had cost before."
        )
    return asked, Recommendation.GO, f"{READY}{sound}", reasons, shown


def _cautious(facts: StageFacts) -> list[str]:
    """What a cautious gate still waits for."""
    levels = [READINESS[f"any/{Question.switch}/{name}"] for name in NEEDED]
    more = [f"{NAMES[row.statistic]} {row.bound}" for row in levels if not facts.after[row.statistic].low >= row.level]
    if not more:
        return []
    return [f"From these levels on OPD has paid in every run so far. A cautious gate waits for {', '.join(more)}."]


def _payoff(facts: StageFacts, thresholds: Thresholds) -> Judged:
    asked = "Did the error rate fall during OPD, and did the student stay sound?"
    signs = [*collapse_signs(facts, thresholds), *mass_kept(facts, thresholds)]
    overlap = [bar(facts.after, name) for name in NEEDED]
    shown = [*error_rows(facts), *signs, *overlap, *context(facts)]
    alarms = [sentence_of(row) for row in signs if row.standing is Standing.MISSED]
    errors = facts.errors
    said = [f"{change.sentence()}." for change in (errors, facts.baseline) if change is not None]
    if facts.decision in ("fall_back", "abort"):
        verb = "fell back" if facts.decision == "fall_back" else "aborted"
        reasons = [f"The gate {verb}: {facts.reason}.", *alarms, *said]
        return asked, Recommendation.STOP, "Stop: the gate saw a collapse", reasons, shown
    if alarms:
        return asked, Recommendation.STOP, "Stop: the student is collapsing", [*alarms, *said], shown
    sound, sounds = _soundness(signs, facts)
    if errors is None:
        headline, why = _not_judged(facts)
        return asked, Recommendation.UNKNOWN, headline, [why, *sounds], shown
    if math.isnan(errors.change.low) or math.isnan(errors.change.high):
        why = "Whether the error rate fell is not known: an interval takes at least two utterances that differ."
        return asked, Recommendation.UNKNOWN, "Unknown: no interval on the change", [*said, why, *sounds], shown
    if errors.change.low > 0:
        return asked, Recommendation.STOP, f"Stop: {errors.rate} rose during OPD", [*said, *sounds], shown
    if errors.change.high >= 0:
        why = f"The interval holds 0: this evaluation does not tell whether {errors.rate} fell."
        return (
            asked,
            Recommendation.WAIT,
            f"Wait: whether {errors.rate} fell is not certain",
            [*said, why, *sounds],
            shown,
        )
    if facts.baseline is not None and facts.baseline.change.low > 0:
        why = f"It fell, but is still worse than {_when(facts.baseline.since)}."
        return asked, Recommendation.WAIT, f"Wait: {errors.rate} fell, from a worse start", [*said, why, *sounds], shown
    if facts.baseline is not None and not facts.baseline.change.high < 0:  # without an interval as well
        why = f"It fell, but it is not certain that it is better than {_when(facts.baseline.since)}."
        return (
            asked,
            Recommendation.WAIT,
            f"Wait: {errors.rate} only fell back to where it was",
            [*said, why, *sounds],
            shown,
        )
    beside = [f"{one.sentence()}." for one in facts.controls] or [ALONE.format(rate=errors.rate)]
    beside += [f"{one[0].upper()}{one[1:]}." for one in facts.left_out]
    reasons = [*sounds, *said, *beside] if sound else [*said, *beside, *sounds]
    recommendation, against = _against(errors.rate, facts.controls)
    return asked, recommendation, f"{against}{sound}", reasons, shown


def _against(rate: str, controls: Sequence[Control]) -> tuple[Recommendation, str]:
    """What a fall in the error rate comes to beside controls, the least favorable of them."""
    changes = [one.change.change for one in controls]
    if not changes:
        return Recommendation.GO, f"Go: {rate} fell during OPD"
    if any(change.low > 0 for change in changes):
        return Recommendation.WAIT, f"Wait: {rate} fell, but less than without OPD"
    if all(change.high < 0 for change in changes):
        return Recommendation.GO, f"Go: {rate} fell during OPD, and more than without it"
    return Recommendation.WAIT, f"Wait: {rate} fell, but not certainly more than without OPD"


def _not_judged(facts: StageFacts) -> tuple[str, str]:
    """Headline and reason of an on-policy stage without an error rate at both ends."""
    if facts.decision == "stay" and facts.start_evaluated:
        why = (
            "Error rates are measured when the stage ends; to see them on the way, set `every` in the recipe's "
            "[evaluation]."
        )
        return f"{NOT_YET}: no evaluation since this stage began", why
    end = "end" if facts.start_evaluated else "start"
    why = (
        "Whether the error rate fell is not known: it takes an evaluation at both ends of the stage. Give the recipe "
        "an [evaluation]; after a fall back, the weights that a stage began with are not evaluated."
    )
    return f"Unknown: not evaluated at its {end}", why


def _soundness(signs: Sequence[Evidence], facts: StageFacts) -> tuple[str, list[str]]:
    """Whether the student is sound: words for a good headline where that is not known, and sentences."""
    if all(row.standing is Standing.MET for row in signs):
        *most, last = (row.name for row in signs)
        return "", [f"No sign of collapse: {', '.join(most)} and {last} are within their limits."]
    unmeasured = [row for row in signs if row.standing is Standing.UNMEASURED]
    unsure = [sentence_of(row) for row in signs if row.standing is Standing.UNDECIDED]
    if not unmeasured:
        return ", but soundness not certain", unsure
    names = ", ".join(row.name for row in unmeasured)
    if "end_of_text" in facts.after and "student_mass" not in facts.after:
        remedy = "a server's lists do not tell it, so run `distill probe` on the checkpoint with the teacher's weights"
    else:
        step = facts.first_step if facts.after else facts.last_step
        remedy = (
            f'run `distill probe` on the checkpoint of step {count(step)}; later runs need "student" among the '
            "`states` of the recipe's [probe]"
        )
    how = "not measured" if len(unmeasured) == len(signs) else "measured in part"
    return f", but soundness {how}", [f"Not measured: {names}. A collapse would not show: {remedy}.", *unsure]


def _when(since: str) -> str:
    return f"at {since}" if since.startswith("the ") else f"after {since}"
