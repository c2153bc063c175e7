"""The parts of a verdict: the facts of a stage, evidence, and the verdict itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from overlap import Estimate
from overlap.definitions import SEQUENCE_STATISTICS
from overlap.gates import READINESS

from ..formatting import count, number, p_text, plural, signed


class Recommendation(StrEnum):
    """What to do next."""

    GO = "go"
    WAIT = "wait"
    STOP = "stop"
    UNKNOWN = "unknown"


class Standing(StrEnum):
    """Comparison of a number with its threshold."""

    MET = "met"
    UNDECIDED = "undecided"
    MISSED = "missed"
    UNMEASURED = "not measured"
    SHOWN = "shown, not judged"


def in_words(estimate: Estimate, digits: int = 3, scale: float = 1.0, *, sign: bool = False) -> str:
    """Return `value [low, high]`; with a note if it is undefined or has no interval."""
    if math.isnan(estimate.value):
        return "undefined"
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return f"{(signed if sign else number)(scale * estimate.value, digits)} (no interval)"
    return estimate.shown(digits, scale, sign=sign)


def positions_of(statistic: str, estimate: Estimate) -> str:
    """Return counts behind a statistic of a probe: `1,164 positions in 80 utterances`, or `80 transcripts`."""
    if statistic in SEQUENCE_STATISTICS and statistic != "stop_density":
        return groups_of(estimate.n_positions, "transcript")
    counted = groups_of(estimate.n_positions, "position")
    return f"{counted} in {groups_of(estimate.n_groups, 'utterance')}" if estimate.n_groups else counted


def groups_of(n: int, unit: str) -> str:
    """Return `80 utterances`: what an interval is over."""
    return f"{count(n)} {plural(unit, n)}"


@dataclass(frozen=True)
class ErrorChange:
    """Change of an error rate between two evaluations of the same utterances, in shares.

    Attributes:
        rate: `WER` or `MER`.
        before: The earlier error rate.
        after: The later one.
        change: Later − earlier; below 0 there are fewer errors.
        since: The earlier evaluation, in words.
        total: Words or tokens of the references.
        paired: False if transcripts are missing; the interval then adds up both intervals and is wider than necessary.
        until: Step of the later one, in words, if it is not the end of the stage.
        unit: What the intervals are over, in the singular.
    """

    rate: str
    before: Estimate
    after: Estimate
    change: Estimate
    since: str
    total: int
    paired: bool = True
    until: str = ""
    unit: str = "utterance"

    def short(self) -> str:
        """Return `WER 56.4 → 25.9 %`, followed by ` at step 1,000` if that is not the end of the stage."""
        return f"{self.rate} {self.rates()}"

    def rates(self) -> str:
        """Return `56.4 → 25.9 %`, likewise."""
        rates = f"{number(100 * self.before.value, 1)} → {number(100 * self.after.value, 1)} %"
        return f"{rates} {self.until}".rstrip()

    def sentence(self) -> str:
        """Return `WER 56.4 → 25.9 %, −30.5 points [−35.5, −25.5] …`."""
        how = "paired" if self.paired else "not paired: transcripts are missing"
        return f"{self.short()} since {self.since}: {self.points} points ({how}, {self.counted})"

    @property
    def points(self) -> str:
        """The change with its interval, in percentage points."""
        return in_words(self.change, 1, 100, sign=True)

    @property
    def counted(self) -> str:
        """What the interval is over: `40 speakers`."""
        return groups_of(self.change.n_groups, self.unit)


@dataclass(frozen=True)
class Control:
    """A run without OPD beside this one, on the same utterances.

    Attributes:
        name: Of that run.
        step: Training steps that it had taken when it was evaluated.
        own_step: Training steps of this run when it was evaluated.
        change: From its error rate to this run's; below 0 this run makes fewer errors.
    """

    name: str
    step: int
    own_step: int
    change: ErrorChange

    def sentence(self) -> str:
        """Return both error rates and their paired difference."""
        before, after = (number(100 * n.value, 1) for n in (self.change.before, self.change.after))
        steps = f"step {count(self.step)}"
        if self.step != self.own_step:
            steps += f", not the {count(self.own_step)} of this run"
        return (
            f"{self.change.rate} {after} % against {before} % of the control {self.name} (no OPD, {steps}): "
            f"{self.change.points} points (paired, {self.change.counted})"
        )


@dataclass(frozen=True)
class Worsened:
    """A statistic that a stage significantly worsened on the same recorded rollouts.

    Attributes:
        name: In words.
        change: With its interval, over utterances.
        p: Corrected for all tests of the table of changes.
    """

    name: str
    change: Estimate
    p: float

    def short(self) -> str:
        """Return `total variation +0.195 [0.120, 0.270] (Holm p 0.002)`."""
        return f"{self.name} {in_words(self.change, 3, sign=True)} (Holm p {p_text(self.p)})"


@dataclass(frozen=True)
class StageFacts:
    """Facts of one visit of a stage.

    Attributes:
        stage: Its name.
        kind: `sft`, `td` or `opd`.
        first_step: Training steps taken before it.
        last_step: Training steps when it was left, or at its last reading.
        decision: What its gate decided: `advance`, `fall_back`, `abort`, `stop`, `end`, or `stay` so far.
        reason: Why, in the gate's words.
        outcome: How the run ended in it: `finished`, `stopped` or `aborted`; None if it did not.
        before: Statistics at its start on the student's rollouts.
        after: The same at its end.
        fixed_before: At its start on the student's recorded rollouts.
        fixed_after: At its end.
        likely: At which share of the ends of the teacher's transcripts the student finds the end likely, at its end;
            None if that was not probed.
        likely_level: Least such share, of the run's recipe or of any pair.
        errors: Change of the error rate since its start; None if that was not evaluated.
        baseline: Change of the error rate since the best end of an earlier stage; None if that is its own start.
        start_evaluated: Whether the weights that it began with were evaluated.
        exhausted: Whether its steps were spent before its gate opened.
        guarded: Whether its steps were spent, and its gate only guards.
        gated: Whether a gate was read in it, as trainers without gates do not.
        waiting: The last reason of a gate that reads overlap and has not opened; else empty.
        worsened: Statistics that it worsened on recorded rollouts.
        controls: Control runs without OPD, if this is the last on-policy stage.
        left_out: Why further runs without OPD are not its controls.
    """

    stage: str
    kind: str
    first_step: int
    last_step: int
    decision: str = "stay"
    reason: str = ""
    before: Mapping[str, Estimate] = field(default_factory=dict)
    after: Mapping[str, Estimate] = field(default_factory=dict)
    fixed_before: Mapping[str, Estimate] = field(default_factory=dict)
    fixed_after: Mapping[str, Estimate] = field(default_factory=dict)
    likely: Estimate | None = None
    likely_level: float = READINESS.level("student_end_likely.at_end")
    errors: ErrorChange | None = None
    baseline: ErrorChange | None = None
    start_evaluated: bool = False
    exhausted: bool = False
    guarded: bool = False
    gated: bool = True
    waiting: str = ""
    worsened: tuple[Worsened, ...] = ()
    controls: tuple[Control, ...] = ()
    outcome: str | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """One number behind a verdict.

    Attributes:
        name: What was measured, in words.
        states: On whose states or transcripts.
        shown: The number as printed, with its interval.
        counted: The counts behind it.
        threshold: The threshold in words; empty if it is not judged.
        standing: How it compares with the threshold.
        source: Where the threshold comes from.
        bounded: Whether the number has an interval.
    """

    name: str
    states: str
    shown: str
    counted: str
    threshold: str
    standing: Standing
    source: str = ""
    bounded: bool = True


@dataclass(frozen=True)
class StageVerdict:
    """The judgment of one visit of a stage.

    Attributes:
        stage: Name of the stage.
        kind: `sft`, `td` or `opd`.
        first_step: Training steps taken before it.
        last_step: Training steps at its end, or so far.
        question: The question.
        recommendation: The answer.
        headline: The answer in a few words.
        reasons: Why, in sentences.
        evidence: The numbers.
        gate: What the run's own gate decided there, and why, in words.
        ongoing: Whether the run is still in the stage.
        answer: The headline without the recommendation before it.
        soundness: Why a collapse is not ruled out, in a few words; empty if it is ruled out.
        gate_shut: Whether only the recipe's own gate has prevented continuing.
        not_yet: Whether the stage cannot be judged before it ends.
        moved: Error rate and overlap before and after it.
        errors: Change of the error rate over it; None if not known.
        worsened: Statistics that it worsened on recorded rollouts.
        controls: Runs without OPD that it was compared with.
        left_out: Why it was not compared with further ones.
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
    answer: str = ""
    soundness: str = ""
    gate_shut: bool = False
    not_yet: bool = False
    moved: str = ""
    errors: ErrorChange | None = None
    worsened: tuple[Worsened, ...] = ()
    controls: tuple[Control, ...] = ()
    left_out: tuple[str, ...] = ()
