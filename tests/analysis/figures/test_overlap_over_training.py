import io
import math
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from analysis import load
from analysis.figures import overlap_over_training
from analysis.figures.style import STAGE_TINTS, STATES


def line(panel, name):
    return next(line for line in panel.lines if line.get_gid() == name)


def bands(panel):
    """Start, end and color of the stages behind a panel."""
    found = [patch for patch in panel.patches if patch.get_zorder() == 0]
    return [(patch.get_x(), patch.get_x() + patch.get_width(), to_hex(patch.get_facecolor())) for patch in found]


def switches(panel):
    """Step and line style of the vertical lines."""
    upright = [item for item in panel.lines if list(item.get_ydata()) == [0, 1]]
    return [
        (item.get_xdata()[0], item.get_linestyle()) for item in upright if item.get_xdata()[0] == item.get_xdata()[1]
    ]


def test_panels_and_their_labels(straight):
    panels = overlap_over_training(load(straight))
    assert [panel.get_ylabel() for panel in panels] == [
        "VUSS = mean |U|\n(tokens)",
        "Top-1 agreement\n(share)",
        "Total variation\n(probability)",
        "WER\n(%)",
    ]
    assert panels[-1].get_xlabel() == "Training step"
    assert len({panel.get_xlim() for panel in panels}) == 1


def test_a_line_and_a_band_a_kind_of_states(straight):
    run = load(straight)
    panels = overlap_over_training(run)
    for panel, statistic in zip(panels, ("union_size", "top1_agreement", "total_variation"), strict=False):
        assert sum(isinstance(item, PolyCollection) for item in panel.collections) == 3
        for states in ("student", "fixed", "teacher"):
            rows = run.probes[(run.probes["statistic"] == statistic) & (run.probes["states"] == states)]
            np.testing.assert_array_equal(line(panel, states).get_xdata(), rows["step"])
            np.testing.assert_array_equal(line(panel, states).get_ydata(), rows["value"])
    low, high = panels[0].collections[0].get_datalim(panels[0].transData).intervaly
    assert (low, high) == pytest.approx((52 - 0.2, 60 + 0.2))


def test_stages_lie_behind_every_panel(straight):
    panels = overlap_over_training(load(straight))
    expected = [(0, 100, STAGE_TINTS["sft"]), (100, 200, STAGE_TINTS["td"]), (200, 300, STAGE_TINTS["opd"])]
    for panel in panels:
        assert bands(panel) == expected
        assert switches(panel) == [(100, "-"), (200, "-")]
    assert [text.get_text() for text in panels[0].texts] == ["base", "teacher data", "on-policy"]


def test_a_fall_back_is_marked_and_breaks_the_lines(fell_back):
    panels = overlap_over_training(load(fell_back))
    assert switches(panels[0]) == [(100, "-"), (200, "-"), (250, "--"), (300, "-")]
    steps = line(panels[0], "student").get_xdata()
    assert list(steps[:7]) == [0, 100, 100, 150, 200, 200, 250]
    assert math.isnan(steps[7])
    assert steps[8] == 250
    assert np.isnan(line(panels[-1], "student").get_ydata()).sum() == 1
    key = [text.get_text() for text in panels[-1].get_legend().get_texts()]
    assert key[-1] == "gate fell back to earlier weights"


def test_error_rates_with_intervals(straight):
    last = overlap_over_training(load(straight))[-1]
    np.testing.assert_allclose(line(last, "student").get_ydata(), [50, 45, 40])
    segments = last.collections[0].get_segments()
    np.testing.assert_allclose(segments[0], [[100, 48], [100, 52]])
    np.testing.assert_allclose(line(last, "teacher").get_ydata(), [10, 10])
    assert last.get_ylim()[0] == 0


def test_the_key_says_how_much_each_line_rests_on(straight):
    legend = overlap_over_training(load(straight))[-1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "student's rollouts: 1,200–1,208 / 40",
        "student's rollouts, fixed: 1,203–1,208 / 40",
        "teacher's transcripts: 1,200–1,208 / 40",
        "WER of the student: 1,000 words / 120",
        "WER of the teacher: 1,000 words / 120",
    ]
    assert "k = 32" in legend.get_title().get_text()
    assert "n positions / n utterances" in legend.get_title().get_text()


@pytest.mark.parametrize("width", [3.5, 8.0])
def test_nothing_is_cut_off_and_stage_names_do_not_touch(make_run, width):
    stays = [("base", (0, 1000)), ("teacher data", (0, 20)), ("on-policy", (0, 30), "end")]
    panels = overlap_over_training(load(make_run(stays)), width=width)
    figure = panels[0].figure
    assert figure.get_figwidth() == width
    figure.draw_without_rendering()
    inside = figure.bbox.padded(1)
    texts = [*panels[0].texts, *panels[-1].get_legend().get_texts(), *(panel.yaxis.label for panel in panels)]
    for text in texts:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 <= box.x1 <= inside.x1, text.get_text()
        assert inside.y0 <= box.y0 <= box.y1 <= inside.y1, text.get_text()
        assert text.get_fontsize() >= 6.5
    boxes = [text.get_window_extent() for text in panels[0].texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_draws_where_it_is_told(straight):
    figure, axes = plt.subplots(2, 1)
    panels = overlap_over_training(load(straight), ["jaccard"], axes=axes)
    assert list(panels) == list(axes)
    assert plt.get_fignums() == [figure.number]


def test_leaves_global_settings_alone(straight):
    before = mpl.rcParams.copy()
    overlap_over_training(load(straight))
    assert mpl.rcParams == before


def test_chosen_states_and_those_not_probed(make_run):
    run = load(make_run([("base", (0, 50), "end")], states=("student",)))
    panels = overlap_over_training(run)
    assert [item.get_gid() for item in panels[0].lines if item.get_gid()] == ["student"]
    assert [item.get_gid() for item in overlap_over_training(run, states=())[0].lines if item.get_gid()] == []


def test_error_rate_alone(straight):
    (only,) = overlap_over_training(load(straight), ())
    key = [text.get_text() for text in only.get_legend().get_texts()]
    assert key == ["WER of the student: 1,000 words / 120", "WER of the teacher: 1,000 words / 120"]


def test_mixed_error_rates_are_named(mixed):
    (only,) = overlap_over_training(load(mixed), ())
    assert only.get_ylabel() == "MER\n(%)"
    np.testing.assert_allclose(line(only, "teacher").get_ydata(), [10, 10])
    key = [text.get_text() for text in only.get_legend().get_texts()]
    assert key == ["MER of the student: 1,000 tokens / 120", "MER of the teacher: 1,000 tokens / 120"]


def test_what_was_not_measured_is_said(make_run):
    stays = [("base", (0, 50), "end")]
    run = load(make_run(stays, states=(), evaluated=False))
    panels = overlap_over_training(run)
    said = ["not measured in this run", "not measured in this run", "not evaluated in this run"]
    assert [panel.texts[0].get_text() for panel in panels[1:]] == said
    assert panels[-1].get_legend() is None
    missing = overlap_over_training(load(make_run(stays, "other")), ["forward_kl"])
    assert missing[0].texts[0].get_text() == "not measured in this run"


def test_undefined_values_and_intervals(straight):
    probes = pd.read_parquet(straight / "probes/all.parquet")
    probes.loc[probes["statistic"] == "union_size", ["value", "low", "high"]] = math.nan
    probes.assign(low=math.nan, high=math.nan).to_parquet(straight / "probes/all.parquet")
    log = straight / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"low": 0.08', '"low": null').replace('"low": 0.48', '"low": null'))
    panels = overlap_over_training(load(straight))
    panels[0].figure.draw_without_rendering()
    assert np.isnan(line(panels[0], "student").get_ydata()).all()


def test_a_run_that_has_only_begun(straight):
    for log in ("decisions", "evaluations", "metrics"):
        (straight / f"{log}.jsonl").write_text("")
    (straight / "probes/all.parquet").unlink()
    overlap_over_training(load(straight))[0].figure.draw_without_rendering()


def test_a_stage_that_goes_on_reaches_to_the_last_step(make_run):
    path = make_run([("base", (0, 50)), ("teacher data", (0, 20), "stay")])
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 85, "visit": 1, "stage": "teacher data", "stage_step": 35, "loss": 1.0}\n')
    assert bands(overlap_over_training(load(path))[0])[-1][:2] == (50, 85)


def test_a_probe_whose_reading_is_not_written_yet(fell_back):
    log = fell_back / "decisions.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:7]))  # up to the fall back
    steps = line(overlap_over_training(load(fell_back))[0], "student").get_xdata()
    assert math.isnan(steps[7])


def test_wrong_requests(straight):
    run = load(straight)
    with pytest.raises(ValueError, match=r"no statistic is called 'vus'; there are student_size, .*union_size"):
        overlap_over_training(run, ["vus"])
    with pytest.raises(ValueError, match=r"no states are called \['teachers'\]; there are student, fixed"):
        overlap_over_training(run, states=["teachers"])
    with pytest.raises(ValueError, match=r"axes: expected 2, one a statistic and one for the error rate, got 1"):
        overlap_over_training(run, ["union_size"], axes=[plt.gca()])
    assert plt.get_fignums() == [1]


def test_svg_keeps_its_text(straight):
    panels = overlap_over_training(load(straight))
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        panels[0].figure.savefig(file, format="svg")
    written = "".join(ElementTree.fromstring(file.getvalue()).itertext())
    for text in ("Training step", "VUSS = mean |U|", "teacher data", "student's rollouts: 1,200–1,208 / 40"):
        assert text in written


def test_states_differ_in_more_than_color():
    styles = STATES.values()
    for field in ("color", "marker", "dashes", "label"):
        assert len({getattr(style, field) for style in styles}) == len(STATES)
