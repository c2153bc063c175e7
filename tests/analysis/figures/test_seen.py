"""What the figures of termination, rules and tokens show: against the frames that they are drawn from."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis import figures


def lines(panel):
    return {line.get_gid(): line for line in panel.lines if line.get_gid()}


def test_termination_shows_every_probe_with_its_interval(full):
    panels = figures.termination(full)
    assert [panel.get_ylabel().split("\n")[0] for panel in panels] == [
        "Ended", "p(end) ≥ 0.5 at", "p(end), mean", "Stop density", "Repetition",
    ]  # fmt: skip
    rows = full.probes.loc[(full.probes["statistic"] == "end_of_text") & (full.probes["states"] == "student")]
    drawn = lines(panels[0])["end_of_text, student"]
    assert np.array_equal(drawn.get_xdata(), rows["step"])
    assert np.array_equal(drawn.get_ydata(), rows["value"])
    shade = panels[0].collections[0].get_paths()[0].vertices[:, 1]
    assert shade.min() == pytest.approx(rows["low"].min())
    assert shade.max() == pytest.approx(rows["high"].max())
    assert {"student_end_likely.at_end, student", "student_end_likely.at_end, teacher"} <= lines(panels[1]).keys()
    assert {"student_end_mass, student", "teacher_end_mass, student"} <= lines(panels[2]).keys()
    key = [text.get_text() for text in panels[-1].get_legend().get_texts()]
    assert key[:3] == [
        "student's rollouts: 40", "teacher's transcripts: 40", "student's rollouts, teacher's p(end): 40",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"axes: expected 5, one for each of its statistics, got 1"):
        figures.termination(full, [panels[0]])


def test_termination_shows_the_levels_of_gates(demo):
    ended, likely, *_ = figures.termination(demo)
    assert {line.get_ydata()[0] for line in ended.lines if line.get_gid() in ("threshold", "limit")} == {0.9}
    assert {line.get_ydata()[0] for line in likely.lines if line.get_gid() == "threshold"} == {0.7}


def test_rules_are_shown_with_shares_and_both_comparisons(full):
    shares, pairs = figures.shadow_rules(full)
    kept = lines(shares)["kept"]
    assert kept.get_xdata().tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert [label.get_text() for label in shares.get_yticklabels()] == ["prune", "selectkd", "iw"]
    assert "n positions / n utterances: 1,200 / 40" in shares.get_legend().get_title().get_text().replace("\n", " ")
    (image,) = pairs.images
    grid = image.get_array()
    assert grid[1, 0] == pytest.approx(0.6)  # Jaccard of prune and selectkd, below the diagonal
    assert grid[0, 1] == pytest.approx(-0.25)  # Spearman, above it
    assert np.ma.is_masked(grid[0, 2])
    assert np.ma.is_masked(grid[1, 1])
    written = {text.get_position(): text.get_text() for text in pairs.texts}
    assert written[(0, 1)] == "0.60"
    assert written[(1, 0)] == "−0.25"
    assert written[(2, 0)] == "–"  # undefined, not zero
    assert (1, 1) not in written


def test_the_panel_of_a_step_can_be_chosen(full):
    assert [text.get_text() for text in figures.shadow_rules(full, step=100)[0].texts] == ["not measured in this run"]
    with pytest.raises(ValueError, match=r"axes: expected 2, one for shares and one for pairs, got 1"):
        figures.shadow_rules(full, axes=[figures.shadow_rules(full)[0]])


def patches(panel):
    return {patch.get_gid(): patch for patch in panel.patches}


def test_tokens_have_the_color_of_their_divergence_and_of_overlap(full):
    kl, ratio = figures.token_heat_map(full, "u4", columns=9)
    rows = full.traces.loc[(full.traces["id"] == "u4") & (full.traces["states"] == "teacher")]
    assert len(rows) == 4
    for y, row in enumerate(rows.to_dict("records")):
        for x, value in enumerate(row["forward_kl"]):
            expected = mpl.colormaps["cividis"](min(1.0, (value / 4.0) ** 0.5))[:3]
            assert patches(kl)[f"{y}, {x}"].get_facecolor()[:3] == pytest.approx(expected, abs=0.01)
        for x, value in enumerate(row["overlap_ratio"]):
            expected = mpl.colormaps["cividis"](1.0 - value)[:3]  # light where the models are apart, as above
            assert patches(ratio)[f"{y}, {x}"].get_facecolor()[:3] == pytest.approx(expected, abs=0.01)
    assert [label.get_text() for label in kl.get_yticklabels()] == [
        "start, step 0", "after base, step 100", "after teacher data, step 200", "after on-policy, step 300",
    ]  # fmt: skip
    assert [text.get_text() for text in kl.texts[:4]] == ["two", "␣two", "␣fiv", "e"]


def test_a_token_that_is_not_comparable_has_no_color_of_the_map(full):
    kl, _ = figures.token_heat_map(full, "u9")  # its first token is not used
    assert patches(kl)["0, 0"].get_facecolor()[:3] == pytest.approx(to_rgb("#c9c9c9"))


def test_an_utterance_that_was_not_traced_is_named(full):
    with pytest.raises(
        ValueError, match=r"utterance: no trace has id 'u99' on the states 'teacher'; choose one of: u0, u1"
    ):
        figures.token_heat_map(full, "u99")
    with pytest.raises(ValueError, match=r"choose one of: no traces on these states in this run"):
        figures.token_heat_map(full, "u0", states="reference")
