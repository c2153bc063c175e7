import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from analysis import compare, load_many
from analysis.inference import Side, contrast, over_seeds
from tests.analysis.conftest import resolve, write_transcripts

STAYS = [("base", (0, 50)), ("on-policy", (0, 50), "end")]


def on_policy_steps(path, unions, k=8):
    """Give the on-policy steps of a run their overlap."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row, union in zip([row for row in rows if row["stage"] == "on-policy"], unions, strict=False):
        shared = None if union is None else 2 * k - 1 - union
        sizes = {"student_size": k, "teacher_size": k - 1.0, "intersection_size": shared}
        row["overlap"] = {"union_size": union} | sizes
        row["funnel"] = {"misaligned": 5, "used": 15, "used_unfinished": 3}
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def runs(make_run):
    paths = []
    for name, unions in (("a-0", (12.0, 14.0, None)), ("a-1", (10.0, 12.0, 13.0)), ("b-0", (9.0,))):
        path = resolve(make_run(STAYS, name), name=name[0], seed=int(name[2]), support={"k": 8, "temperature": 1.0})
        on_policy_steps(path, unions)
        paths.append(path)
    return paths


def test_vuss_over_on_policy_steps(runs):
    frame = compare(load_many(runs)).vuss.frame.set_index("recipe")
    assert frame.loc["a", ["vuss", "vuss.min", "vuss.max"]].tolist() == [pytest.approx(61 / 5), 10, 14]
    assert frame.loc["a", ["n_steps", "n_runs", "k"]].tolist() == [5, 2, 8]
    assert frame.loc["a", "used"] == pytest.approx(0.75)
    sizes = frame.loc["a", ["student_size", "teacher_size", "intersection_size"]].astype(float)
    assert sizes.iloc[0] + sizes.iloc[1] - sizes.iloc[2] == pytest.approx(frame.loc["a", "vuss"])


def test_vuss_as_text(runs):
    text = compare(load_many(runs)).vuss.to_text()
    assert re.search(r"^a +12\.20 \(10\.00–14\.00\) +8\.00 +7\.00 +2\.80  8 +75\.0 +5 +2$", text, re.M), text
    assert max(map(len, text.splitlines())) <= 110


def test_runs_without_on_policy_steps_have_no_vuss(make_run):
    table = compare(load_many([make_run([("base", (0, 50), "end")])]))
    assert table.vuss.frame.empty
    assert "VUSS" not in table.to_text()


def test_error_rates_of_one_run_are_those_of_its_evaluation(runs):
    frame = compare(load_many(runs[2:])).error_rates.frame
    row = frame[(frame["recipe"] == "b") & (frame["rate"] == "wer")].iloc[0]
    assert row[["value", "low", "high"]].tolist() == pytest.approx([0.45, 0.43, 0.47])
    assert row[["n_runs", "n_utterances", "total", "over"]].tolist() == [1, 120, 1000, "utterances"]
    teacher = frame[frame["model"] == "teacher"].iloc[0]
    assert (teacher["recipe"], teacher["value"]) == ("(teacher)", 0.1)


def test_seeds_without_transcripts_show_their_range(runs):
    log = runs[1] / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"value": 0.45', '"value": 0.35'))
    table = compare(load_many(runs)).error_rates
    row = table.frame.query("recipe == 'a' and rate == 'wer'").iloc[0]
    assert row[["value", "min", "max", "n_runs"]].tolist() == pytest.approx([0.4, 0.35, 0.45, 2])
    assert math.isnan(row["low"])
    assert "| a | 40.0 (35.0–45.0) | 40.0 (35.0–45.0) | 2 |" in table.to_markdown()
    assert "without transcripts there is no interval" in table.to_text()


def test_seeds_with_transcripts_have_an_interval_over_both(runs):
    generator = np.random.default_rng(0)
    errors = generator.binomial(10, 0.45, (2, 30))
    for path, wrong in zip(runs[:2], errors, strict=True):
        write_transcripts(path, 100, "on-policy", {f"u{i:02d}": int(n) for i, n in enumerate(wrong)})
    table = compare(load_many(runs)).error_rates
    row = table.frame.query("recipe == 'a' and rate == 'wer'").iloc[0]
    expected = over_seeds([Side(errors)], np.full(30, 10.0))
    assert (row["low"], row["high"], row["over"]) == (
        pytest.approx(expected.estimate.low),
        pytest.approx(expected.estimate.high),
        "seeds and utterances",
    )
    assert "t-interval over seeds and 30 utterances at once" in table.to_text()


def test_no_error_rate_is_below_zero(runs):
    for path, errors in zip(runs[:2], (0, 9), strict=True):
        write_transcripts(path, 100, "on-policy", {f"u{i:02d}": errors for i in range(12)})
    frame = compare(load_many(runs[:2])).error_rates.frame
    row = frame[(frame["recipe"] == "a") & (frame["rate"] == "wer")].iloc[0]
    assert row["over"] == "seeds and utterances"
    assert row["low"] == 0 < row["value"] < row["high"]


def test_speakers_are_what_intervals_are_over_from_ten_on(runs):
    speakers = {f"u{i:02d}": f"s{i % 12:02d}" for i in range(36)}
    generator = np.random.default_rng(1)
    errors = generator.binomial(10, np.linspace(0.1, 0.8, 12)[np.arange(36) % 12], (3, 36))
    for path, wrong in zip(runs, errors, strict=True):
        write_transcripts(path, 100, "on-policy", {f"u{i:02d}": int(n) for i, n in enumerate(wrong)}, speakers=speakers)
    table = compare(load_many(runs)).error_rates
    rows = table.frame.query("model == 'student' and rate == 'wer'").set_index("recipe")
    by_speaker = errors.reshape(3, 3, 12).sum(1)
    expected = over_seeds([Side(by_speaker[:2])], np.full(12, 30.0))
    assert rows.loc["a", ["low", "high"]].tolist() == pytest.approx([expected.estimate.low, expected.estimate.high])
    one = contrast(by_speaker[2][:, None], np.full((12, 1), 30.0))
    assert rows.loc["b", ["low", "high"]].tolist() == pytest.approx([one.low, one.high])
    assert rows[["over", "n_over"]].to_dict("index") == {
        "a": {"over": "seeds and speakers", "n_over": 12},
        "b": {"over": "speakers", "n_over": 12},
    }
    text = " ".join(table.to_text().split())
    assert "[ ] of several runs: their mean, 95 % t-interval over seeds and 12 speakers at once." in text
    # The teacher's transcripts were not kept.
    assert (
        "interval over 12 speakers or over 120 utterances (stored: no transcripts were kept), for this seed only."
        in text
    )


def test_vuss_says_which_runs_go_on_and_which_share_a_seed(make_run):
    paths = []
    for name, last in (("one", "end"), ("two", "stay")):
        stays = [("base", (0, 50)), ("on-policy", (0, 50), last)]
        paths.append(resolve(make_run(stays, name), seed=3))
        on_policy_steps(paths[-1], (12.0, 13.0))
    notes = " ".join(compare(load_many(paths)).vuss.notes)
    assert "Still running, over their steps so far: two." in notes
    assert "made up: its runs have seeds 3, 3; runs of one seed are not independent." in notes
    paths.append(resolve(make_run([("base", (0, 50), "stay")], "three"), seed=3))  # no on-policy steps yet
    notes = " ".join(compare(load_many(paths[::2])).vuss.notes)
    assert "three" not in notes
    assert "independent" not in notes
    alone = " ".join(compare(load_many(paths[:1])).vuss.notes)
    assert "running" not in alone
    assert "independent" not in alone


def test_sets_of_one_name_and_different_words_are_two_columns(runs):
    log = runs[2] / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"total": 1000', '"total": 900'))
    table = compare(load_many(runs)).error_rates
    assert set(table.frame["set"]) == {"test (1,000 words)", "test (900 words)"}
    b = table.frame.query("recipe == 'b'")
    assert set(b["set"]) == {"test (900 words)"}
    assert re.search(r"^b +– +– +45\.0 \[43\.0, 47\.0\]", table.to_text(), re.M)


def test_teachers_that_differ_are_told_apart(runs):
    log = runs[2] / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"errors": 100', '"errors": 101'))
    frame = compare(load_many(runs)).error_rates.frame
    assert set(frame.loc[frame["model"] == "teacher", "recipe"]) == {"(teacher of a)", "(teacher of b)"}


def test_runs_that_were_not_evaluated(make_run):
    table = compare(load_many([make_run(STAYS, "blind", evaluated=False)]))
    assert table.error_rates.frame.empty
    assert "made" not in table.error_rates.to_text()


def test_latex_is_a_booktabs_table_of_equal_rows(runs):
    text = compare(load_many(runs)).to_latex()
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = re.match(r"\{([lr]+)\}", table)
        body = table[: table.index(r"\end{tabular}")]
        assert [body.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert columns is not None
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(columns.group(1))}
    assert text.count(r"\begin{tabular}") == 3
    assert r"WER \% test" in text
    assert r"12.20 (10.00--14.00)" in text
    assert r"mean \textbar{}S\textbar{}" in text


def test_printed_in_notebooks_and_consoles(runs):
    table = compare(load_many(runs))
    assert repr(table) == table.to_text()
    assert repr(table.vuss) == table.vuss.to_text()
    assert table._repr_html_().count("<table>") == 3
    assert "<caption>" in table.vuss._repr_html_()
    assert isinstance(table.vuss.frame, pd.DataFrame)
