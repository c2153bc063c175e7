"""What both models say of the teacher's transcripts of some utterances: prompts, positions, vocabulary map, ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import overlap
from overlap.estimates.number_formatting import count
from overlap.estimates.sequences import utterance_estimates
from overlap.gates import READINESS
from overlap.vocab.coverage import SideCoverage

from ..data.batch import AudioSource
from ..data.manifest import Utterance
from ..probing.probe import StateProbe, probe
from ..probing.show import prompts_of
from ..recipe import Decoding, SupportSettings, TeacherDataStage
from ..scoring.pair import Pair
from .finding import CheckFinding

PROMPTS = "prompts"
TEACHER_ENDS = "the teacher's transcripts end"
STUDENT_ENDS = "p(end) of the student at the teacher's ends"
POSITIONS = "positions of the teacher's transcripts"
COVERAGE = "vocabulary map"
LIKELY = "student_end_likely.at_end"


def check_prompts(pair: Pair, source: AudioSource, utterance: Utterance) -> list[CheckFinding]:
    """Return both models' prompts of one utterance, decoded; whether they are right is for the reader to judge.

    Args:
        pair: The two models.
        source: Reads the audio.
        utterance: Any.

    Raises:
        ModelError: A prompt that cannot be made.
    """
    student, teacher = prompts_of(pair, source.batch([utterance]))
    of = f"utterance {utterance.id!r}"
    if student == teacher:
        return [CheckFinding("note", PROMPTS, f"both models read {student!r} ({of})", _READ)]
    return [CheckFinding("note", PROMPTS, f"the student reads {student!r}, the teacher {teacher!r} ({of})", _READ)]


_READ = "compare with the prompts that they were trained with; distill show has more"


def at_teacher_states(
    pair: Pair,
    source: AudioSource,
    utterances: Sequence[Utterance],
    support: SupportSettings,
    decoding: Decoding,
    batch_size: int,
) -> StateProbe:
    """Return a probe of both models along the teacher's transcripts of some utterances.

    Args:
        pair: The two models.
        source: Reads the audio.
        utterances: At least one.
        support: k and temperature.
        decoding: That of the run's probes, whose limit on length decides whether transcripts end.
        batch_size: Utterances at once.
    """
    return probe(pair, source, utterances, support, decoding, states="teacher", batch_size=batch_size)


def check_teacher_states(probed: StateProbe, *, on_policy_first: bool, limit: int | None = None) -> list[CheckFinding]:
    """Return whether the teacher's transcripts end and what the student makes of them.

    Args:
        probed: At the teacher's states.
        on_policy_first: Whether on-policy training begins before any other stage.
        limit: Longest transcript in tokens, as `rollout.max_new_tokens` of the recipe has it; None without one.
    """
    ends = _teacher_ends(probed.estimates["end_of_text"], "" if limit is None else f"rollout.max_new_tokens = {limit}")
    rows = [ends, _positions(probed.funnel)]
    if probed.coverage is not None:
        sides = (("student", probed.coverage.student), ("teacher", probed.coverage.teacher))
        rows += [_side(role, side) for role, side in sides]
    if (likely := probed.forms.get(LIKELY)) is not None:
        rows.append(_student_ends(likely, on_policy_first))
    return rows


def check_cut_teacher_data(name: str, stage: TeacherDataStage, finished: Sequence[bool]) -> CheckFinding:
    """Return whether the teacher's transcripts of a stage end before the stage's limit on their length.

    Args:
        name: Of the stage, in words.
        stage: With its limit.
        finished: Of some of its transcripts, whether they end.
    """
    ends = utterance_estimates({"end_of_text": [float(one) for one in finished]})["end_of_text"]
    row = _teacher_ends(ends, f"transcription.max_new_tokens = {stage.transcription.limit}")
    # Who keeps such transcripts means to train on them.
    severity = "warning" if row.severity == "error" and stage.filters.unfinished == "keep" else row.severity
    return replace(row, severity=severity, finding=f"{name}: {row.finding}")


def _teacher_ends(ends: overlap.Estimate, limit: str) -> CheckFinding:
    """Return whether transcripts end within a limit, given as the recipe has it; empty without one."""
    level = READINESS.level("end_of_text")
    found = f"{round(ends.value * ends.n_groups)} of {_of(ends)} end by themselves"
    found += f" within {limit}" if limit else ""
    too_low = f"; or the limit is too low ({limit})" if limit else ""
    if ends.value == 0:
        remedy = "see them with distill transcribe: a wrong prompt, a wrong end_of_text, or a model that loops"
        return CheckFinding("error", TEACHER_ENDS, found, remedy + too_low)
    if ends.high < level:
        remedy = f"a sound teacher ends {100 * level:g} % or more; read some with distill transcribe"
        return CheckFinding("warning", TEACHER_ENDS, found, remedy + too_low)
    return CheckFinding("ok", TEACHER_ENDS, found)


def _student_ends(likely: overlap.Estimate, on_policy_first: bool) -> CheckFinding:
    level = READINESS[f"any/switch/{LIKELY}"].level
    found = f"at least a half at {likely.shown(2)} of {_of(likely)}' ends (rule of thumb: {level:g})"
    if likely.n_positions == 0:
        return CheckFinding("note", STUDENT_ENDS, "undefined: none of the teacher's transcripts has an end")
    if likely.value >= level:
        return CheckFinding("ok", STUDENT_ENDS, found)
    if on_policy_first and likely.high < level:
        remedy = "train on the teacher's transcripts first: a student that does not end them loops on-policy"
        return CheckFinding("warning", STUDENT_ENDS, found, remedy)
    remedy = "" if on_policy_first else "stages before on-policy training teach it; a gate should read it"
    return CheckFinding("note", STUDENT_ENDS, found, remedy)


def _positions(funnel: overlap.Funnel) -> CheckFinding:
    level, share = READINESS.level("used", "comparable"), funnel.share("used")
    found = f"{count(funnel['used'])} of {count(funnel.total)} can be compared ({100 * share:.1f} %)"
    if share < level:
        lost = ", ".join(f"{name} {count(n)}" for name, n in funnel.counts.items() if name != "used" and n)
        return CheckFinding("warning", POSITIONS, f"{found}; {lost}", "see distill show: prompts or tokenizers differ")
    return CheckFinding("ok", POSITIONS, found)


def _side(role: str, side: SideCoverage) -> CheckFinding:
    n, of = side.mapped["text"], side.ids["text"]
    found = f"{count(n)} of {count(of)} text tokens of the {role} have a counterpart"
    if side.mass is None:
        return CheckFinding("note", COVERAGE, found)
    found += f", with {side.mass.shown(1, 100)} % of its probability (n = {count(side.mass.n_positions)} positions)"
    if side.mass.high < READINESS.level(f"{role}_mapped_mass", "comparable"):
        remedy = "most of its probability is not compared; choose models with more similar tokenizers"
        return CheckFinding("warning", COVERAGE, found, remedy)
    return CheckFinding("ok", COVERAGE, found)


def _of(estimate: overlap.Estimate) -> str:
    return f"{estimate.n_groups} of the teacher's transcripts"
