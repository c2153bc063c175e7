"""Rows that a run has twice, in one file or in two, and tables without rows."""

import re
import shutil
import warnings

import pandas as pd
import pytest

from analysis import load
from analysis.report import write_report
from analysis.run.doubled import check_once
from overlap.errors import UserError
from tests.analysis.conftest import read_lines, trace_rows, transcript_rows, write_lines, write_traces

LENGTHS = {"probe-0": 3, "probe-1": 4}


@pytest.mark.parametrize(
    ("log", "what"),
    [
        ("metrics", "step 2, visit 0"),
        ("decisions", "step 50, visit 0, gate 'gate 0', decision 'stay'"),
        ("evaluations", "step 100, visit 0, set 'test', model 'student'"),
    ],
)
def test_a_line_may_not_be_there_twice(straight, log, what):
    path = straight / f"{log}.jsonl"
    rows = read_lines(path)
    write_lines(path, [*rows[:2], rows[1], *rows[2:]])
    with pytest.raises(UserError, match=re.escape(f"{path}, line 3: {what} is also in line 2; remove one")) as error:
        load(straight)
    assert "\n" not in str(error.value)


def test_a_second_probe_of_one_place_is_refused(straight, tmp_path):
    first, copy = straight / "probes" / "all.parquet", straight / "probes" / "copy.parquet"
    shutil.copy(first, copy)
    said = (
        f"{copy}, row 1: step 0, visit 0, states 'student', statistic 'student_size' is also in {first}, row 1; one of "
        "the files is a copy or of another run: remove it"
    )
    with pytest.raises(UserError, match=re.escape(said)):
        write_report(straight, tmp_path / "report.md")


def test_a_row_of_a_probe_may_not_be_there_twice(straight):
    path = straight / "probes" / "all.parquet"
    rows = pd.read_parquet(path)
    pd.concat([rows, rows.iloc[[2]]]).to_parquet(path, index=False)
    with pytest.raises(UserError, match=re.escape(f"{path}, row {len(rows) + 1}: step 0, visit 0")) as error:
        load(straight)
    assert str(error.value).endswith("is also in row 3; remove one of the two")


def test_an_utterance_is_traced_once(straight, tmp_path):
    path = write_traces(straight, 100, "base", LENGTHS)
    copy = path.with_name("z.parquet")
    shutil.copy(path, copy)
    said = (
        f"{copy}, row 1: step 100, visit 0, states 'student', id 'probe-0' is also in {path}, row 1; one of the files"
    )
    with pytest.raises(UserError, match=re.escape(said)):
        write_report(straight, tmp_path / "report.md")


def test_nulls_tell_rows_apart_as_values_do(tmp_path):
    path = tmp_path / "rows.parquet"
    frame = pd.DataFrame({"quantity": ["ece", "bin", "bin", "ece"], "bin": [None, 0.0, 1.0, None]})
    with pytest.raises(UserError, match=r"row 4: quantity 'ece', bin .* is also in row 1;"):
        check_once([(path, frame)], ("quantity", "bin"))


def test_an_utterance_of_a_probe_is_there_once(tmp_path):
    path = tmp_path / "probe.parquet"
    rows = pd.DataFrame(trace_rows(0, "base", "student", LENGTHS)).drop(columns=["step", "visit", "stage"])
    pd.concat([rows, rows]).to_parquet(path, index=False)
    with pytest.raises(UserError, match=re.escape(f"{path}, row 3: states 'student', id 'probe-0' is also in row 1;")):
        load(path)


def test_an_utterance_is_transcribed_once(straight):
    (straight / "transcripts").mkdir()
    path = straight / read_lines(straight / "evaluations.jsonl")[1]["transcripts"]
    rows = transcript_rows({"a": 1, "b": 2})
    pd.DataFrame([*rows, rows[0]]).to_parquet(path, index=False)
    with pytest.raises(UserError, match=re.escape(f"{path}, row 3: id 'a' is also in row 1; remove one of the two")):
        _ = load(straight).transcripts


def test_tables_may_be_without_rows(straight, tmp_path):
    path = write_traces(straight, 100, "base", LENGTHS)
    pd.read_parquet(path).iloc[:0].to_parquet(path.with_name("none.parquet"))
    probes = straight / "probes" / "all.parquet"
    pd.read_parquet(probes).iloc[:0].to_parquet(probes.with_name("none.parquet"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of empty columns, whose kinds pandas would guess
        run = load(straight)
        assert len(run.traces) == 2
        assert len(run.probes) == len(pd.read_parquet(probes))
    path.unlink()
    assert load(straight).traces.empty
    write_report(straight, tmp_path / "report.md")
    probes.unlink()
    assert load(straight).probes.empty
    write_report(straight, tmp_path / "report.md")
