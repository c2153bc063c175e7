"""Thresholds of the verdicts with their sources, and names of statistics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from overlap.gates import READINESS, Question

from .staging_study import results_by_start


def _level(statistic: str, question: Question) -> float:
    return READINESS.level(statistic, question)


@dataclass(frozen=True)
class Thresholds:
    """Levels of the verdicts, by default those of `overlap.gates.READINESS`; pass your own if you have better ones.

    Attributes:
        top1_agreement: Least top-1 agreement to begin OPD: from here on every run so far ended OPD with fewer errors
            than Base. The gates of the shipped recipes ask for more. It is read without repeats, which loops cannot
            flatter, where a run records that form.
        student_mass: Least mass of the student on the teacher's set, likewise.
        teacher_mass: Least mass of the teacher on the student's set, likewise.
        mapped_mass: Least mass on tokens that have a counterpart in the other vocabulary.
        repetition: Highest compression ratio of transcripts.
        end_of_text: Least share of transcripts that end by themselves.
        mass_loss: How far the student's mass on the teacher's set may fall during OPD.
    """

    top1_agreement: float = _level("top1_agreement", Question.least)
    student_mass: float = _level("student_mass", Question.least)
    teacher_mass: float = _level("teacher_mass", Question.least)
    mapped_mass: float = _level("student_mapped_mass", Question.comparable)
    repetition: float = _level("repetition", Question.collapse)
    end_of_text: float = _level("end_of_text", Question.collapse)
    mass_loss: float = _level("student_mass.fall", Question.collapse)


def _source(name: str, *more: str) -> str:
    row = READINESS[name]
    return "; ".join([*more, row.evidence, row.source])


SOURCES = {
    "top1_agreement": _source("any/least/top1_agreement", results_by_start("top-1")),
    "student_mass": _source("any/least/student_mass", results_by_start("mass")),
    "teacher_mass": _source("any/least/teacher_mass"),
    "mapped_mass": _source("any/comparable/student_mapped_mass"),
    "mass_loss": _source("any/collapse/student_mass.fall"),
    "repetition": _source("any/collapse/repetition"),
    "end_of_text": _source("any/collapse/end_of_text"),
    "student_end_likely.at_end": _source("any/switch/student_end_likely.at_end"),
    "overlap_ratio": "not judged, it depends on k; 72 % → 91 % in a successful run of arXiv 2604.13016",
}
"""Justification of each threshold in one line: evidence and source of its row."""

WITHOUT_REPEATS = "top1_agreement.without_repeats"
"""The form of agreement that loops cannot flatter."""
SOURCES[WITHOUT_REPEATS] = SOURCES["top1_agreement"]


def form_read(statistic: str, *numbers: Collection[str]) -> str:
    """Return the form of a statistic that verdicts read: agreement without repeats where all of these have it."""
    known = statistic == "top1_agreement" and all(WITHOUT_REPEATS in each for each in numbers)
    return WITHOUT_REPEATS if known else statistic


NAMES = {
    "top1_agreement": "top-1 agreement",
    WITHOUT_REPEATS: "top-1 agreement without repeats",
    "student_mass": "student's mass on the teacher's set",
    "teacher_mass": "teacher's mass on the student's set",
    "student_mapped_mass": "student's mass on shared tokens",
    "teacher_mapped_mass": "teacher's mass on shared tokens",
    "repetition": "repetition",
    "end_of_text": "transcripts that ended",
    "overlap_ratio": "overlap ratio |I|/k",
    "union_size": "VUSS",
    "total_variation": "total variation",
    "forward_kl": "forward KL",
}
"""Statistics in words."""
