"""The report's sections on calibration and signal, and error rates of finished and unfinished transcripts."""

import pytest
from markupsafe import escape

from analysis import load, stage_table
from analysis.report import write_report
from analysis.report.against_references import NOT_MEASURED
from tests.analysis.conftest import read_lines, write_lines, write_run
from tests.analysis.readings import write_readings


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    run = write_readings(write_run(folder / "run"))
    return {end: write_report(run, folder / f"report{end}").path.read_text("utf-8") for end in (".html", ".md")}


def test_both_sections_have_a_sentence_and_a_table(pages):
    page, text = pages[".html"], pages[".md"]
    for title in ("Calibration", "Signal"):
        assert f">{title}</h3>" in page
        assert f"### {title}" in text
    assert "After on-policy (step 300): The teacher&#39;s word carries signal about errors" in page
    assert "After on-policy (step 300): The student " in text
    assert "Signal of every statistic" in page
    assert escape(NOT_MEASURED) not in page
    assert NOT_MEASURED not in text


def test_figures_of_both_are_drawn(pages):
    assert "Calibration of tokens" in pages[".html"]
    assert "Signal over training" in pages[".html"]


def test_a_run_without_them_says_so(tmp_path):
    run = write_run(tmp_path / "run")
    for end in (".html", ".md"):
        text = write_report(run, tmp_path / f"report{end}").path.read_text("utf-8")
        assert (escape(NOT_MEASURED) if end == ".html" else NOT_MEASURED) in text
        assert "Signal over training" not in text


def test_error_rates_of_finished_and_unfinished_transcripts_stand_in_the_stage_table(tmp_path):
    run = write_run(tmp_path / "run")
    log = run / "evaluations.jsonl"
    rows = read_lines(log)
    for row in rows:
        rate = {"value": 0.25, "low": 0.2, "high": 0.3, "errors": 1, "total": 4}
        none = dict.fromkeys(("value", "low", "high")) | {"errors": 0, "total": 0}
        row["finished"] = {"n_utterances": 118 if row["model"] == "student" else 120, "wer": rate, "cer": rate}
        left = 120 - row["finished"]["n_utterances"]
        row["unfinished"] = {"n_utterances": left, "wer": rate | {"value": 1.5} if left else none, "cer": None}
    write_lines(log, rows)
    table = stage_table(load(run))
    teacher, base = table.frame.iloc[0], table.frame.iloc[1]
    assert (base["finished"], base["n_finished"], base["unfinished"], base["n_unfinished"]) == (0.25, 118, 1.5, 2)
    assert teacher[["unfinished"]].isna().all()
    assert teacher["n_unfinished"] == 0
    assert "(teacher) 25.0 [20.0, 30.0] (120) and – (0)" in " ".join(table.to_text().split())
    assert "| 25.0 [20.0, 30.0] (118) | 150.0 [20.0, 30.0] (2) |" in table.to_markdown()


def test_a_run_that_did_not_store_them_has_the_table_without_them(tmp_path):
    table = stage_table(load(write_run(tmp_path / "run")))
    assert "finished" not in table.to_markdown().split("left because")[0]
    assert table.frame["n_finished"].isna().all()
