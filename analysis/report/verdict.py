"""Go, wait or stop: what a stage's numbers say, as pure functions of them.

After a stage of supervised training or teacher data the question is whether the pair is ready for on-policy
distillation (OPD). After an on-policy stage it is whether OPD paid, and whether the student collapsed. Numbers are
judged by the conservative end of their interval, as gates judge them. The thresholds are heuristics, see `Thresholds`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..formatting import count, interval, number, plural, signed


class Recommendation(StrEnum):
    """What to do next."""

    GO = "go"
    WAIT = "wait"
    STOP = "stop"
    UNKNOWN = "unknown"


class Standing(StrEnum):
    """How a number stands to its threshold."""

    MET = "met"
    UNDECIDED = "undecided"
    MISSED = "missed"
    UNMEASURED = "not measured"
    SHOWN = "shown, not judged"


@dataclass(frozen=True)
class Number:
    """An estimate with the ends of its 95 % interval; ends are NaN where there is none.

    Attributes:
        value: The estimate; NaN where it is undefined.
        low: Lower end.
        high: Upper end.
        n: Positions, utterances or speakers that it rests on.
        unit: What `n` counts, in the singular.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = "position"

    def shown(self, digits: int = 3, scale: float = 1.0, sign: bool = False) -> str:
        """`value [low, high]`; says so where it is undefined or has no interval."""
        if math.isnan(self.value):
            return "undefined"
        value = signed(scale * self.value, digits) if sign else number(scale * self.value, digits)
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{value} (no interval)"
        return f"{value} {interval(scale * self.low, scale * self.high, digits)}"

    @property
    def counted(self) -> str:
        """`1,164 positions`."""
        return f"{count(self.n)} {plural(self.unit, self.n)}"


@dataclass(frozen=True)
class ErrorChange:
    """How an error rate changed between two evaluations of the same utterances, in shares.

    Attributes:
        rate: `WER` or `MER`.
        before: The earlier error rate.
        after: The later one.
        change: Later − earlier; below 0 there are fewer errors.
        since: What it is compared with, in words.
        total: Words or tokens of the references.
        paired: False where transcripts are missing; the ends then add up both intervals, which is wider than needed.
    """

    rate: str
    before: Number
    after: Number
    change: Number
    since: str
    total: int
    paired: bool = True

    def short(self) -> str:
        """`WER 56.4 → 25.9 %`."""
        return f"{self.rate} {number(100 * self.before.value, 1)} → {number(100 * self.after.value, 1)} %"

    def sentence(self) -> str:
        """`WER 56.4 → 25.9 %, −30.5 points [−35.5, −25.5] …`."""
        how = "paired" if self.paired else "not paired, for want of transcripts"
        points = self.change.shown(1, 100, sign=True)
        return f"{self.short()} since {self.since}: {points} points ({how}, {self.change.counted})"


@dataclass(frozen=True)
class StageFacts:
    """What is known of one stay in a stage.

    Attributes:
        stage: Its name.
        kind: `sft`, `td` or `opd`.
        first_step: Training steps taken before it.
        last_step: Training steps when it was left, or at its last reading.
        decision: What its gate decided: `advance`, `fall_back`, `abort`, `stop`, `end`, or `stay` where it goes on.
        reason: Why, in the gate's words.
        before: Statistics at its start on the student's own transcripts.
        after: The same at its end.
        fixed_before: At its start on transcripts that stay the same.
        fixed_after: At its end.
        errors: Error rate since its start; None where that was not evaluated.
        baseline: Error rate since the best end of an earlier stage; None where that is its own start.
    """

    stage: str
    kind: str
    first_step: int
    last_step: int
    decision: str = "stay"
    reason: str = ""
    before: Mapping[str, Number] = field(default_factory=dict)
    after: Mapping[str, Number] = field(default_factory=dict)
    fixed_before: Mapping[str, Number] = field(default_factory=dict)
    fixed_after: Mapping[str, Number] = field(default_factory=dict)
    errors: ErrorChange | None = None
    baseline: ErrorChange | None = None


@dataclass(frozen=True)
class Thresholds:
    """Heuristics, each with the little evidence that it rests on; set your own where you know better.

    Attributes:
        top1_agreement: Least top-1 agreement to begin OPD. In this project's studies OPD paid from 0.49 (recorded
            speech, one seed) and from 0.88 (synthetic corpus, three seeds); from 0.20 and 0.00 (synthetic, three
            seeds) it ended above Base's error rate. Nothing was run between 0.20 and 0.49.
        student_mass: Least mass of the student on the teacher's set. 0.82 was enough on recorded speech (one seed).
            Successful runs of arXiv 2604.13016 (language models) have 97–99 % of probability on the intersection.
        teacher_mass: Least mass of the teacher on the student's set; the same value for want of evidence of its own.
        mapped_mass: Least mass on tokens that have a counterpart in the other vocabulary; below a half, statistics are
            about the smaller part of what the models say. A convention.
        repetition: Highest compression ratio of transcripts; loops lie far above (arXiv 2604.08527). The limit of the
            shipped recipes' collapse gates.
        end_of_text: Least share of transcripts that end by themselves. A convention.
        mass_loss: How far the student's mass on the teacher's set may fall during OPD. In this project's study on
            recorded speech it fell from 0.84 to 0.69 where the objective left the tail out, while VUSS and top-1
            agreement improved.
    """

    top1_agreement: float = 0.45
    student_mass: float = 0.75
    teacher_mass: float = 0.75
    mapped_mass: float = 0.5
    repetition: float = 3.0
    end_of_text: float = 0.9
    mass_loss: float = 0.1


SOURCES = {
    "top1_agreement": "OPD paid from 0.49 (recorded speech, one seed) and 0.88 (synthetic, three), harmed from 0.20",
    "student_mass": "0.82 was enough on recorded speech; 97–99 % on the intersection in arXiv 2604.13016",
    "teacher_mass": "as for the student's mass; no evidence of its own",
    "mapped_mass": "below a half, the smaller part of what is said is compared; a convention",
    "mass_loss": "it fell 0.84 → 0.69 where an objective left the tail out (recorded speech, one seed)",
    "repetition": "limit of the shipped collapse gates; arXiv 2604.08527",
    "end_of_text": "share of transcripts that end by themselves; a convention",
    "overlap_ratio": "not judged, it depends on k; 72 % → 91 % in a successful run of arXiv 2604.13016",
}
"""Why each threshold is where it is, in one line."""

NAMES = {
    "top1_agreement": "top-1 agreement",
    "student_mass": "student's mass on the teacher's set",
    "teacher_mass": "teacher's mass on the student's set",
    "student_mapped_mass": "student's mass on shared tokens",
    "teacher_mapped_mass": "teacher's mass on shared tokens",
    "repetition": "repetition",
    "end_of_text": "transcripts that ended",
    "overlap_ratio": "overlap ratio |I|/k",
}


@dataclass(frozen=True)
class Evidence:
    """One number behind a verdict.

    Attributes:
        name: What was measured, in words.
        states: On whose states or transcripts.
        shown: The number as printed, with its interval.
        counted: What it rests on.
        threshold: What it is held against; empty where it is not judged.
        standing: How it stands to that.
        source: Where the threshold comes from.
    """

    name: str
    states: str
    shown: str
    counted: str
    threshold: str
    standing: Standing
    source: str = ""


@dataclass(frozen=True)
class StageVerdict:
    """What one stay in a stage comes to.

    Attributes:
        stage: Name of the stage.
        kind: `sft`, `td` or `opd`.
        first_step: Training steps taken before it.
        last_step: Training steps at its end, or so far.
        question: What was asked.
        recommendation: The answer.
        headline: The answer in a few words.
        reasons: Why, in sentences.
        evidence: The numbers.
        gate: What the run's own gate decided there, and why, in words.
        ongoing: Whether the stage goes on.
        errors: How the error rate changed over it; None where that is not known.
    """

    stage: str
    kind: str
    first_step: int
    last_step: int
    question: str
    recommendation: Recommendation
    headline: str
    reasons: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    gate: str
    ongoing: bool
    errors: ErrorChange | None = None


def verdict(facts: StageFacts, thresholds: Thresholds = Thresholds()) -> StageVerdict:
    """Is the pair ready for OPD after this stage; or, of an on-policy stage, did it pay and did it collapse?"""
    judged = _payoff(facts, thresholds) if facts.kind == "opd" else _readiness(facts, thresholds)
    question, recommendation, headline, reasons, evidence = judged
    gate = ": ".join(filter(None, (DECIDED.get(facts.decision, "The stage goes on"), facts.reason)))
    return StageVerdict(
        *(facts.stage, facts.kind, facts.first_step, facts.last_step),
        *(question, recommendation, headline, tuple(reasons), tuple(evidence), gate, facts.decision == "stay"),
        errors=facts.errors,
    )


DECIDED = {
    "advance": "The gate advanced",
    "fall_back": "The gate fell back",
    "abort": "The gate aborted the run",
    "stop": "The stage stopped",
    "end": "The run ended",
}

Judged = tuple[str, Recommendation, str, list[str], list[Evidence]]


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
    if missed or undecided:
        reasons = [_said(row) for row in (*missed, *undecided, *unmeasured)]
        headline = "Wait: not enough overlap yet" if missed else "Wait: the interval reaches below the threshold"
        return asked, Recommendation.WAIT, headline, reasons, shown
    if unmeasured:
        return asked, Recommendation.UNKNOWN, "Not measured", [_said(row) for row in unmeasured], shown
    reasons = [_said(row) for row in needed]
    if facts.errors is not None and facts.errors.change.low > 0:
        reasons.append(
            f"{facts.errors.sentence()}. That alone does not speak against OPD: in this project's synthetic study "
            "teacher data cost 10 to 21 points, and OPD won them back on each of three seeds."
        )
    return asked, Recommendation.GO, "Go: ready for OPD", reasons, shown


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
    if errors is None or math.isnan(errors.change.low) or math.isnan(errors.change.high):
        why = "Whether OPD paid is not known: it takes an evaluation at both ends of the stage, and an interval."
        headline = "Unknown: not evaluated at both ends" if errors is None else "Unknown: no interval on the change"
        return asked, Recommendation.UNKNOWN, headline, [*said, why], shown
    if errors.change.low > 0:
        return asked, Recommendation.STOP, "Stop: OPD made it worse", said, shown
    if errors.change.high >= 0:
        why = "The interval holds 0: whether OPD paid is not known from these utterances."
        return asked, Recommendation.WAIT, "Wait: no gain told apart from none", [*said, why], shown
    if facts.baseline is not None and facts.baseline.change.low > 0:
        why = f"It gained, but is still worse than after {facts.baseline.since}."
        return asked, Recommendation.WAIT, "Wait: it gained, from a worse start", [*said, why], shown
    soundness = [row for row in signs if row.standing is not Standing.MET]
    return asked, Recommendation.GO, "Go: OPD paid", [*said, *map(_said, soundness)], shown


def _collapse_signs(facts: StageFacts, thresholds: Thresholds) -> list[Evidence]:
    return [
        _bar(facts.after, "repetition", at_most=thresholds.repetition),
        _bar(facts.after, "end_of_text", at_least=thresholds.end_of_text),
    ]


def _mass_kept(facts: StageFacts, thresholds: Thresholds) -> list[Evidence]:
    """The student's mass on the teacher's set, against where the stage began."""
    before, after = facts.before.get("student_mass"), facts.after.get("student_mass")
    if before is None or after is None or math.isnan(before.low):
        return []
    row = _bar(facts.after, "student_mass", at_least=before.value - thresholds.mass_loss)
    least = f"{row.threshold} ({number(before.value, 3)} at the start − {thresholds.mass_loss:g})"
    return [
        Evidence(
            *("student's mass on the teacher's set, kept", row.states, row.shown, row.counted, least, row.standing),
            SOURCES["mass_loss"],
        )
    ]


def _bar(
    numbers: Mapping[str, Number], name: str, *, at_least: float | None = None, at_most: float | None = None
) -> Evidence:
    """A number held against a threshold by the conservative end of its interval."""
    found = numbers.get(name)
    threshold = f"≥ {at_least:.2f}" if at_least is not None else f"≤ {at_most:.2f}" if at_most is not None else ""
    if found is None or math.isnan(found.value):
        shown, counted = ("not measured", "") if found is None else ("undefined", found.counted)
        standing = Standing.UNMEASURED if threshold else Standing.SHOWN
    else:
        shown, counted = found.shown(), found.counted
        low, high = (found.value if math.isnan(end) else end for end in (found.low, found.high))
        if at_least is not None:
            standing = _stand(low >= at_least, high < at_least)
        elif at_most is not None:
            standing = _stand(high <= at_most, low > at_most)
        else:
            standing = Standing.SHOWN
    source = SOURCES.get(name, SOURCES["mapped_mass"] if name.endswith("mapped_mass") else "")
    return Evidence(NAMES[name], "student's own", shown, counted, threshold, standing, source)


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
        Standing.UNDECIDED: "is not certainly on the right side of",
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
        said = last.headline.split(": ", 1)[-1]
        so_far = ", so far" if last.ongoing else ""
        change = "" if last.errors is None else f", {last.errors.short()}"
        parts.append(
            f"{said}{so_far} ({last.stage}, steps {count(last.first_step)} to {count(last.last_step)}{change})"
        )
    elif warm:
        parts.append("no on-policy stage has run")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
