"""Rules on what probes compare with references: the signal of the teacher's word, and the student's calibration."""

from __future__ import annotations

from collections.abc import Sequence

from overlap.calibration.measures import CERTAIN
from overlap.signal import TEACHERS_WORD, USEFUL, Verdict

from ..formatting import count
from ..run.against_references import calibration_readings, signal_readings
from ..run.load import Run
from .advisory import Advisory, Rule, Severity
from .readings import n_of, newest_rows, shown

Found = Sequence[Advisory] | None
MOST_WRONG = 0.1
"""Share of tokens that are wrong at a probability above 0.9. A calibrated model cannot have more: at most a tenth of
such tokens are wrong, even if all are such. That only the interval's lower end counts is a convention of ours."""


def _no_signal(run: Run) -> Found:
    """s(y), the teacher's word on a transcript, certainly tells too little about errors, corrected for the number of
    statistics."""
    if (newest := newest_rows(run, run.signal, states="student")) is None:
        return None
    rows, where = newest
    readings = signal_readings(rows)
    word, over = readings.get(TEACHERS_WORD), readings.over.removesuffix("s")
    if word is None or word.verdict is Verdict.UNDEFINED:
        return None
    if word.verdict is not Verdict.NO_USEFUL_SIGNAL:
        return []
    said = (
        f"AUROC of s(y) {shown(word.auroc)}, {n_of(word.auroc, 'transcript', over)}, {count(word.n_right)} right and "
        f"{count(word.n_wrong)} wrong; useful from {USEFUL:g}"
    )
    advice = (
        "The teacher hardly prefers right transcripts to wrong ones, so that on-policy training toward it need not "
        "lower the error rate: judge the stage by that, not by agreement. Compare the teacher's own error rate with "
        "the student's, and check that both write in the same form."
    )
    title = "The teacher's word carries no useful signal"
    return [Advisory("no_signal", Severity.WARNING, title, where, said, advice, word.auroc)]


def _overconfident(run: Run) -> Found:
    """More of the student's tokens are certain and wrong than of any calibrated model."""
    if (newest := newest_rows(run, run.calibration, states="student")) is None:
        return None
    rows, where = newest
    readings = calibration_readings(rows)
    own, over = readings.get(("student", "token")), readings.over.removesuffix("s")
    if own is None or not own.overconfident_wrong.low >= 0:
        return None
    wrong = own.overconfident_wrong
    if not wrong.low > MOST_WRONG:
        return []
    said = (
        f"{shown(wrong)} of the student's tokens are wrong at a probability above {CERTAIN:g}, "
        f"{n_of(wrong, 'token', over)}; level ≤ {MOST_WRONG:g}"
    )
    advice = (
        "Do not filter or weight by the student's confidence. Read tokens that are certain and wrong: if only the "
        "written form differs, check the normalizer; else errors are learned, and labels of these words are the place "
        "to look."
    )
    return [Advisory("overconfident", Severity.WARNING, "The student is overconfident", where, said, advice, wrong)]


RULES = (
    Rule("no_signal", "signal of the teacher's word", _no_signal),
    Rule("overconfident", "the student's calibration", _overconfident),
)
