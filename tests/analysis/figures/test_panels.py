"""What holds for every figure: requests that cannot be met, runs that lack data, the caller's axes, legibility."""

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from analysis import figures, load
from analysis.figures import fonts
from analysis.figures.panels import fitted, interval_units_text, key_below, one_panel, text_width
from analysis.figures.style import STAGE_COLORS, STAGE_MARKERS, STAGE_TINTS
from analysis.run.load import EVALUATED
from overlap.statistics.sweep import sweep
from tests.analysis.figures.conftest import write_full_run

FIGURES = {
    "overlap_over_training": figures.overlap_over_training,
    "vuss_decomposition": figures.vuss_decomposition,
    "position_profile": figures.position_profile,
    "entropy_density": figures.entropy_density,
    "mass_distribution": figures.mass_distribution,
    "wer_against_overlap": figures.wer_against_overlap,
    "strata": figures.strata,
    "funnel": figures.funnel,
    "support_membership": lambda run, **options: figures.support_membership(figures.choose_trace(run, "u4"), **options),
    "termination": figures.termination,
    "token_heat_map": lambda run, **options: figures.token_heat_map(run, **{"utterance": "u4"} | options),
    "shadow_rules": figures.shadow_rules,
    "k_sweep": lambda run, **options: figures.k_sweep(swept(), "student_mass", **options),
    "temperature_sweep": lambda run, **options: figures.temperature_sweep(swept(), **options),
}
PANELS = {"overlap_over_training": 4, "vuss_decomposition": 2, "entropy_density": 4}
PANELS |= {"termination": 5, "token_heat_map": 2, "shadow_rules": 2}
WITHOUT_STATES = ("termination", "shadow_rules")
OF_RUNS = [name for name in FIGURES if name not in ("support_membership", "k_sweep", "temperature_sweep")]


def swept():
    logits = torch.randn(3, 4, 20, generator=torch.Generator().manual_seed(0))
    return sweep(logits, logits.flip(-1), ks=(1, 4), temperatures=(0.5, 1.0))


def panels_of(drawn):
    return list(np.atleast_1d(np.asarray(drawn, dtype=object)))


def ticks(axis):
    """Labels that are seen."""
    low, high = sorted(axis.get_view_interval())
    seen = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [label for label in seen if label.get_text() and label.get_visible()]


def said(panels):
    return [text.get_text() for panel in panels for text in panel.texts]


LEGIBLE = FIGURES | {
    "strata by correctness": lambda run, **options: figures.strata(run, "correctness", **options),
    "fixed error against overlap": lambda run, **options: figures.wer_against_overlap(
        run, "union_size", "fixed", **options
    ),
}


@pytest.mark.parametrize("width", [3.3, 6.0, 8.0])
@pytest.mark.parametrize("name", LEGIBLE)
def test_nothing_is_cut_off_or_too_small(full, name, width):
    panels = panels_of(LEGIBLE[name](full, width=width))
    figure = panels[0].figure
    assert figure.get_figwidth() == width
    figure.draw_without_rendering()
    inside = figure.bbox.padded(1)
    for panel in panels:
        labels = [*ticks(panel.xaxis), *ticks(panel.yaxis), panel.xaxis.label, panel.yaxis.label]
        legend = panel.get_legend()
        key = [] if legend is None else [*legend.get_texts(), legend.get_title()]
        titles = [panel.title, panel._left_title]
        for text in (*panel.texts, *labels, *key, *titles):
            if not text.get_text() or not text.get_visible():
                continue
            box = text.get_window_extent()
            assert inside.x0 <= box.x0 <= box.x1 <= inside.x1, text.get_text()
            assert inside.y0 <= box.y0 <= box.y1 <= inside.y1, text.get_text()
            assert text.get_fontsize() >= 5, text.get_text()
        for axis, across in ((panel.xaxis, "x"), (panel.yaxis, "y")):
            boxes = [label.get_window_extent() for label in ticks(axis)]
            ends = sorted((getattr(box, f"{across}0"), getattr(box, f"{across}1")) for box in boxes)
            assert all(one[1] <= two[0] + 1 for one, two in pairwise(ends)), f"{name}, {across}"
        if legend is not None:
            assert legend.get_window_extent().y1 <= panel.xaxis.label.get_window_extent().y0, f"{name}: key on label"
            assert panel.get_window_extent().width >= 0.5 * figure.bbox.width, f"{name}: squeezed by its key"
    boxes = [panel.yaxis.label.get_window_extent() for panel in panels if panel.get_ylabel()]
    assert not [one for place, one in enumerate(boxes) for two in boxes[:place] if one.overlaps(two)], name


def test_a_key_is_as_wide_as_its_panel():
    title = "Means with 95 % intervals of overlap over utterances, of WER over 25 speakers, k = 16"
    title += "; n positions / n utterances"
    lines = fitted(title, 7.0, 165.0).split("\n")
    assert lines == [
        "Means with 95 % intervals of overlap over",
        "utterances, of WER over 25 speakers, k = 16;",
        "n positions / n utterances",
    ]
    assert all(text_width(line, 7.0) < 165 for line in lines)
    assert fitted("k = 8; 3 of 9 shown; n positions", 7.0, 100.0) == "k = 8; 3 of 9 shown;\nn positions"
    assert fitted(title, 7.0, 1000.0) == title
    assert fitted("95 % of k = 8", 7.0, 1.0) == "95 %\nof\nk = 8"


def test_cells_of_a_density_are_drawn_whole(full, tmp_path):
    run = load(write_full_run(tmp_path / "edges"))
    run.positions["student_entropy"] = np.resize([0.0, 14.0], len(run.positions))
    run.positions["teacher_entropy"] = np.resize([0.0, 0.0, 14.0, 14.0], len(run.positions))
    for panel in figures.entropy_density(run):
        (cells,) = panel.collections
        around = np.log10(cells.get_paths()[0].vertices)  # of a cell, where its center is 0
        corners = 10 ** (cells.get_offsets()[:, np.newaxis] + around).reshape(-1, 2)
        for ends, (least, most) in zip(corners.T, (panel.get_xlim(), panel.get_ylim()), strict=True):
            assert least <= ends.min() < 1e-4
            assert 14 < ends.max() <= most


@pytest.mark.parametrize("name", OF_RUNS)
def test_what_was_not_measured_is_said_and_not_drawn(begun, name):
    panels = panels_of(FIGURES[name](begun, **({"utterance": None} if name == "token_heat_map" else {})))
    panels[0].figure.draw_without_rendering()
    assert all("in this run" in text for text in said(panels))
    assert len(said(panels)) == len(panels)
    assert not any(panel.patches for panel in panels)
    assert not any(len(line.get_xdata()) for panel in panels for line in panel.lines)
    assert all(panel.get_legend() is None for panel in panels)


def test_a_statistic_that_was_not_traced_is_said(full):
    assert said([figures.position_profile(full, "reverse_kl")]) == ["not measured in this run"]
    assert said([figures.mass_distribution(full, "student_intersection_mass")]) == ["not measured in this run"]
    assert said([figures.strata(full, statistic="teacher_rank")]) == ["not measured in this run"]
    assert said([figures.wer_against_overlap(full, "forward_kl")]) == [
        "no checkpoint was both probed and evaluated in this run"
    ]
    only = {setting: statistics.summary() for setting, statistics in swept().items()}
    assert said([figures.k_sweep(only, "repetition")]) == ["not measured in this sweep"]


def test_a_statistic_that_is_undefined_everywhere_is_said(full, tmp_path):
    run = load(write_full_run(tmp_path / "undefined"))
    run.positions["union_size"] = np.nan
    assert said([figures.position_profile(run, "union_size")]) == ["not measured in this run"]


@pytest.mark.parametrize("name", [name for name in OF_RUNS if name not in WITHOUT_STATES])
def test_unknown_states(full, name):
    options = (
        {"states": ("teachers",)} if name in ("overlap_over_training", "vuss_decomposition") else {"states": "teachers"}
    )
    with pytest.raises(ValueError, match=r"no states are called \['teachers'\]; there are student, fixed"):
        FIGURES[name](full, **options)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "draw",
    [
        lambda run: figures.position_profile(run, "vus"),
        lambda run: figures.mass_distribution(run, "vus"),
        lambda run: figures.wer_against_overlap(run, "vus"),
        lambda run: figures.strata(run, statistic="vus"),
        lambda run: figures.k_sweep(swept(), "vus"),
        lambda run: figures.temperature_sweep(swept(), "vus"),
    ],
)
def test_unknown_statistics(full, draw):
    with pytest.raises(ValueError, match=r"no statistic is called 'vus'; there are student_size, .*union_size"):
        draw(full)


def test_other_requests_that_cannot_be_met(full, begun):
    with pytest.raises(
        ValueError, match=r"union_size is not a probability; choose one, such as student_mass or teacher"
    ):
        figures.mass_distribution(full, "union_size")
    with pytest.raises(ValueError, match=r"no strata are called 'class'; there are token_class, correctness"):
        figures.strata(full, "class")
    with pytest.raises(ValueError, match=r"least: an interval takes at least 2 utterances, received 1"):
        figures.position_profile(full, least=1)
    with pytest.raises(ValueError, match=r"swept: expected the result of overlap.sweep, received nothing"):
        figures.k_sweep({})
    summaries = {setting: statistics.summary() for setting, statistics in swept().items()}
    with pytest.raises(ValueError, match=r"groups: summaries have their intervals already; leave groups out"):
        figures.k_sweep(summaries, groups=[0, 1, 2])
    with pytest.raises(ValueError, match=r"axes: expected 2, one a kind of states, got 1"):
        figures.vuss_decomposition(full, axes=[plt.gca()])
    with pytest.raises(
        ValueError, match=r"axes: expected 4, one for the start of the run and each traced visit .*, got 1"
    ):
        figures.entropy_density(full, axes=[plt.gca()])
    with pytest.raises(ValueError, match=r"last: expected at least 1 moment, received 0"):
        figures.entropy_density(full, last=0)


def test_traces_that_are_not_there(full, begun):
    with pytest.raises(ValueError, match=r"no trace has id = 'u77'; choose one of: u0, u1, u2"):
        figures.choose_trace(full, "u77")
    with pytest.raises(ValueError, match=r"no trace has step = 7; choose one of: 0, 100, 200, 300"):
        figures.choose_trace(full, step=7)
    with pytest.raises(ValueError, match=r"no trace has states = 'fixed'; choose one of: student, teacher"):
        figures.choose_trace(full, states="fixed")
    with pytest.raises(ValueError, match=r"choose one of: no traces in this run"):
        figures.choose_trace(begun)
    trace = figures.choose_trace(full, "u5")
    with pytest.raises(ValueError, match=r"first: the utterance has positions 0 to 2, received 3"):
        figures.support_membership(trace, first=3)
    with pytest.raises(ValueError, match=r"rows, columns: expected at least 1 of each, received 0 and None"):
        figures.support_membership(trace, rows=0)


def test_the_last_trace_is_chosen(full):
    trace = figures.choose_trace(full)
    assert trace[["id", "states", "step", "stage"]].tolist() == ["u0", "student", 300, "on-policy"]
    assert figures.choose_trace(full, "u3", "teacher", step=100)["text"] == "7 five"


@pytest.mark.parametrize("name", FIGURES)
def test_draws_where_it_is_told_and_leaves_settings_alone(full, name):
    number = PANELS.get(name)
    figure, axes = plt.subplots(number or 1, 1)
    before = mpl.rcParams.copy()
    drawn = FIGURES[name](full, **({"axes": axes} if number else {"ax": axes}))
    assert panels_of(drawn) == panels_of(axes)
    assert plt.get_fignums() == [figure.number]
    assert mpl.rcParams == before


def test_vector_graphics_keep_their_text(full):
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figures.strata(full).figure.savefig(file, format="svg")
    written = "".join(ElementTree.fromstring(file.getvalue()).itertext())
    for text in ("Top-1 agreement (share)", "word initial", "after on-policy, step 300"):
        assert text in written
    figures.support_membership(figures.choose_trace(full)).figure.savefig(io.BytesIO(), format="pdf")


def test_dashboard(full):
    figure = figures.dashboard(full)
    figure.draw_without_rendering()
    assert not [text for panel in figure.axes for text in said([panel]) if "in this run" in text]
    (key,) = figure.legends
    positions = int(full.traces.query("step == 300 and states == 'student'")["used"].map(sum).sum())
    assert f"after on-policy, step 300: 1,208 / 40 ({positions} / 10)" in [text.get_text() for text in key.get_texts()]
    assert figure.get_suptitle() == "Run made up: base → teacher data → on-policy, 300 steps"


def test_the_key_of_a_dashboard_says_what_all_of_its_intervals_are_over(full):
    told = replace(full)
    spoken = [
        dict(zip(EVALUATED, row, strict=True))
        | {"id": f"u{place}", "speaker": f"s{place}", "words.errors": place % 3, "words.total": 6}
        | {"characters.errors": place % 3, "characters.total": 20}
        for row in full.evaluations[list(EVALUATED)].itertuples(index=False)
        for place in range(12)
    ]
    told.__dict__["transcripts"] = pd.DataFrame(spoken)
    told.__dict__["traces"] = full.traces
    (key,) = figures.dashboard(told).legends
    assert key.get_title().get_text().endswith("; 95 % intervals of overlap over utterances, of WER over 12 speakers")


def test_dashboard_of_a_run_that_has_only_begun(begun):
    figure = figures.dashboard(begun)
    figure.draw_without_rendering()
    assert all("in this run" in text for text in said(figure.axes))
    assert len(said(figure.axes)) == len(figure.axes) == 12
    assert figure.get_suptitle() == "Run made up: no gate readings yet"


def test_dashboard_of_a_run_that_goes_on_without_traces(full):
    early = replace(full, decisions=full.decisions.iloc[:5], evaluations=full.evaluations.iloc[:0])
    early.__dict__["traces"] = full.traces.iloc[:0]
    figure = figures.dashboard(early)
    figure.draw_without_rendering()
    assert said(figure.axes).count("not measured in this run") == 6
    assert figure.get_suptitle().endswith("base → teacher data, still running after 150 steps")
    switched = replace(full, decisions=full.decisions.iloc[:6])  # the next stage has no reading yet
    assert figures.dashboard(switched).get_suptitle().endswith("base → teacher data, still running after 200 steps")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "teacher data so far, step 150: 1,204 / 40 (not traced)" in labels


def test_a_stage_visited_twice_is_told_apart(fell_back):
    labels = [text.get_text() for text in figures.funnel(load(fell_back)).get_legend().get_texts()]
    assert labels == [
        "start, step 0",
        "after base, step 100",
        "after teacher data, step 200",
        "after on-policy, step 250",
        "after teacher data, step 300",
        "after on-policy, step 400",
    ]
    drawn = figures.wer_against_overlap(load(fell_back)).lines
    paths = [line for line in drawn if line.get_gid() == "path"]
    assert [len(path.get_xdata()) for path in paths] == [3, 2]  # broken where the gate fell back
    faces = {
        line.get_gid(): line.get_markerfacecolor() for line in drawn if str(line.get_gid()).startswith("on-policy")
    }
    assert faces == {"on-policy 2": STAGE_COLORS["opd"], "on-policy 4": "white"}


def test_stages_differ_in_more_than_color():
    assert STAGE_COLORS.keys() == STAGE_MARKERS.keys() == STAGE_TINTS.keys()
    assert len(set(STAGE_MARKERS.values())) == len(STAGE_MARKERS)


def test_traces_whose_spelling_is_unknown_are_unlabeled(full, tmp_path):
    run = load(write_full_run(tmp_path / "odd"))
    run.__dict__["traces"] = run.traces.assign(text="something else")
    panel = figures.strata(run)
    assert [label.get_text() for label in panel.get_yticklabels()] == ["unlabeled"]
    assert pd.Series(panel.lines[0].get_xdata()).between(0, 1).all()


def test_letters_that_no_font_has_are_written_as_code_points(full, monkeypatch):
    monkeypatch.setattr(fonts.fontManager, "ttflist", [f for f in fonts.fontManager.ttflist if "DejaVu" in f.name])
    fonts._family.cache_clear()
    assert fonts.drawable("two 四") == "two U+56DB"
    trace = figures.choose_trace(full, "u5").to_dict()
    trace |= {"text": "四 five", "union_bytes": [["四".encode()] * len(ids) for ids in trace["union_ids"]]}
    panel = figures.support_membership(trace, width=8.0)
    panel.figure.draw_without_rendering()  # a missing glyph is a warning, so an error here
    assert {text.get_text() for text in panel.texts} == {"U+56DB"}
    assert "text: U+56DB five" in panel.get_title(loc="left")


def test_a_long_utterance_is_cut_to_what_is_legible(full):
    trace = figures.choose_trace(full, "u8").to_dict()
    lists = [name for name, value in trace.items() if isinstance(value, list | np.ndarray)]
    long = trace | {name: list(trace[name]) * 15 for name in lists}
    length = len(long["token_ids"])
    for width in (3.5, 8.0):
        panel = figures.support_membership(long, width=width)
        shown = len(panel.get_xticks())
        assert 8 <= shown < length
        assert f"{shown} of {length} positions shown" in panel.get_legend().get_title().get_text()
    panel = figures.support_membership(long, first=70, columns=3)
    assert [label.get_text() for label in panel.get_xticklabels()] == ["70", "71", "72"]


def test_a_key_says_what_intervals_are_over():
    rows = pd.DataFrame({"over": ["utterances"], "n_over": [200], "stored": [True]})
    assert interval_units_text(rows, "wer") == "95 % intervals over utterances"
    rows = rows.assign(over="speakers", n_over=25, stored=False)
    assert interval_units_text(rows, "wer") == "95 % intervals of overlap over utterances, of WER over 25 speakers"


def test_a_long_heading_of_a_key_is_broken_to_fit_a_column():
    panel = one_panel(None, 3.3, 3.0)
    (line,) = panel.plot([0, 1], [0, 1])
    heading = "Means with 95 % intervals of overlap over utterances, of WER over 25 speakers, k = 16; in the key: n / n"
    key = key_below(panel, [(line, "own transcripts")], heading)
    panel.figure.draw_without_rendering()
    assert key.get_title().get_text().replace("\n", " ") == heading
    box = key.get_title().get_window_extent()
    assert 0 <= box.x0 < box.x1 <= panel.figure.bbox.x1
    assert panel.get_position().width > 0.6  # the key has not pressed the panel together
