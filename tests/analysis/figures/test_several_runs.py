"""Several runs in one figure, and one run where one is wanted."""

from itertools import pairwise

import numpy as np
import pytest

from analysis import figures, load, load_many
from analysis.figures import overlap_over_training, wer_against_overlap
from analysis.inference import (
    error_rate,
    error_rate_difference,
    overlap_change,
    recipe_differences,
    stage_changes,
    stage_ends,
    stage_gains,
    switch_changes,
)
from tests.analysis.report.conftest import set_probe


@pytest.fixture
def runs(make_run):
    short = make_run([("base", (0, 50), "advance"), ("on-policy", (0, 50), "end")], name="short")
    long = make_run([("base", (0, 100, 200), "advance"), ("on-policy", (0, 300), "end")], name="long")
    return load_many([short, long])


def test_one_color_a_run_each_at_its_own_steps(runs):
    panels = overlap_over_training(runs, ("union_size", "top1_agreement"))
    assert len(panels) == 3
    for panel, statistic in zip(panels, ("union_size", "top1_agreement"), strict=False):
        lines = {line.get_gid(): line for line in panel.lines if line.get_gid() in runs}
        assert list(lines) == ["short", "long"]
        assert len({str(line.get_color()) for line in lines.values()}) == 2
        for name, line in lines.items():
            own = runs[name].probes.query("states == 'student'")
            rows = own.loc[own["statistic"] == statistic]
            assert line.get_xdata().tolist() == rows["step"].tolist()
            np.testing.assert_allclose(line.get_ydata(), rows["value"])
    rates = {line.get_gid(): line.get_ydata() for line in panels[-1].lines if line.get_gid() in runs}
    np.testing.assert_allclose(rates["short"], [50, 45])
    assert panels[0].get_xlim()[1] >= 500
    key = " ".join(text.get_text() for text in panels[-1].get_legend().get_texts())
    assert "short: " in key
    assert "long: " in key


def test_a_second_run_does_not_go_into_the_first_ones_axes(runs):
    panels = overlap_over_training(runs["short"])
    with pytest.raises(ValueError, match=r"axes: something is drawn there already.*overlap_over_training\(load_many"):
        overlap_over_training(runs["long"], axes=panels)


def test_what_several_runs_do_not_share_is_refused(runs, mixed):
    with pytest.raises(ValueError, match="several runs take one kind of states, received student, fixed"):
        overlap_over_training(runs, states=("student", "fixed"))
    with pytest.raises(ValueError, match="some have MER and others WER, which share no axis"):
        overlap_over_training({"one": runs["short"], "two": load(mixed)})
    with pytest.raises(ValueError, match="runs: expected at least one"):
        overlap_over_training({})


def test_a_statistic_that_no_run_has_says_so(runs):
    panels = overlap_over_training(runs, ("teacher_mass",))
    assert [text.get_text() for text in panels[0].texts] == ["not measured in these runs"]


@pytest.mark.parametrize("name", ["dashboard", "funnel", "wer_against_overlap", "vuss_decomposition", "strata"])
def test_figures_of_one_run_say_how_to_choose_it(name, runs):
    with pytest.raises(ValueError, match=r"run: expected one run, received 2; choose one, such as runs\['short'\]"):
        getattr(figures, name)(runs)
    with pytest.raises(ValueError, match=r"run: expected a run, such as load\('runs/0'\), received a str"):
        getattr(figures, name)("runs/0")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda runs: error_rate(runs["short"]),
            "transcripts: expected transcripts .* run.transcripts, received a Run",
        ),
        (lambda runs: error_rate_difference(runs["short"], runs["long"]), "first: expected transcripts"),
        (lambda runs: overlap_change(runs["short"], runs["long"]), "before: expected positions of one checkpoint"),
        (lambda runs: stage_changes("runs/0"), r"run: expected a run, such as load\('runs/0'\)"),
        (stage_changes, "run: expected one run, received 2"),
        (switch_changes, "run: expected one run, received 2"),
        (
            lambda runs: recipe_differences(runs["short"]),
            r"expected several runs, such as load_many\(\['.*short'\]",
        ),
        (lambda runs: stage_gains([runs["short"]]), "runs: expected several runs, .*received a list"),
        (lambda runs: stage_ends(runs["short"], "base"), "runs: expected several runs"),
    ],
)
def test_inference_says_what_it_wants(call, words, runs):
    with pytest.raises(ValueError, match=words):
        call(runs)


def test_the_interval_of_a_constant_does_not_fill_its_panel(straight):
    set_probe(straight, "student_mass", 1.0, half=0.05)
    panel = overlap_over_training(load(straight), ("student_mass",), ("student",))[0]
    bottom, top = panel.get_ylim()
    assert 0.1 / (top - bottom) == pytest.approx(0.2)
    moving = overlap_over_training(load(straight), ("union_size",), ("student",))[0]
    bottom, top = moving.get_ylim()
    assert (60.2 - 51.8) / (top - bottom) > 0.8


def test_labels_keep_off_the_line_between_checkpoints(make_run):
    stays = [("base", (0, 50), "advance"), ("teacher data", (0, 50), "advance"), ("on-policy", (0, 50), "end")]
    path = make_run(stays)
    for step, value in ((50, 0.52), (100, 0.51), (150, 0.5)):
        set_probe(path, "top1_agreement", value, step=step)
    panel = wer_against_overlap(load(path), width=5)
    panel.figure.draw_without_rendering()
    renderer = panel.figure.canvas.get_renderer()
    (path,) = [line for line in panel.lines if line.get_gid() == "path"]
    corners = panel.transData.transform(np.column_stack([path.get_xdata(), path.get_ydata()]))
    along = np.concatenate([a + np.linspace(0, 1, 200)[:, None] * (b - a) for a, b in pairwise(corners)])
    boxes = [text.get_window_extent(renderer) for text in panel.texts]
    assert boxes
    for box in boxes:
        inside = (along >= (box.x0, box.y0 + 0.2 * box.height)) & (along <= (box.x1, box.y1 - 0.1 * box.height))
        assert not inside.all(1).any()
