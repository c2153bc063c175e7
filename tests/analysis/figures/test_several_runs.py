"""Several runs in one figure, and one run where one is wanted."""

import re
from itertools import pairwise

import numpy as np
import pytest

from analysis import figures, load, load_many
from analysis.figures import overlap_over_training, wer_against_overlap
from analysis.figures.error_against_overlap import checkpoints
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
    with pytest.raises(ValueError, match="some have MER and others WER, not comparable"):
        overlap_over_training({"one": runs["short"], "two": load(mixed)})
    with pytest.raises(ValueError, match="runs: expected at least one"):
        overlap_over_training({})


def test_a_statistic_that_no_run_has_says_so(runs):
    panels = overlap_over_training(runs, ("teacher_mass",))
    assert [text.get_text() for text in panels[0].texts] == ["not measured in these runs"]


def test_error_rates_against_overlap_of_several_runs(runs, fell_back):
    runs = {**runs, "fell back": load(fell_back)}
    panel = wer_against_overlap(runs)
    drawn = {line.get_gid(): line for line in panel.lines if line.get_gid() in runs}
    assert list(drawn) == list(runs)
    assert len({str(line.get_color()) for line in drawn.values()}) == 3
    for name, line in drawn.items():
        points = checkpoints(runs[name], "top1_agreement", "student")
        np.testing.assert_allclose(np.asarray(line.get_xdata(), dtype=float), points["value"])
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), points["rate"])
    paths = [
        line for line in panel.lines if line.get_linestyle() == "-" and len(line.get_xdata()) and not line.get_gid()
    ]
    falls = sum(stay.decision == "fall_back" for stay in runs["fell back"].visits)
    assert falls
    of_fallen = [line for line in paths if line.get_color() == drawn["fell back"].get_color()]
    assert sum(len(line.get_xdata()) for line in of_fallen) == len(
        checkpoints(runs["fell back"], "top1_agreement", "student")
    )
    assert len(of_fallen) == 1 + falls
    key = [text.get_text() for text in panel.get_legend().get_texts()]
    assert [line.split(":")[0] for line in key[:3]] == ["short", "long", "fell back"]


def test_one_teacher_is_one_line_and_others_are_each_runs(runs, mixed):
    def teachers(panel):
        return [line for line in panel.lines if line.get_gid() == "teacher"]

    assert len(teachers(wer_against_overlap(runs))) == 1
    with pytest.raises(ValueError, match="some have MER and others WER, not comparable"):
        wer_against_overlap({"one": runs["short"], "two": load(mixed)})
    better = load(runs["long"].path)
    better.evaluations.loc[better.evaluations["model"] == "teacher", ["wer.value", "wer.low", "wer.high"]] /= 2
    two = wer_against_overlap({"short": runs["short"], "long": better})
    assert len({str(line.get_color()) for line in teachers(two)}) == 2
    assert [text.get_text() for text in two.get_legend().get_texts()][-2:] == [
        "teacher's, in short",
        "teacher's, in long",
    ]


def test_several_runs_without_a_common_checkpoint_say_so(runs):
    panel = wer_against_overlap(runs, "top1_agreement", "reference")
    assert [text.get_text() for text in panel.texts] == ["no checkpoint was both probed and evaluated in these runs"]


OF_ONE = {
    "dashboard": "",
    "funnel": ", each with its own ax=…",
    "vuss_decomposition": ", each with its own axes=…",
    "strata": ", each with its own ax=…",
    "position_profile": ", each with its own ax=…",
    "mass_distribution": ", each with its own ax=…",
    "entropy_density": ", each with its own axes=…",
    "shadow_rules": ", each with its own axes=…",
    "reliability": ", each with its own axes=…",
    "signal_over_training": ", each with its own ax=…",
    "termination": ", each with its own axes=…",
    "token_heat_map": ", each with its own axes=…",
}
OF_SEVERAL = ("overlap_over_training", "wer_against_overlap")
NOT_OF_RUNS = ("choose_trace", "strata_frames", "support_membership", "k_sweep", "temperature_sweep")


def test_every_figure_is_of_one_kind():
    assert set(figures.__all__) == {*OF_ONE, *OF_SEVERAL, *NOT_OF_RUNS}


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.parametrize(("given", "first"), [(lambda runs: runs, "'short'"), (lambda runs: [*runs.values()], "0")])
def test_figures_of_one_run_say_what_to_do_with_several(name, given, first, runs):
    words = f"run: expected one run, received 2; choose one, such as runs[{first}]; "
    words += f"{name} draws one run: call it once a run"
    with pytest.raises(ValueError, match=f"^{re.escape(words + OF_ONE[name])}$"):
        getattr(figures, name)(given(runs))


@pytest.mark.parametrize("name", [*OF_ONE, *OF_SEVERAL])
def test_figures_of_runs_say_how_to_have_one(name):
    with pytest.raises(ValueError, match=r"^run: expected a run, such as load\('runs/0'\), received a str$"):
        getattr(figures, name)("runs/0")


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_figures_of_several_runs_take_them_by_name(name, runs):
    with pytest.raises(
        ValueError, match=rf"^run: several runs are given by name: {name}\(load_many\(\['.*', '.*'\]\)\)$"
    ):
        getattr(figures, name)([*runs.values()])
    with pytest.raises(ValueError, match=r"^runs\['a'\]: expected a run, such as load\('runs/0'\), received a str$"):
        getattr(figures, name)({"a": "runs/0"})


def test_figures_that_are_not_of_runs_say_what_they_want(runs):
    with pytest.raises(ValueError, match=r"run: expected one run, received 2; .*; a trace is of one run"):
        figures.choose_trace(runs)
    for given in (runs, runs["short"]):
        with pytest.raises(
            ValueError, match=r"trace: expected one row of run.traces, such as choose_trace\(run\), rec"
        ):
            figures.support_membership(given)
        for sweep in (figures.k_sweep, figures.temperature_sweep):
            with pytest.raises(
                ValueError, match=r"swept: expected the result of one overlap.sweep, by \(k, temperature"
            ):
                sweep(given)


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
