"""Go, wait or stop: what a stage's numbers say, as pure functions of them.

After a stage of supervised training or teacher data the question is whether the pair is ready for on-policy
distillation (OPD). After an on-policy stage it is whether OPD paid, and whether the student collapsed. Numbers are
judged by the conservative end of their interval, as gates judge them. The thresholds are heuristics, see `Thresholds`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..formatting import count, number
from .evidence import (
    NAMES,
    SOURCES,
    Evidence,
    Number,
    Recommendation,
    StageFacts,
    StageVerdict,
    Standing,
    Thresholds,
)


def verdict(facts: StageFacts, thresholds: Thresholds = Thresholds()) -> StageVerdict:  # noqa: B008 (frozen)
    """Is the pair ready for OPD after this stage; or, of an on-policy stage, did it pay and did it collapse?"""
    judged = _payoff(facts, thresholds) if facts.kind == "opd" else _readiness(facts, thresholds)
    question, recommendation, headline, reasons, evidence = judged
    return StageVerdict(
        *(facts.stage, facts.kind, facts.first_step, facts.last_step),
        *(question, recommendation, headline, tuple(reasons), tuple(evidence), _gate(facts), facts.decision == "stay"),
        errors=facts.errors,
    )


DECIDED = {
    "advance": "The gate advanced",
    "fall_back": "The gate fell back",
    "abort": "The gate aborted the run",
    "stop": "The stage stopped",
    "end": "The run ended",
}

OUTCOMES = ("finished", "stopped", "aborted")
"""First words of the reason for which a run ended."""

NOT_YET = "Not judged yet"

Judged = tuple[str, Recommendation, str, list[str], list[Evidence]]


def _gate(facts: StageFacts) -> str:
    """What the run's own gate decided, without saying twice that the run ended."""
    outcome, colon, why = facts.reason.partition(": ")
    if facts.decision == "end" and outcome in OUTCOMES:
        return f"The run {facts.reason}"
    reason = why if colon and outcome in OUTCOMES else facts.reason
    return ": ".join(filter(None, (DECIDED.get(facts.decision, "The stage goes on"), reason)))


def _readiness(facts: StageFacts, thresholds: Thresholds) -> Judged:
    asked = "Is the pair ready for OPD after this stage?"
    needed = [
        _bar(facts.after, name, at_least=getattr(thresholds, name))
        for name in ("top1_agreement", "student_mass", "teacher_mass")
    ]
    signs = _collapse_signs(facts, thresholds)
    shared = [
        _bar(facts.after, name, at_least=thresholds.mapped_mass)
        for name in ("student_mapped_mass", "teacher_mapped_mass")
        if name in facts.after
    ]
    shown = [*needed, *signs, *shared, *_context(facts), *_errors(facts)]
    alarms = [row for row in (*signs, *shared) if row.standing is Standing.MISSED]
    if alarms:
        what = "the student has collapsed" if alarms[0] in signs else "the vocabularies hardly meet"
        return asked, Recommendation.STOP, f"Stop: {what}", [_said(row) for row in alarms], shown
    missed = [row for row in needed if row.standing is Standing.MISSED]
    undecided = [row for row in needed if row.standing is Standing.UNDECIDED]
    unmeasured = [row for row in needed if row.standing is Standing.UNMEASURED]
    reasons = [_said(row) for row in (*missed, *undecided, *unmeasured)]
    if missed:
        return asked, Recommendation.WAIT, "Wait: not enough overlap yet", reasons, shown
    if any(row.bounded for row in undecided):
        return asked, Recommendation.WAIT, "Wait: the interval reaches below the threshold", reasons, shown
    if undecided:
        why = "An interval takes at least two utterances that differ: probe more of them."
        return asked, Recommendation.UNKNOWN, "Unknown: no interval, so nothing is certain", [*reasons, why], shown
    if unmeasured:
        return asked, Recommendation.UNKNOWN, "Not measured", reasons, shown
    sound, unsure = _soundness(signs, facts)
    reasons = [*unsure, *map(_said, needed)]
    if facts.errors is not None and facts.errors.change.low > 0:
        reasons.append(
            f"{facts.errors.sentence()}. That alone does not speak against OPD: in this project's synthetic study "
            "teacher data cost 10 to 22 points, and OPD won them back on each of three seeds."
        )
    return asked, Recommendation.GO, f"Go: ready for OPD{sound}", reasons, shown


def _payoff(facts: StageFacts, thresholds: Thresholds) -> Judged:
    asked = "Did OPD pay, and did the student stay sound?"
    signs = [*_collapse_signs(facts, thresholds), *_mass_kept(facts, thresholds)]
    overlap = [_bar(facts.after, name) for name in ("top1_agreement", "student_mass", "teacher_mass")]
    shown = [*_errors(facts), *signs, *overlap, *_context(facts)]
    alarms = [_said(row) for row in signs if row.standing is Standing.MISSED]
    errors = facts.errors
    said = [f"{change.sentence()}." for change in (errors, facts.baseline) if change is not None]
    if facts.decision in ("fall_back", "abort"):
        verb = "fell back" if facts.decision == "fall_back" else "aborted"
        reasons = [f"The gate {verb}: {facts.reason}.", *alarms, *said]
        return asked, Recommendation.STOP, "Stop: the gate saw a collapse", reasons, shown
    if alarms:
        return asked, Recommendation.STOP, "Stop: the student is collapsing", [*alarms, *said], shown
    if errors is None:
        return asked, Recommendation.UNKNOWN, *_not_judged(facts), shown
    if math.isnan(errors.change.low) or math.isnan(errors.change.high):
        why = "Whether OPD paid is not known: an interval takes at least two utterances that differ."
        return asked, Recommendation.UNKNOWN, "Unknown: no interval on the change", [*said, why], shown
    if errors.change.low > 0:
        return asked, Recommendation.STOP, "Stop: OPD made it worse", said, shown
    if errors.change.high >= 0:
        why = "The interval holds 0: whether OPD paid is not known from these utterances."
        return asked, Recommendation.WAIT, "Wait: no gain of OPD told apart from none", [*said, why], shown
    if facts.baseline is not None and facts.baseline.change.low > 0:
        why = f"It gained, but is still worse than {_when(facts.baseline.since)}."
        return asked, Recommendation.WAIT, "Wait: OPD gained, from a worse start", [*said, why], shown
    if facts.baseline is not None and not facts.baseline.change.high < 0:  # without an interval as well
        why = f"It gained, but is not told apart from {_when(facts.baseline.since)}."
        return asked, Recommendation.WAIT, "Wait: OPD only won back what was lost", [*said, why], shown
    sound, unsure = _soundness(signs, facts)
    return asked, Recommendation.GO, f"Go: OPD paid{sound}", [*unsure, *said], shown


def _not_judged(facts: StageFacts) -> tuple[str, list[str]]:
    """Headline and reasons of an on-policy stage without an error rate at both ends."""
    if facts.decision == "stay" and facts.start_evaluated:
        why = (
            "Error rates are measured when the stage ends; to see them on the way, set `every` in the recipe's "
            "[evaluation]."
        )
        return f"{NOT_YET}: no evaluation since this stage began", [why]
    end = "end" if facts.start_evaluated else "start"
    why = (
        "Whether OPD paid is not known: it takes an evaluation at both ends of the stage. Give the recipe an "
        "[evaluation]; after a fall back, the weights that a stage began with are not evaluated."
    )
    return f"Unknown: not evaluated at its {end}", [why]


def _soundness(signs: Sequence[Evidence], facts: StageFacts) -> tuple[str, list[str]]:
    """What a good verdict must add of signs that are not known to be good: words for the headline, and sentences."""
    unmeasured = [row for row in signs if row.standing is Standing.UNMEASURED]
    unsure = [_said(row) for row in signs if row.standing is Standing.UNDECIDED]
    if not unmeasured:
        return "", unsure
    names = ", ".join(row.name for row in unmeasured)
    if facts.after and "student_mass" not in facts.after:
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


def _collapse_signs(facts: StageFacts, thresholds: Thresholds) -> list[Evidence]:
    return [
        _bar(facts.after, "repetition", at_most=thresholds.repetition),
        _bar(facts.after, "end_of_text", at_least=thresholds.end_of_text),
    ]


def _mass_kept(facts: StageFacts, thresholds: Thresholds) -> list[Evidence]:
    """The student's mass on the teacher's set, against where the stage began."""
    before, after = facts.before.get("student_mass"), facts.after.get("student_mass")
    loss = thresholds.mass_loss
    if before is None or after is None or math.isnan(before.value) or math.isnan(after.value):
        shown, counted, standing = "not measured at both ends", "", Standing.UNMEASURED
        least = f"≥ its start − {loss:g}"
    else:
        shown, counted = after.shown(), after.counted
        # Both ends are estimates: what is certain is certain wherever the start lies in its interval.
        standing = _stand(after.low >= before.high - loss, after.high < before.low - loss)
        least = f"≥ {before.value - loss:.2f} ({number(before.value, 3)} at the start − {loss:g})"
    name = "student's mass on the teacher's set, kept"
    return [Evidence(name, "student's own", shown, counted, least, standing, SOURCES["mass_loss"])]


def _bar(
    numbers: Mapping[str, Number], name: str, *, at_least: float | None = None, at_most: float | None = None
) -> Evidence:
    """A number held against a threshold by the conservative end of its interval; without that, nothing is decided."""
    found = numbers.get(name)
    threshold = f"≥ {at_least:.2f}" if at_least is not None else f"≤ {at_most:.2f}" if at_most is not None else ""
    if found is None or math.isnan(found.value):
        shown, counted = ("not measured", "") if found is None else ("undefined", found.counted)
        standing = Standing.UNMEASURED if threshold else Standing.SHOWN
    else:
        shown, counted = found.shown(), found.counted
        if at_least is not None:
            standing = _stand(found.low >= at_least, found.high < at_least)
        elif at_most is not None:
            standing = _stand(found.high <= at_most, found.low > at_most)
        else:
            standing = Standing.SHOWN
    source = SOURCES.get(name, SOURCES["mapped_mass"] if name.endswith("mapped_mass") else "")
    bounded = found is not None and not math.isnan(found.low) and not math.isnan(found.high)
    return Evidence(NAMES[name], "student's own", shown, counted, threshold, standing, source, bounded)


def _stand(met: bool, missed: bool) -> Standing:
    return Standing.MET if met else Standing.MISSED if missed else Standing.UNDECIDED


def _context(facts: StageFacts) -> list[Evidence]:
    """Numbers that are shown beside the judged ones: before the stage, and on states that stayed the same."""
    rows = [_bar(facts.after, "overlap_ratio")] if "overlap_ratio" in facts.after else []
    ends = (("student's own, at the start", facts.before), ("fixed, at the start", facts.fixed_before))
    for states, numbers in (*ends, ("fixed, at the end", facts.fixed_after)):
        for name in ("top1_agreement", "student_mass"):
            if (found := numbers.get(name)) is not None:
                rows.append(Evidence(NAMES[name], states, found.shown(), found.counted, "", Standing.SHOWN))
    return rows


def _errors(facts: StageFacts) -> list[Evidence]:
    rows = []
    judged = facts.kind == "opd"
    for change in (facts.errors, facts.baseline):
        if change is None:
            continue
        name = f"change in {change.rate} since {change.since}, points"
        standing = Standing.SHOWN
        if judged:
            standing = _stand(change.change.high < 0, change.change.low > 0)
        shown = change.change.shown(1, 100, sign=True)
        states = "paired by utterance" if change.paired else "not paired"
        counted = f"{change.change.counted}, {count(change.total)} {'words' if change.rate == 'WER' else 'tokens'}"
        rows.append(Evidence(name, states, shown, counted, "< 0" if judged else "", standing))
    return rows


def _said(row: Evidence) -> str:
    """A row as a sentence."""
    if row.standing is Standing.UNMEASURED:
        return f"{row.name[0].upper()}{row.name[1:]}: {row.shown}, needed {row.threshold}."
    words = {
        Standing.MET: "meets",
        Standing.MISSED: "certainly misses",
        Standing.UNDECIDED: "is not certainly on the right side of" if row.bounded else "cannot be held against",
    }
    return f"{row.name[0].upper()}{row.name[1:]} {row.shown} {words[row.standing]} {row.threshold} ({row.counted})."


def headline(verdicts: Sequence[StageVerdict]) -> str:
    """One sentence for a run: when it was ready, and how its OPD ended."""
    if not verdicts:
        return "Nothing has been measured yet."
    parts = []
    warm = [v for v in verdicts if v.kind != "opd"]
    ready = next((v for v in warm if v.recommendation is Recommendation.GO), None)
    if ready is not None:
        parts.append(f"the pair was ready for OPD after {ready.stage} (step {count(ready.last_step)})")
    elif warm:
        last = warm[-1]
        known = last.recommendation is not Recommendation.UNKNOWN
        said = "the pair was not ready" if known else "it is not known whether the pair was ready"
        parts.append(f"{said} for OPD after {last.stage} (step {count(last.last_step)})")
    on_policy = [v for v in verdicts if v.kind == "opd"]
    if on_policy:
        last = on_policy[-1]
        kind, _, said = last.headline.partition(": ")
        if last.recommendation is Recommendation.UNKNOWN:
            known = "OPD is not judged yet" if kind == NOT_YET else "whether OPD paid is not known"
            said = f"{known}: {said}"
        so_far = " so far" if last.ongoing else ""
        change = "" if last.errors is None else f", {last.errors.short()}"
        parts.append(
            f"{said} ({last.stage}, steps {count(last.first_step)} to {count(last.last_step)}{so_far}{change})"
        )
    elif warm:
        parts.append("no on-policy stage has run")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
