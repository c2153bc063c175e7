"""Figures of signal and calibration show the numbers of the records, and say where there are none."""

import numpy as np
import pytest

from analysis import load
from analysis.figures import reliability, signal_over_training
from overlap.errors import UserError
from tests.analysis.conftest import Stay, write_run
from tests.analysis.readings import calibration_of, write_readings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(write_readings(write_run(tmp_path_factory.mktemp("readings") / "run")))


def texts(panel):
    return " ".join(text.get_text() for text in panel.texts)


def test_reliability_has_a_dot_a_bin_over_its_mean_probability(run):
    panels = reliability(run)
    assert len(panels) == 2 * 4
    own = calibration_of(0, 0.3)["student", "token"]
    (dots,) = [line for line in panels[0].lines if line.get_gid() == "accuracy"]
    assert dots.get_ydata() == pytest.approx([100 * one.accuracy.value for one in own.diagram])
    bars = [patch.get_height() for patch in panels[0].patches]
    assert bars == pytest.approx([100 * one.confidence for one in own.diagram])
    widths = np.diff(dots.get_xdata())
    assert widths == pytest.approx(np.full(9, 10.0))  # bins of equal mass
    assert f"ECE {own.ece.value:.3f}\nn = 320" in texts(panels[0])
    assert "320" in texts(panels[4])
    (legend,) = panels[0].figure.legends
    assert "10 bins of equal mass" in legend.get_title().get_text()
    assert "over 40 utterances" in legend.get_title().get_text()


def test_reliability_of_words_says_what_is_not_measured(run):
    panels = reliability(run, "word", width=5.0)
    assert texts(panels[4]) == "not measured"  # the teacher's words
    assert panels[0].get_ylabel().endswith("% of words")


def test_reliability_shows_the_start_and_the_latest_stages_of_a_long_run(tmp_path):
    stays = [("base", (0, 10)), *[("teacher data", (0, 10)), ("on-policy", (0, 10))] * 4]
    path = write_run(tmp_path / "long", [Stay(*stay) for stay in stays])
    places = [(10 * (number + 1), number, stage) for number, (stage, _) in enumerate(stays)]
    write_readings(path, [(0, 0, "base"), *places])
    panels = reliability(load(path))
    assert len(panels) == 2 * 6
    assert panels[0].get_title(loc="left") == "start"


def test_signal_over_training_is_the_auroc_with_its_interval_and_verdict(run):
    panel = signal_over_training(run, ("teacher_logprob", "top1_agreement", "student_mass"))
    rows = run.signal.loc[(run.signal["quantity"] == "auroc") & (run.signal["statistic"] == "teacher_logprob")]
    lines = {line.get_gid(): line for line in panel.lines}
    assert lines["teacher_logprob"].get_ydata() == pytest.approx(rows["value"])
    assert "student_mass" not in lines  # is undefined
    assert {lines["chance"].get_ydata()[0], lines["useful"].get_ydata()[0]} == {0.5, 0.65}
    key = [text.get_text() for text in panel.get_legend().get_texts()]
    right, wrong = (rows[side].astype(int) for side in ("n_right", "n_wrong"))
    assert key[0].endswith(f"{right.min()}–{right.max()} / {wrong.min()}–{wrong.max()}")
    assert set(key) >= set(rows["verdict"])


def test_a_run_without_readings_says_so(tmp_path):
    bare = load(write_run(tmp_path / "run"))
    assert texts(signal_over_training(bare)) == "not measured in this run"
    assert all(texts(panel) == "not measured" for panel in reliability(bare))


def test_a_run_where_all_are_right_says_so(run, tmp_path):
    path = write_readings(write_run(tmp_path / "run"), [(0, 0, "base")])
    undefined = load(path)
    assert texts(signal_over_training(undefined, ("student_mass",))) == "no probe has both right and wrong transcripts"


def test_wrong_arguments_are_named(run):
    with pytest.raises(UserError, match="unit: expected token or word, received 'letter'"):
        reliability(run, "letter")
    with pytest.raises(UserError, match="two a moment: the student's in order, then the teacher's"):
        reliability(run, axes=[])
    with pytest.raises(UserError, match="statistics: expected one to 4 names, received 0"):
        signal_over_training(run, ())
