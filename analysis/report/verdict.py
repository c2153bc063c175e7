"""Verdicts on stages (go, wait or stop), as pure functions of their numbers.

After a stage of supervised training or teacher data the question is whether the pair is ready for on-policy
distillation (OPD). After an on-policy stage it is whether OPD paid, and whether the student collapsed. Numbers are
judged by the conservative bound of their interval, as gates judge them. The thresholds are heuristics, see
`Thresholds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from overlap.gates import READINESS, Question

from ..formatting import count, number
from ..run.visits import said
from .evidence_rows import (
    collapse_rows,
    compare_with_threshold,
    context_rows,
    error_rows,
    likely_rows,
    mass_rows,
    sentence_of,
)
from .staging_study import gated_improvement
from .thresholds import NAMES, Thresholds, form_read
from .verdict_types import Control, Evidence, Recommendation, StageFacts, StageVerdict, Standing, groups_of


def verdict(facts: StageFacts, thresholds: Thresholds = Thresholds()) -> StageVerdict:  # noqa: B008 (frozen)
    """Judge whether the pair is ready for OPD after this stage or, for an on-policy stage, whether it paid or
    collapsed."""
    judged = _payoff(facts, thresholds) if facts.kind == "opd" else _readiness(facts, thresholds)
    reasons = [*judged.reasons, _describe_worsened(facts)] if facts.worsened else judged.reasons
    return StageVerdict(
        *(facts.stage, facts.kind, facts.first_step, facts.last_step),
        *(judged.question, judged.recommendation, _headline(judged, facts), tuple(reasons), tuple(judged.evidence)),
        *(_gate(facts), facts.decision == "stay"),
        answer=judged.answer,
        soundness=judged.soundness,
        gate_shut=judged.gate_shut,
        not_yet=judged.label == NOT_YET,
        moved=_describe_change(facts),
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
"""Overlap that is compared with the least levels of `overlap.gates.READINESS`."""

MOVED = {"top1_agreement": 3, "union_size": 2}
"""Overlap whose change over a stage is shown, on the student's rollouts, with its decimals."""

GATE_SHUT = "the recipe's gate has not opened"
ALONE = (
    "One run does not show the cause. Attribution to OPD needs a control, a run that spends these steps without OPD: "
    "give both to `distill report`."
)
NOT_YET = "Not judged yet"
NO_INTERVAL = "An interval needs at least two utterances with different values"


class Judged(NamedTuple):
    """The answer to a stage's question.

    Attributes:
        question: What was asked.
        recommendation: What to do next.
        answer: In a few words.
        reasons: Sentences.
        evidence: The numbers.
        soundness: Why a collapse is not ruled out, in a few words; empty where it is.
        label: Text before the answer; empty to use the recommendation.
        gate_shut: Whether only the recipe's gate has prevented continuing.
    """

    question: str
    recommendation: Recommendation
    answer: str
    reasons: list[str]
    evidence: list[Evidence]
    soundness: str = ""
    label: str = ""
    gate_shut: bool = False


def _headline(judged: Judged, facts: StageFacts) -> str:
    """Return the recommendation and its reason, in a few words."""
    label = judged.label or judged.recommendation.capitalize()
    words = f"{label}: {judged.answer}" if judged.answer else label
    if judged.soundness:
        words += f", but {judged.soundness}"
    if facts.worsened:
        words += f", {'but' if judged.recommendation is Recommendation.GO else 'and'} worse on recorded rollouts"
    return words


def _gate(facts: StageFacts) -> str:
    """Return the decision of the run's own gate, without repeating that the run ended."""
    if facts.decision == "end" and facts.outcome is not None:
        return f"The run {said(facts.outcome, facts.reason)}"
    if facts.decision == "advance" and (facts.guarded or not facts.gated):
        return f"The stage was left at step {count(facts.last_step)}: {facts.reason}"
    if facts.exhausted:
        how = "The stage was left with its gate shut" if facts.decision == "advance" else "The run stopped"
        return f"{how} at step {count(facts.last_step)}: {facts.reason}"
    decided = DECIDED.get(facts.decision, "The stage continues")
    at = f" at step {count(facts.last_step)}" if facts.decision in DECIDED else ""
    return ": ".join(filter(None, (f"{decided}{at}", facts.reason)))


def _describe_worsened(facts: StageFacts) -> str:
    """Return how the stage worsened recorded rollouts; the student's rollouts hide this if they move to easier
    prefixes."""
    over = groups_of(facts.worsened[0].change.n_groups, "utterance")
    return (
        f"The stage worsened the same recorded rollouts: {', '.join(one.short() for one in facts.worsened)} ({over}). "
        "This is harmless if the student no longer writes such rollouts. Otherwise the student has forgotten them."
    )


def _describe_change(facts: StageFacts) -> str:
    """Return the error rate and overlap before and after the stage; their intervals are in the table of stages."""
    parts = [] if facts.errors is None else [facts.errors.short()]
    for statistic, digits in MOVED.items():
        name = form_read(statistic, facts.before, facts.after)
        before, after = facts.before.get(name), facts.after.get(name)
        if before is not None and after is not None and facts.last_step > facts.first_step:
            parts.append(f"{NAMES[name]} {number(before.value, digits)} → {number(after.value, digits)}")
    return ", ".join(parts)


def _readiness(facts: StageFacts, thresholds: Thresholds) -> Judged:
    asked = "Is the pair ready for OPD after this stage?"
    needed = [
        compare_with_threshold(facts.after, form_read(name, facts.after), at_least=getattr(thresholds, name))
        for name in NEEDED
    ]
    signs = collapse_rows(facts, thresholds)
    shared = [
        compare_with_threshold(facts.after, name, at_least=thresholds.mapped_mass)
        for name in ("student_mapped_mass", "teacher_mapped_mass")
        if name in facts.after
    ]
    likely = likely_rows(facts)
    shown = [*needed, *signs, *likely, *shared, *context_rows(facts), *error_rows(facts)]
    alarms = [row for row in (*signs, *shared) if row.standing is Standing.MISSED]
    if alarms:
        what = "the student has collapsed" if alarms[0] in signs else "the vocabularies share too little"
        return Judged(asked, Recommendation.STOP, what, [sentence_of(row) for row in alarms], shown)
    missed = [row for row in needed if row.standing is Standing.MISSED]
    undecided = [row for row in needed if row.standing is Standing.UNDECIDED]
    unmeasured = [row for row in needed if row.standing is Standing.UNMEASURED]
    reasons = [sentence_of(row) for row in (*missed, *undecided, *unmeasured)]
    if missed:
        return Judged(asked, Recommendation.WAIT, "not enough overlap yet", reasons, shown)
    if unknown := [sentence_of(row) for row in likely if row.standing is Standing.MISSED]:
        return Judged(asked, Recommendation.WAIT, "the student does not know where to end", [*unknown, *reasons], shown)
    if facts.waiting:
        waits = f"The recipe's gate has not opened: {facts.waiting}. The gate decides, even if this report asks less."
        met = [sentence_of(row) for row in needed if row.standing is Standing.MET]
        return Judged(asked, Recommendation.WAIT, GATE_SHUT, [waits, *reasons, *met], shown, gate_shut=True)
    if any(row.bounded for row in undecided):
        return Judged(asked, Recommendation.WAIT, "the interval includes the threshold", reasons, shown)
    if undecided:
        why = f"{NO_INTERVAL}: probe more utterances."
        return Judged(asked, Recommendation.UNKNOWN, "no interval, so nothing is certain", [*reasons, why], shown)
    if unmeasured:
        return Judged(asked, Recommendation.UNKNOWN, "", reasons, shown, label="Not measured")
    sound, sounds = _soundness(signs, facts)
    reasons = [*sounds, *map(sentence_of, needed)] if sound else [*map(sentence_of, needed), *sounds]
    reasons += _cautious_levels(facts)
    if facts.errors is not None and facts.errors.change.low > 0:
        reasons.append(
            f"{facts.errors.sentence()}. A rise before OPD does not rule it out: in this project's study of the demo, "
            f"gated OPD ended {gated_improvement()}."
        )
    return Judged(asked, Recommendation.GO, "ready for OPD", reasons, shown, sound)


def _cautious_levels(facts: StageFacts) -> list[str]:
    """Return levels that a cautious gate still waits for."""
    levels = [READINESS[f"any/{Question.switch}/{name}"] for name in NEEDED]
    named = [(form_read(row.statistic, facts.after), row) for row in levels]
    more = [f"{NAMES[name]} {row.bound}" for name, row in named if not facts.after[name].low >= row.level]
    if not more:
        return []
    least = "So far, every run that began OPD at these levels ended with fewer errors than Base."
    return [f"{least} A cautious gate waits for {', '.join(more)}."]


def _payoff(facts: StageFacts, thresholds: Thresholds) -> Judged:
    asked = "Did the error rate fall during OPD, without a collapse?"
    signs = [*collapse_rows(facts, thresholds), *mass_rows(facts, thresholds)]
    overlap = [compare_with_threshold(facts.after, form_read(name, facts.after)) for name in NEEDED]
    shown = [*error_rows(facts), *signs, *overlap, *context_rows(facts)]
    alarms = [sentence_of(row) for row in signs if row.standing is Standing.MISSED]
    errors = facts.errors
    said = [f"{change.sentence()}." for change in (errors, facts.baseline) if change is not None]
    if facts.decision in ("fall_back", "abort"):
        verb = "fell back" if facts.decision == "fall_back" else "aborted"
        reasons = [f"The gate {verb}: {facts.reason}.", *alarms, *said]
        return Judged(asked, Recommendation.STOP, "the gate detected a collapse", reasons, shown)
    if alarms:
        return Judged(asked, Recommendation.STOP, "the student is collapsing", [*alarms, *said], shown)
    sound, sounds = _soundness(signs, facts)
    if errors is None:
        label, answer, why = _not_judged(facts)
        return Judged(asked, Recommendation.UNKNOWN, answer, [why, *sounds], shown, label=label)
    if math.isnan(errors.change.low) or math.isnan(errors.change.high):
        reasons = [*said, f"{NO_INTERVAL}.", *sounds]
        return Judged(asked, Recommendation.UNKNOWN, "no interval on the change", reasons, shown)
    if errors.change.low > 0:
        return Judged(asked, Recommendation.STOP, f"{errors.rate} rose during OPD", [*said, *sounds], shown)
    if errors.change.high >= 0:
        why = f"The interval includes 0: {errors.rate} did not change significantly."
        answer = f"{errors.rate} did not change significantly"
        return Judged(asked, Recommendation.WAIT, answer, [*said, why, *sounds], shown)
    if facts.baseline is not None and not facts.baseline.change.high < 0:  # without an interval as well
        how = "still higher" if facts.baseline.change.low > 0 else "not significantly lower"
        answer = f"{errors.rate} fell, but is {how} than at {facts.baseline.since}"
        return Judged(asked, Recommendation.WAIT, answer, [*said, f"{answer}.", *sounds], shown)
    beside = [f"{one.sentence()}." for one in facts.controls] or [ALONE]
    beside += [f"{one[0].upper()}{one[1:]}." for one in facts.left_out]
    reasons = [*sounds, *said, *beside] if sound else [*said, *beside, *sounds]
    recommendation, against = _compare_with_controls(errors.rate, facts.controls)
    return Judged(asked, recommendation, against, reasons, shown, sound)


def _compare_with_controls(rate: str, controls: Sequence[Control]) -> tuple[Recommendation, str]:
    """Return recommendation and answer after a fall in the error rate, given the least favorable control."""
    changes = [one.change.change for one in controls]
    if not changes:
        return Recommendation.GO, f"{rate} fell during OPD"
    if any(change.low > 0 for change in changes):
        return Recommendation.WAIT, f"{rate} fell, but less than without OPD"
    if all(change.high < 0 for change in changes):
        return Recommendation.GO, f"{rate} fell during OPD, and more than without it"
    return Recommendation.WAIT, f"{rate} fell, but not significantly more than without OPD"


def _not_judged(facts: StageFacts) -> tuple[str, str, str]:
    """Return label, answer and reason of an on-policy stage without an error rate at both ends."""
    if facts.decision == "stay" and facts.start_evaluated:
        why = (
            "Error rates are measured when the stage ends. To measure them earlier, set `every` in the recipe's "
            "[evaluation]."
        )
        return NOT_YET, "no evaluation since this stage began", why
    end = "end" if facts.start_evaluated else "start"
    why = (
        "The change needs an evaluation at both ends of the stage: give the recipe an [evaluation]. After a fall back, "
        "the weights that a stage begins with are not evaluated."
    )
    return "", f"not evaluated at its {end}", why


def _soundness(signs: Sequence[Evidence], facts: StageFacts) -> tuple[str, list[str]]:
    """Return why a collapse is not ruled out, in a few words (empty where it is), and sentences."""
    if all(row.standing is Standing.MET for row in signs):
        *most, last = (row.name for row in signs)
        return "", [f"No sign of collapse: {', '.join(most)} and {last} are within their limits."]
    unmeasured = [row for row in signs if row.standing is Standing.UNMEASURED]
    unsure = [sentence_of(row) for row in signs if row.standing is Standing.UNDECIDED]
    if not unmeasured:
        return "soundness not certain", unsure
    names = ", ".join(row.name for row in unmeasured)
    if "end_of_text" in facts.after and "student_mass" not in facts.after:
        remedy = (
            "a server's top-k log-probabilities do not determine it. Run `distill probe` on the checkpoint with the "
            "teacher's weights"
        )
    else:
        step = facts.first_step if facts.after else facts.last_step
        remedy = (
            f'run `distill probe` on the checkpoint of step {count(step)}; later runs need "student" among the '
            "`states` of the recipe's [probe]"
        )
    how = "not measured" if len(unmeasured) == len(signs) else "measured in part"
    return f"soundness {how}", [f"Not measured: {names}. A collapse would not show: {remedy}.", *unsure]
