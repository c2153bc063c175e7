"""The trace of a probe opens as a run of one probe."""

import math

import pandas as pd
import pytest

from analysis import compare, load, load_many
from analysis.figures import mass_distribution, position_profile
from analysis.report import write_report
from analysis.stages.probe_reading import probe_reading
from analysis.watching import watch
from overlap.version import SCHEMA
from tests.analysis.report.conftest import trace_frame

ABOUT = {"student": "small", "teacher": "large", "manifest": "calls.jsonl", "k": 4, "temperature": 1.0}
ABOUT |= {"schema": SCHEMA}


def write_trace(path, n=12, about=True, **changes):
    frame = trace_frame(0, "x", "student", n, 6, 4).drop(columns=["step", "visit", "stage"]).assign(**changes)
    funnel = {"used": 6 * n, "misaligned": 3}
    frame.attrs = {"probe": ABOUT | {"funnel": funnel, "one_vocabulary": True}} if about else {}
    frame.to_parquet(path, index=False)
    return path


def test_means_are_over_positions(tmp_path):
    run = load(write_trace(tmp_path / "trace.parquet"))
    found = run.probes.set_index("statistic")
    values = [v for row in pd.read_parquet(tmp_path / "trace.parquet")["overlap_ratio"] for v in row]
    assert found.loc["overlap_ratio", "value"] == pytest.approx(sum(values) / len(values))
    assert (found.loc["overlap_ratio", "n_positions"], found.loc["overlap_ratio", "n_groups"]) == (72, 12)
    assert found.loc["end_of_text", "value"] == 1.0
    assert found.loc["funnel.misaligned", "value"] == 3
    assert (len(run.traces), len(run.positions)) == (12, 72)
    assert "72 rows" not in repr(run)


def test_positions_that_were_not_used_are_in_no_mean(tmp_path):
    path = write_trace(tmp_path / "trace.parquet", n=3)
    frame = pd.read_parquet(path)
    frame["used"] = [[True] * 6, [False] * 6, [True, False, False, False, False, False]]
    frame["overlap_ratio"] = [[0.5] * 6, [math.nan] * 6, [1.0] + [0.0] * 5]
    frame.to_parquet(path, index=False)
    found = load(path).probes.set_index("statistic").loc["overlap_ratio"]
    assert (found["value"], found["n_positions"], found["n_groups"]) == (pytest.approx(4 / 7), 7, 2)


def test_the_report_of_a_trace_names_models_and_ends_in_the_same_verdict(tmp_path):
    path = write_trace(tmp_path / "trace.parquet")
    reading = probe_reading(load(path))
    report = write_report(path, tmp_path / "report.md")
    assert report.sections[0].headline.startswith(reading.verdict)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert all(f"| {name} | {ABOUT[name]} |" in text for name in ("student", "teacher", "manifest"))
    assert "No gate has read" not in text
    assert "No stage can be judged" not in text
    assert report.to_dict()["runs"][0]["first_reading"][0]["statistic"] == "end_of_text"
    page = write_report(path, tmp_path / "report.html")
    assert page.sections[0].state == "one probe of 12 utterances, on the student's rollouts"


def test_figures_and_comparison_take_it(tmp_path):
    paths = [write_trace(tmp_path / f"{name}.parquet") for name in "ab"]
    assert position_profile(load(paths[0])).lines
    assert mass_distribution(load(paths[0])).lines
    table = compare(load_many(paths)).frame
    assert table["outcome"].tolist() == ["probe", "probe"]
    assert table["top1_agreement"].notna().all()


def test_a_trace_from_before_it_named_its_models_says_so(tmp_path):
    path = write_trace(tmp_path / "trace.parquet", about=False)
    (section,) = write_report(path, tmp_path / "report.md").sections
    assert section.missing[0].startswith("The file does not name its models and manifest")
    assert "not measured: used" in section.headline or "Nor" in section.headline or "number" in section.headline


def test_other_files_are_refused_in_words(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet: columns .* are missing; write them as `distill probe"):
        load(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(
        ValueError, match=r"not a readable Parquet file .*; give a file that `distill probe --output` wrote"
    ):
        load(tmp_path / "text.parquet")
    path = write_trace(tmp_path / "two.parquet")
    frame = pd.read_parquet(path)
    frame.assign(k=[4, 8] * 6).to_parquet(path)
    with pytest.raises(ValueError, match=r"its rows differ in k; keep those of one probe"):
        load(path)
    frame.iloc[:0].to_parquet(path)
    with pytest.raises(ValueError, match="holds no utterance; make it again with `distill probe --output"):
        load(path)
    with pytest.raises(FileNotFoundError, match="or the file that `distill probe --output` wrote"):
        load(tmp_path / "nothing.parquet")


@pytest.mark.parametrize("column", ["token_bytes", None])
def test_a_trace_of_another_version_is_refused_before_its_columns_are_looked_at(tmp_path, column):
    path = write_trace(tmp_path / "trace.parquet")
    frame = pd.read_parquet(path)
    del frame.attrs["probe"]["schema"]
    frame.drop(columns=[column] if column else []).to_parquet(path)
    with pytest.raises(
        ValueError, match=r"trace\.parquet: written by .* before files had a schema version; this version"
    ):
        load(path)


def test_a_trace_is_not_watched(tmp_path):
    path = write_trace(tmp_path / "trace.parquet")
    with pytest.raises(ValueError, match="is the trace of a probe, not a run; see it with `distill report"):
        watch(path)
