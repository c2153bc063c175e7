"""What figures draw are the numbers of the run, computed here by other means."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle

from analysis.figures import (
    choose_trace,
    entropy_density,
    funnel,
    k_sweep,
    mass_distribution,
    overlap_over_training,
    position_profile,
    strata,
    support_membership,
    temperature_sweep,
    vuss_decomposition,
    wer_against_overlap,
)
from overlap import measure
from overlap.statistics.sweep import sweep

NAMES = {
    "start, step 0": (0, "base"),
    "after base, step 100": (100, "base"),
    "after teacher data, step 200": (200, "teacher data"),
    "after on-policy, step 300": (300, "on-policy"),
}


def line(panel, name):
    return next(item for item in panel.lines if item.get_gid() == name)


def bars(panel, name):
    return [patch for patch in panel.patches if patch.get_gid() == name]


def rows_at(frame, name):
    step, stage = NAMES[name]
    return frame[(frame["step"] == step) & (frame["stage"] == stage) & (frame["states"] == "student")]


def key(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()]


def test_vuss_is_the_sum_of_its_parts(full):
    panels = vuss_decomposition(full)
    assert len(panels) == 2
    for panel, states, moments in zip(panels, ("student", "fixed"), (4, 3), strict=True):
        steps = [0, 100, 200, 300][-moments:]
        probes = full.probes[full.probes["states"] == states].drop_duplicates(["step", "statistic"])
        table = probes.pivot_table("value", "step", "statistic").loc[steps]
        student, both, teacher = (
            np.array([bar.get_width() for bar in bars(panel, name)])
            for name in ("student alone, |S| − |I|", "both, |I|", "teacher alone, |T| − |I|")
        )
        np.testing.assert_allclose(both, table["intersection_size"])
        np.testing.assert_allclose(student + both, table["student_size"])
        np.testing.assert_allclose(teacher + both, table["teacher_size"])
        np.testing.assert_allclose(student + both + teacher, table["union_size"])
        np.testing.assert_allclose([bar.get_width() for bar in bars(panel, "invalid")], 0.5)  # 2 · 32 − 32 − 31.5
        assert panel.get_xlim() == (0, 64)
    assert [label.get_text() for label in panels[1].get_yticklabels()] == [
        "after base\nstep 100",
        "after teacher data\nstep 200",
        "after on-policy\nstep 300",
    ]
    assert "|U| 60.00 [59.80, 60.20]" in panels[0].texts[0].get_text()
    assert "|I| 3.50, invalid 0.8 %, |U| 60.00 [59.80, 60.20], n 1,200 / 40" in panels[0].texts[0].get_text()


def test_profile_over_tokens(full):
    panel = position_profile(full, "union_size", least=2)
    ticks = [label.get_text() for label in panel.get_xticklabels()]
    assert ticks == ["0", "1", "2–3", "4–7"]
    for name in NAMES:
        rows = rows_at(full.positions, name).dropna(subset="union_size")
        bins = pd.cut(rows["position"], [-1, 0, 1, 3, 7], labels=ticks)
        expected = rows.groupby(bins, observed=False)["union_size"].mean()
        np.testing.assert_allclose(line(panel, name).get_ydata(), expected)
    assert key(panel)[0].startswith("start, step 0: ")


def test_profile_over_shares_of_the_utterance(full):
    panel = position_profile(full, "teacher_mass", relative=True, bins=4, least=2)
    rows = rows_at(full.positions, "after base, step 100")
    middle = (rows["position"] + 0.5) / rows.groupby("id")["position"].transform("size")
    expected = rows.groupby((4 * middle).astype(int))["teacher_mass"].mean()
    np.testing.assert_allclose(line(panel, "after base, step 100").get_ydata(), expected)
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0–25", "25–50", "50–75", "75–100"]


def test_bins_of_few_utterances_are_left_out_and_said(full):
    panel = position_profile(full, "union_size", least=9)
    rows = rows_at(full.positions, "start, step 0").dropna(subset="union_size")
    bins = rows.groupby(pd.cut(rows["position"], [-1, 0, 1, 3, 7]), observed=False)["id"].nunique()
    few = int((bins < 9).sum())
    assert 0 < few < 4
    drawn = line(panel, "start, step 0").get_ydata()
    assert len(drawn) == 4 - few
    assert f"{4 * few} bins with fewer than 9 utterances left out" in panel.get_legend().get_title().get_text()
    nothing = position_profile(full, least=11)
    assert nothing.texts[0].get_text() == "no bin has the 11 utterances that an interval takes"


@pytest.fixture(scope="module")
def logits():
    generator = torch.Generator().manual_seed(0)
    student = 3 * torch.randn(6, 5, 40, generator=generator)
    return student, student + torch.randn(6, 5, 40, generator=generator)


def test_sweep_over_k(logits):
    panel = k_sweep(sweep(*logits, ks=(1, 4, 16), temperatures=(0.5, 2.0)))
    best = [np.argsort(-side.numpy(), axis=-1) for side in logits]
    expected = []
    for k in (1, 4, 16):
        shared = [len(set(a[:k]) & set(b[:k])) / k for a, b in zip(*(b.reshape(-1, 40) for b in best), strict=True)]
        expected.append(np.mean(shared))
    np.testing.assert_allclose(panel.lines[0].get_ydata(), expected)
    assert list(panel.lines[0].get_xdata()) == [1, 4, 16]
    assert key(panel) == ["the same at temperature 0.5, 2: 30 / 6"]


def test_sweep_over_temperature(logits):
    panel = temperature_sweep(sweep(*logits, ks=(2, 8), temperatures=(0.5, 1.0, 2.0)), "union_kl")
    assert key(panel) == ["k = 2: 30 / 6", "k = 8: 30 / 6"]
    for drawn, k in zip(panel.lines, (2, 8), strict=True):
        alone = [measure(*logits, k=k, temperature=t).union_kl.mean().item() for t in (0.5, 1.0, 2.0)]
        np.testing.assert_allclose(drawn.get_ydata(), alone, rtol=1e-5)
    summaries = {(8, 1.0): measure(*logits, k=8).summary()}
    low, high = summaries[8, 1.0]["forward_kl"].low, summaries[8, 1.0]["forward_kl"].high
    panel = k_sweep(summaries, "forward_kl")
    assert panel.collections[0].get_datalim(panel.transData).intervaly == pytest.approx((low, high))


def test_every_position_is_in_the_density(full):
    panels = entropy_density(full)
    assert len(panels) == 4
    for panel, name in zip(panels, NAMES, strict=True):
        rows = rows_at(full.positions, name).dropna(subset="student_entropy")
        cells = next(item for item in panel.collections if item.get_gid() == name)
        assert np.sum(cells.get_array()) == len(rows)
        above = 100 * (rows["student_entropy"] > rows["teacher_entropy"]).mean()
        assert panel.get_title(loc="left").endswith(f"n = {len(rows)} / 10\n{above:.0f} % above the line")
        np.testing.assert_array_equal(*line(panel, "diagonal").get_data())
    (only,) = entropy_density(full, last=1)
    assert only.get_title(loc="left").startswith("after on-policy\n")


def test_distribution_of_mass(full):
    panel = mass_distribution(full, "student_mass")
    for name in NAMES:
        values = np.sort(rows_at(full.positions, name)["student_mass"].dropna())
        mass, share = line(panel, name).get_data()
        values = values.clip(1e-5, 1 - 1e-5)
        np.testing.assert_allclose(share, np.searchsorted(values, mass, side="right") / len(values))
        assert share[-1] == 1


def test_membership_of_tokens(full):
    trace = choose_trace(full, "u1", step=200)
    panel = support_membership(trace, rows=3)
    texts = [(text.get_position(), text.get_text()) for text in panel.texts]
    for position in range(len(trace["tokens"])):
        logs = np.maximum(trace["student_logprobs"][position], trace["teacher_logprobs"][position])
        best = np.argsort(-logs)[:3]
        expected = [f"␣t{trace['union_ids'][position][i]}" for i in best]
        shown = [text for (x, _), text in texts if x == position]
        assert [text if text[-1] != "…" else text[:-1] for text in shown] == [
            full_text[: len(text.rstrip("…"))] for full_text, text in zip(expected, shown, strict=True)
        ]
    frames = [patch for patch in panel.patches if patch.get_gid() == "written"]
    assert 0 < len(frames) <= len(trace["tokens"])
    cells = [patch for patch in panel.patches if isinstance(patch, Rectangle) and patch.get_gid() is None]
    assert len(cells) == 3 * len(trace["tokens"])
    assert "3 of up to" in panel.get_legend().get_title().get_text()
    assert panel.get_title(loc="left").endswith("text: two six\nreference: two five")


def test_color_is_membership_and_strength_probability(full):
    trace = choose_trace(full, "u5").to_dict() | {
        "token_ids": [7],
        "union_ids": [[7, 8, 9]],
        "union_tokens": [["Ġa", "Ġb", "Ġc"]],
        "union_bytes": [[b" a", b" b", b" c"]],
        "student_logprobs": [np.log([0.5, 0.3, 1e-7])],
        "teacher_logprobs": [np.log([0.9, 1e-7, 1e-7])],
        "in_student": [[True, True, False]],
        "in_teacher": [[True, False, True]],
    }
    panel = support_membership(trace)
    cells = [patch.get_facecolor()[:3] for patch in panel.patches if patch.get_gid() is None]
    shade = 0.15 + 0.85 * (1 - np.log([0.9, 0.3, 1e-4]) / np.log(1e-4))
    for cell, hue, weight in zip(cells, ("#029e73", "#56b4e9", "#de8f05"), shade, strict=True):
        rgb = np.array([int(hue[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        np.testing.assert_allclose(cell, 1 - weight * (1 - rgb), atol=1e-6)
    assert [text.get_text() for text in panel.texts] == ["␣a", "␣b", "␣c"]


def test_error_rate_against_overlap(full):
    panel = wer_against_overlap(full)
    path = line(panel, "path")
    # Readings 2, 5 and 8 end the stages, see `probe_rows` and `error_rate`.
    np.testing.assert_allclose(path.get_xdata(), [0.52, 0.55, 0.58])
    np.testing.assert_allclose(path.get_ydata(), [50, 45, 40])
    np.testing.assert_allclose(line(panel, "teacher").get_ydata(), 10)
    (across, up) = panel.collections[:2]
    np.testing.assert_allclose(across.get_segments()[0], [[0.32, 50], [0.72, 50]])
    np.testing.assert_allclose(up.get_segments()[0], [[0.52, 48], [0.52, 52]])
    assert {text.get_text() for text in panel.texts} == {"100", "200", "300"}
    assert key(panel)[-1] == "teacher's WER"


def test_evaluations_without_a_probe_are_counted(full):
    assert "left out" not in wer_against_overlap(full).get_legend().get_title().get_text()
    for steps, said in (([200], "1 evaluation without a probe left out"), ([100, 200], "2 evaluations without a")):
        part = replace(full, probes=full.probes.loc[~full.probes["step"].isin(steps)])
        panel = wer_against_overlap(part)
        assert len(line(panel, "path").get_xdata()) == 3 - len(steps)
        assert said in panel.get_legend().get_title().get_text().replace("\n", " ")


def test_strata_by_class_of_token(full):
    panel = strata(full)
    levels = [label.get_text() for label in panel.get_yticklabels()]
    assert levels == ["end of text", "digit", "word initial", "continuation"]
    for name in NAMES:
        rows = rows_at(full.positions, name)
        classes = rows["token"].map(
            lambda token: "end of text" if token[0] == "<" else "digit" if token == "7" else None
        )
        second = rows["token"].isin(["e", "l"])  # of fiv·e, nin·e, cal·l
        classes = classes.where(classes.notna(), np.where(second, "continuation", "word initial"))
        expected = rows.groupby(classes)["top1_agreement"].mean()
        dots = line(panel, name)
        drawn = {levels[round(float(y))]: x for x, y in zip(*dots.get_data(), strict=True)}
        assert drawn == pytest.approx(expected.to_dict())


def test_strata_by_correctness(full):
    panel = strata(full, "correctness", "union_size")
    levels = [label.get_text() for label in panel.get_yticklabels()]
    assert levels == ["correct", "substituted", "inserted", "near deletion"]
    rows = rows_at(full.positions, "after base, step 100")
    wrong = {("u1", "Ġsix"), ("u3", "7")}
    substituted = [pair in wrong for pair in zip(rows["id"], rows["token"], strict=True)]
    # `call nine` for `call nine now`: nine is the word before the gap, the end came too early.
    cut = (rows["id"] == "u2") & (rows["position"] >= 3)
    drawn = dict(zip(*(np.round(v, 6) for v in line(panel, "after base, step 100").get_data()[::-1]), strict=True))
    by_level = {levels[round(float(y))]: x for y, x in drawn.items()}
    assert by_level["substituted"] == pytest.approx(rows["union_size"][substituted].mean(), abs=1e-5)
    assert by_level["near deletion"] == pytest.approx(rows["union_size"][cut].mean(), abs=1e-5)


def test_funnel_counts(full):
    panel = funnel(full)
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels[0] == "positions"
    assert labels[-1] == "used"
    for name, lost in zip(NAMES, (0, 5, 5, 5), strict=True):
        widths = [bars(panel, f"{bin}, {name}")[0].get_width() for bin in ("positions", "truncated", "used")]
        assert widths == [1200 + lost, lost, 1200]
    texts = [text.get_text() for text in panel.texts]
    assert texts.count("0, each time") == 4
    assert texts.count("0") == 1
    assert texts.count("5 (0.4 %)") == 3


def test_thresholds_limits_and_what_gates_read(full):
    panels = overlap_over_training(full)
    assert not {item.get_gid() for item in panels[0].lines} & {"threshold", "bound", "limit"}
    threshold, limit = line(panels[1], "threshold"), line(panels[1], "limit")
    assert [list(part) for part in threshold.get_data()] == [[100, 200], [0.55, 0.55]]
    assert [list(part) for part in limit.get_data()] == [[200, 300], [0.525, 0.525]]
    missed, met = (item for item in panels[1].lines if item.get_gid() == "bound")
    assert [list(part) for part in missed.get_data()] == [[100, 150], [0.51, 0.52]]
    assert [list(part) for part in met.get_data()] == [[200], [0.56]]
    assert missed.get_markerfacecolor() == "white"
    assert met.get_markerfacecolor() != "white"
    assert panels[1].get_ylim()[1] < 1.1  # a limit far away does not press the data flat
    assert {"threshold of the gate", "limit of a collapse gate"} <= set(key(panels[-1]))
