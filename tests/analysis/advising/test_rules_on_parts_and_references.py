"""Rules on signal, calibration, clips without speech and groups: each on a run that has its fault, and one without."""

import pandas as pd
import pytest

from analysis import advisories, load
from analysis.advising import Severity
from analysis.advising.against_references import MOST_WRONG
from analysis.advising.parts import MOST_CLIPS
from overlap.calibration.measures import CERTAIN
from tests.analysis.advising.test_rules import found, measured
from tests.analysis.readings import calibration_of, signal_of

LAST = {"step": 300, "visit": 2, "stage": "on-policy"}


def probed(path, name, readings, place=None):
    """The run with one probe's file."""
    place = {**(place or LAST), "states": "student"}
    (path / name).mkdir(exist_ok=True)
    file = path / name / f"step-{place['step']:06d}-visit-{place['visit']:03d}.parquet"
    pd.DataFrame([place | row for row in readings.rows()]).to_parquet(file)
    return load(path)


def test_a_teachers_word_without_useful_signal(straight):
    probed(straight, "signal", signal_of(0, 0.1), {"step": 200, "visit": 1, "stage": "teacher data"})
    run = probed(straight, "signal", signal_of(1, 50.0, 400))  # the newest counts
    (one,) = found(run, "no_signal")
    assert (one.severity, one.where) == (Severity.WARNING, "on-policy, step 300")
    assert one.estimate.high < 0.65
    assert one.number.startswith(f"AUROC of s(y) {one.estimate.shown(2)}, n = 400 transcripts, ")
    assert one.number.endswith(" wrong; useful from 0.65")
    assert "need not lower the error rate" in one.advice


@pytest.mark.parametrize(("noise", "n"), [(0.1, 40), (3.0, 20)], ids=["carries signal", "undecided"])
def test_a_word_that_carries_signal_or_may_do_so_is_no_finding(straight, noise, n):
    assert found(probed(straight, "signal", signal_of(0, noise, n)), "no_signal") == []


def test_a_student_that_is_certain_and_wrong(straight):
    (one,) = found(probed(straight, "calibration", calibration_of(0, 0.05)), "overconfident")
    assert one.severity is Severity.WARNING
    assert one.estimate.low > 0.1
    assert one.number == (
        f"{one.estimate.shown(2)} of the student's tokens are wrong at a probability above 0.9, n = 320 tokens in 40 "
        "utterances; level ≤ 0.1"
    )


def test_a_calibrated_student_is_no_finding(straight):
    assert found(probed(straight, "calibration", calibration_of(0, 1.0)), "overconfident") == []
    assert pytest.approx(1 - CERTAIN) == MOST_WRONG  # the most of tokens above 0.9 that a calibrated model has wrong


def silent(path, unfinished=0, words=0, n=40, model="student", kind="noise"):
    """The run with clips of which some never end, and some have words."""
    (path / "no_speech").mkdir(exist_ok=True)
    rows = [
        {**LAST, "model": model, "kind": kind, "clip": f"{kind} {i}", "seconds": 10.0, "words": 2 * (i < words)}
        | {"finished": i >= unfinished, "text": "", "normalizer": "basic 2"}
        for i in range(n)
    ]
    pd.DataFrame(rows).to_parquet(path / "no_speech" / f"{model} {kind}.parquet", index=False)
    return load(path)


def test_clips_without_speech_that_never_end_or_have_words(straight):
    silent(straight, model="teacher")
    (one,) = found(silent(straight, unfinished=20, words=30), "no_speech")
    assert (one.severity, one.title) == (Severity.CRITICAL, "Transcripts of clips without speech never end")
    assert one.number.startswith("0.50 [0.3")
    assert ", n = 40 clips, the teacher's 0.00 [0.00, 0.0" in one.number
    assert one.number.endswith("; level ≤ 0.1")
    silent(straight, words=1, kind="silence")
    (one,) = found(silent(straight, words=15), "no_speech")
    assert (one.severity, one.title) == (Severity.WARNING, "Transcripts of clips without speech have invented words")
    assert "of the student's transcripts of noise have invented words" in one.number
    assert one.estimate.low > MOST_CLIPS


def test_few_words_on_clips_without_speech_are_no_finding(straight):
    assert found(silent(straight, unfinished=4, words=4), "no_speech") == []


def grouped(path, **ended):
    """The run with groups: `name=(value, low, high, n)` of their transcripts that ended."""
    (path / "probe_groups").mkdir(exist_ok=True)
    common = {**LAST, "states": "student", "field": "language", "statistic": "end_of_text", "standard_error": 0.01}
    rows = [
        common
        | {"group": name, "value": value, "low": low, "high": high, "n_positions": n, "n_groups": n, "n_undefined": 0}
        for name, (value, low, high, n) in ended.items()
    ]
    pd.DataFrame(rows).to_parquet(path / "probe_groups" / "all.parquet", index=False)
    return load(path)


WHOLE = {"end_of_text": (0.93, 0.88, 0.97)}


def test_a_group_whose_transcripts_do_not_end_though_those_of_the_set_do(straight):
    run = grouped(straight, de=(0.5, 0.3, 0.7, 24), en=(0.97, 0.93, 1.0, 90), fr=(0.85, 0.7, 0.95, 30))
    (one,) = found(measured(run, **WHOLE), "group_ends")
    assert (one.severity, one.title) == (Severity.WARNING, "Transcripts of a group do not end")
    assert one.number == (
        "Transcripts that ended by themselves: language=de 0.50 [0.30, 0.70], n = 24 transcripts; of all 0.93 [0.88, "
        "0.97]; level ≥ 0.9"
    )
    assert "`every_group`" in one.advice
    run = grouped(straight, de=(0.5, 0.3, 0.7, 24), fr=(0.2, 0.1, 0.4, 30))
    (one,) = found(measured(run, **WHOLE), "group_ends")
    assert "language=fr 0.20 [0.10, 0.40], n = 30 transcripts; language=de 0.50" in one.number


def test_groups_are_no_finding_of_their_own_where_the_whole_set_does_not_end_or_they_are_small(straight):
    run = grouped(straight, de=(0.5, 0.3, 0.7, 24))
    assert found(measured(run, end_of_text=(0.4, 0.3, 0.5)), "group_ends") == []
    assert found(measured(grouped(straight, de=(0.5, 0.3, 0.7, 19)), **WHOLE), "group_ends") == []
    assert found(measured(grouped(straight, de=(0.95, 0.91, 1.0, 24)), **WHOLE), "group_ends") == []


def test_a_run_without_such_records_says_that_they_were_not_measured(straight):
    named = {"signal of the teacher's word", "the student's calibration", "clips without speech"}
    assert named | {"end of text of groups"} <= {*advisories(load(straight)).unmeasured}
