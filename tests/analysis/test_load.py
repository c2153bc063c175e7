import json

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.load import DECISION_COLUMNS, EVALUATION_COLUMNS, METRIC_COLUMNS, PROBE_COLUMNS


def test_frames_hold_what_was_written(straight):
    run = load(straight)
    assert [stage["name"] for stage in run.stages] == ["base", "teacher data", "on-policy"]
    assert list(run.metrics["step"]) == list(range(1, 301))
    assert len(run.decisions) == 10  # nine readings and the end of the run
    assert run.evaluations.iloc[0][["model", "wer.value", "wer.errors"]].tolist() == ["teacher", 0.1, 100]
    assert set(run.probes["states"]) == {"student", "fixed", "teacher"}
    pd.testing.assert_frame_equal(run.probes, pd.read_parquet(straight / "probes.parquet"))


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
        (b"", r"decisions\.jsonl, line 2: not JSON"),
        (b'{"reason": "\xff"}', r"decisions\.jsonl, line 2: not JSON"),
        (b"[1]", r"decisions\.jsonl, line 2: expected a JSON object, found list"),
        (b'{"step": 1, "stage": "base"}', r"decisions\.jsonl, line 2: fields \['stage_step', .* are missing"),
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
    (straight / "resolved.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match=r"resolved\.json: fields \['recipe'\] are missing"):
        load(straight)


def test_damaged_probes_are_named(straight):
    probes = straight / "probes.parquet"
    pd.read_parquet(probes).drop(columns="low").to_parquet(probes)
    with pytest.raises(ValueError, match=r"probes\.parquet: columns \['low'\] are missing"):
        load(straight)
    probes.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"probes\.parquet: not a readable Parquet file"):
        load(straight)


def test_evaluations_without_an_error_rate_are_refused(straight):
    log = straight / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"wer"', '"ter"'))
    with pytest.raises(ValueError, match=r"evaluations\.jsonl: field `wer` or `mer` is missing; it was not written by"):
        load(straight)


def test_a_run_that_has_only_begun(tmp_path, straight):
    for name in ("metrics.jsonl", "probes.parquet", "decisions.jsonl"):
        (straight / name).unlink()
    (straight / "evaluations.jsonl").write_text("")
    run = load(straight)
    assert tuple(run.metrics.columns) == METRIC_COLUMNS
    assert tuple(run.decisions.columns) == DECISION_COLUMNS
    assert tuple(run.evaluations.columns) == EVALUATION_COLUMNS
    assert tuple(run.probes.columns) == PROBE_COLUMNS
    assert not sum(map(len, (run.metrics, run.decisions, run.evaluations, run.probes)))
