"""Sums of probes by utterance: read as they are asked for, and ready for intervals and paired changes."""

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.run.kinds import required
from analysis.run.probe_sums import group_sums
from analysis.run.records import ProbeSum
from overlap.estimates.paired_change import paired_change
from overlap.version import SCHEMA
from tests.analysis.conftest import write_run, write_traces
from tests.analysis.run.test_probe_output import readings


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


def write_sums(run, step, visit, stage, values, states=("student",)):
    """Sums of two statistics by utterance, as another trainer would write them: texts are no categories."""
    rows = [
        {"step": step, "visit": visit, "stage": stage, "states": one, "id": name, "statistic": statistic}
        | {"sum": np.float32(times * value), "count": 4, "undefined": 1}
        for one in states
        for name, value in values.items()
        for statistic, times in (("total_variation", 1.0), ("union_size", 10.0))
    ]
    (run / "probe_sums").mkdir(exist_ok=True)
    path = run / "probe_sums" / f"step-{step:06d}-visit-{visit:03d}.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_all_probes_in_the_order_of_the_run(run):
    write_sums(run, 200, 1, "teacher data", {"a": 1.0, "b": 2.0}, ("student", "fixed"))
    write_sums(run, 50, 0, "base", {"a": 2.0, "b": 2.5})
    write_sums(run, 999, 1, "teacher data", {"a": 9.0})  # left over from before a resumption
    frame = load(run).probe_sums
    assert list(frame.columns) == list(required(ProbeSum))
    assert frame["step"].drop_duplicates().tolist() == [50, 200]
    assert len(frame) == 12
    assert {str(frame[name].dtype) for name in ("stage", "states", "id", "statistic")} == {"category"}


def test_a_run_without_them_has_no_rows(run, tmp_path):
    assert load(run).probe_sums.empty
    traces = pd.read_parquet(write_traces(run, 100, "base", {"a": 2}))
    traces = traces.drop(columns=["step", "visit", "stage"])
    traces.attrs["probe"] = {"schema": SCHEMA, "states": "student", "k": 8, "temperature": 1.0, "n_utterances": 1}
    traces.attrs["probe"] |= {"tables": {"probes": readings(1)}}
    traces.to_parquet(tmp_path / "probe.parquet")
    assert list(load(tmp_path / "probe.parquet").probe_sums.columns) == list(required(ProbeSum))


def test_a_change_between_two_probes(run):
    write_sums(run, 150, 1, "teacher data", {"a": 2.0, "b": 1.0, "c": 3.0}, ("student", "fixed"))
    write_sums(run, 200, 1, "teacher data", {"c": 2.5, "a": 1.0, "b": 1.0}, ("student", "fixed"))
    frame = load(run).probe_sums
    fixed = frame[frame["states"] == "fixed"]
    before, after = (group_sums(fixed[fixed["step"] == step]) for step in (150, 200))
    assert before.keys == after.keys == ("a", "b", "c")
    assert before.counts.sum() == 2 * 12
    found = paired_change(before, after)["total_variation.change"]
    assert found.value == pytest.approx(-1.5 / 12)
    assert found.n_undefined == 6


def test_rows_of_several_probes_are_no_sums(run):
    write_sums(run, 150, 1, "teacher data", {"a": 2.0})
    write_sums(run, 200, 1, "teacher data", {"a": 2.5}, ("student", "fixed"))
    frame = load(run).probe_sums
    with pytest.raises(ValueError, match=r"several values of step; choose one of \['150', '200'\]"):
        group_sums(frame)
    with pytest.raises(ValueError, match=r"several values of states; choose one of \['fixed', 'student'\]"):
        group_sums(frame[frame["step"] == 200])
    with pytest.raises(ValueError, match="total_variation of 'a' is there twice"):
        group_sums(pd.concat([frame[frame["step"] == 150]] * 2))


@pytest.mark.parametrize("category", [False, True])
@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("id", ["x", None], "row 2: field `id` is (null|nan); expected a text"),
        ("statistic", [3, 3], "row 1: field `statistic` is 3; expected a text"),
        ("count", [4.0, 0.5], "row 2: field `count` is 0.5; expected an integer"),
    ],
)
def test_damage_is_named(run, column, values, message, category):
    path = write_sums(run, 50, 0, "base", {"a": 2.0})
    frame = pd.read_parquet(path)
    frame[column] = pd.Series(values, dtype="category" if category and column != "count" else None)
    frame.to_parquet(path)
    with pytest.raises(ValueError, match=rf"step-000050-visit-000\.parquet, {message}"):
        _ = load(run).probe_sums
    frame.drop(columns="undefined").to_parquet(path)
    with pytest.raises(ValueError, match=r"columns \['undefined'\] are missing"):
        _ = load(run).probe_sums
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        _ = load(run).probe_sums
