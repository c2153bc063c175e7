import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.run.files import read_log
from analysis.run.kinds import Record, required
from analysis.run.records import Decision, Evaluation, Metric, Probe, Trace, Transcript
from analysis.run.traces import positions
from overlap.plain_json import dumps
from overlap.version import SCHEMA
from tests.analysis.conftest import write_traces, write_transcripts


def test_frames_hold_what_was_written(straight):
    run = load(straight)
    assert [stage["name"] for stage in run.stages] == ["base", "teacher data", "on-policy"]
    assert list(run.metrics["step"]) == list(range(1, 301))
    assert len(run.decisions) == 10  # nine readings and the end of the run
    assert run.evaluations.iloc[0][["model", "wer.value", "wer.errors"]].tolist() == ["teacher", 0.1, 100]
    assert set(run.probes["states"]) == {"student", "fixed", "teacher"}
    pd.testing.assert_frame_equal(run.probes, pd.read_parquet(straight / "probes/all.parquet"))


class Named(Record):
    stage: str


def test_infinite_numbers_of_a_log_are_numbers(tmp_path):
    rows = [{"stage": "inf", "wer": {"high": "inf", "low": "-inf"}}, {"stage": "inf", "wer": {"high": 2, "low": None}}]
    (tmp_path / "x.jsonl").write_text("".join(dumps(row) + "\n" for row in rows))
    frame = read_log(tmp_path / "x.jsonl", Named)
    assert frame["wer.high"].tolist() == [math.inf, 2.0]
    assert frame["wer.low"].dtype == "float64"
    assert frame["stage"].tolist() == ["inf", "inf"]  # a text stays one


def test_a_column_of_nulls_is_one_of_undefined_numbers(straight):
    column = load(straight).metrics["overlap.union_size"]
    assert column.dtype == np.float64
    assert column.isna().all()


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_half_written_last_line_is_left_for_later(straight, cut):
    log = straight / "decisions.jsonl"
    whole = load(straight).decisions
    log.write_bytes(log.read_bytes()[:-cut])
    pd.testing.assert_frame_equal(load(straight).decisions, whole.iloc[:-1], check_dtype=False)


def test_a_half_written_multibyte_character_is_left_for_later(straight):
    with (straight / "decisions.jsonl").open("ab") as file:
        file.write('{"reason": "至'.encode()[:-1])
    assert len(load(straight).decisions) == 10


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"step": 1,', r"decisions\.jsonl, line 2: not JSON"),
        (b"", r"decisions\.jsonl, line 2: the line is empty; delete it"),
        (b'{"reason": "\xff"}', r"decisions\.jsonl, line 2: not JSON"),
        (b"[1]", r"decisions\.jsonl, line 2: expected a JSON object, found list"),
        (
            b'{"step": 1, "visit": 0, "stage": "base"}',
            r"decisions\.jsonl, line 2: fields \['stage_step', .* are missing",
        ),
    ],
)
def test_a_damaged_line_is_named(straight, line, message):
    log = straight / "decisions.jsonl"
    lines = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([lines[0], line, *lines[2:]]) + b"\n")
    with pytest.raises(ValueError, match=message):
        load(straight)


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no run: resolved\.json is missing.*--output"):
        load(tmp_path)


def test_a_damaged_recipe_is_named(straight):
    (straight / "resolved.json").write_text("{")
    with pytest.raises(ValueError, match=r"resolved\.json: not JSON"):
        load(straight)
    (straight / "resolved.json").write_text(json.dumps({"schema": SCHEMA}))
    with pytest.raises(ValueError, match=r"resolved\.json: fields \['recipe'\] are missing"):
        load(straight)


def test_damaged_probes_are_named(straight):
    probes = straight / "probes/all.parquet"
    pd.read_parquet(probes).drop(columns="low").to_parquet(probes)
    with pytest.raises(ValueError, match=r"probes/all\.parquet: columns \['low'\] are missing"):
        load(straight)
    probes.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"probes/all\.parquet: not a readable Parquet file"):
        load(straight)


def test_evaluations_without_an_error_rate_are_refused(straight):
    log = straight / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"wer"', '"ter"'))
    with pytest.raises(
        ValueError, match=r"evaluations\.jsonl: field `wer` or `mer` is missing; add it as RUN_DIRECTORY"
    ):
        load(straight)


def test_a_run_that_has_only_begun(tmp_path, straight):
    for name in ("metrics.jsonl", "probes/all.parquet", "decisions.jsonl"):
        (straight / name).unlink()
    (straight / "evaluations.jsonl").write_text("")
    run = load(straight)
    assert tuple(run.metrics.columns) == tuple(required(Metric))
    assert tuple(run.decisions.columns) == tuple(required(Decision))
    assert tuple(run.evaluations.columns) == tuple(required(Evaluation))
    assert tuple(run.probes.columns) == tuple(required(Probe))
    assert not sum(map(len, (run.metrics, run.decisions, run.evaluations, run.probes)))
    counted = {"words.errors", "words.total", "normalizer"}
    assert set(run.transcripts.columns) == {"step", "visit", "stage", "set", "model", *required(Transcript), *counted}
    assert tuple(run.traces.columns) == tuple(required(Trace))
    assert run.positions.empty


def test_transcripts_of_every_evaluation(straight):
    write_transcripts(straight, 0, "base", {"a": 0, "b": 1}, model="teacher")
    write_transcripts(straight, 300, "on-policy", {"a": 2, "b": 3})
    write_transcripts(straight, 250, "on-policy", {"a": 9})  # of a step that is no longer in the log
    frame = load(straight).transcripts
    assert frame[["step", "stage", "set", "model", "id", "words.errors"]].to_numpy().tolist() == [
        [0, "base", "test", "teacher", "a", 0],
        [0, "base", "test", "teacher", "b", 1],
        [300, "on-policy", "test", "student", "a", 2],
        [300, "on-policy", "test", "student", "b", 3],
    ]


def test_an_evaluation_repeated_at_one_step_has_its_transcripts_once(make_run):
    stays = [("base", (0, 50)), ("teacher data", (0,), "fall_back"), ("base", (0,), "end")]
    path = make_run(stays)
    write_transcripts(path, 50, "base", {"a": 0})
    assert len(load(path).transcripts) == 1


def test_damaged_transcripts_are_named(straight):
    path = write_transcripts(straight, 300, "on-policy", {"a": 2})
    pd.read_parquet(path).drop(columns="words.total").to_parquet(path)
    run = load(straight)  # tables that do not need them are not held up
    with pytest.raises(ValueError, match=r"300-visit-002-test-student\.parquet: columns \['words.total'\] are missing"):
        _ = run.transcripts
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"student\.parquet: not a readable Parquet file"):
        _ = load(straight).transcripts


def test_a_row_a_position(straight):
    path = write_traces(straight, 100, "base", {"a": 2, "b": 3, "c": 0}, ("student", "teacher"))
    frame = load(straight).positions
    assert list(frame["position"]) == [0, 1, 0, 1, 2] * 2
    assert list(frame["id"]) == list("aabbb") * 2
    assert list(frame["token"]) == list("ababc") * 2
    assert set(frame["step"]) == {100}
    written = pd.read_parquet(path)
    np.testing.assert_array_equal(frame["union_size"], np.concatenate(list(written["union_size"])))
    assert "union_ids" not in frame
    assert frame["used"].dtype == bool


def test_positions_of_a_probe_by_itself(straight):
    path = write_traces(straight, 100, "base", {"a": 2})
    alone = pd.read_parquet(path).drop(columns=["step", "visit", "stage"])  # as `distill probe --output` writes it
    assert list(positions(alone)["position"]) == [0, 1]


def test_a_trace_left_over_from_before_a_resumption_is_not_shown(straight):
    write_traces(straight, 300, "on-policy", {"a": 2})
    write_traces(straight, 400, "on-policy", {"a": 2})
    assert set(load(straight).traces["step"]) == {300}


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("union_size", "x", "field `union_size` is the text 'x'; expected a list of numbers"),
        ("union_size", [["x", "y"]], "field `union_size` is a list with the text 'x' as item 0"),
        ("k", "x", "field `k` is the text 'x'; expected an integer"),
        ("used", [[1, 2]], "field `used` is a list with 1 as item 0; expected a list of booleans"),
    ],
)
def test_a_trace_of_another_kind_is_named(straight, column, value, said):
    path = write_traces(straight, 100, "base", {"a": 2}, ["student"])
    pd.read_parquet(path).assign(**{column: value}).to_parquet(path)
    with pytest.raises(ValueError, match=r"000100-base\.parquet, row 1: " + re.escape(said)):
        _ = load(straight).traces


def test_damaged_traces_are_named(straight):
    path = write_traces(straight, 100, "base", {"a": 2, "b": 3})
    frame = pd.read_parquet(path)
    frame["used"] = [[True], [True] * 3]
    frame.to_parquet(path)
    with pytest.raises(ValueError, match=r"000100-base\.parquet, utterance 'a': used has 1 values for 2 tokens"):
        _ = load(straight).traces
    frame.drop(columns="tokens").to_parquet(path)
    with pytest.raises(ValueError, match=r"000100-base\.parquet: columns \['tokens'\] are missing"):
        _ = load(straight).traces
