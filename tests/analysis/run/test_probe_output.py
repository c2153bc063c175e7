"""The trace of a probe opens as a run of one probe."""

import math

import pandas as pd
import pytest

from analysis import compare, load, load_many
from analysis.figures import mass_distribution, position_profile
from analysis.figures.profiles import profiles
from analysis.report import write_report
from analysis.stages.probe_reading import probe_reading
from analysis.watching import watch
from overlap.errors import UserError
from overlap.version import SCHEMA
from tests.analysis.report.conftest import trace_frame

ABOUT = {"student": "small", "teacher": "large", "manifest": "calls.jsonl", "k": 4, "temperature": 1.0}
ABOUT |= {"schema": SCHEMA}


def readings(n):
    """Rows of a probe of n utterances of 6 positions."""
    values = {"end_of_text": 1.0, "repetition": 1.0, "empty": 0.0, "top1_agreement": 0.6, "total_variation": 0.3}
    values |= {
        "student_size": 4.0,
        "teacher_size": 4.0,
        "overlap_ratio": 0.75,
        "teacher_mass": 0.8,
        "student_mass": 0.9,
    }
    counts = {"n_positions": 6 * n, "n_groups": n, "n_undefined": 0, "states": "student"}
    rows = [
        {"statistic": name, "value": value, "standard_error": 0.01, "low": value - 0.1, "high": value + 0.1, **counts}
        for name, value in values.items()
    ]
    nothing = dict.fromkeys(("standard_error", "low", "high"))
    bins = {"used": 6.0 * n, "misaligned": 3.0}
    return rows + [{"statistic": f"funnel.{bin}", "value": size, **nothing, **counts} for bin, size in bins.items()]


def write_trace(path, n=12, about=True, tables=None, **changes):
    frame = trace_frame(0, "x", "student", n, 6, 4).drop(columns=["step", "visit", "stage"]).assign(**changes)
    counted = {"n_utterances": n, "n_recordings": None, "tables": {"probes": readings(n)} | (tables or {})}
    frame.attrs = {"probe": (ABOUT if about else {"schema": SCHEMA}) | counted}
    frame.to_parquet(path, index=False)
    return path


def test_it_has_the_readings_of_the_probe(tmp_path):
    run = load(write_trace(tmp_path / "trace.parquet"))
    found = run.probes.set_index("statistic")
    assert found.loc["overlap_ratio", ["value", "low", "high"]].tolist() == [0.75, 0.65, 0.85]
    assert (found.loc["overlap_ratio", "n_positions"], found.loc["overlap_ratio", "n_groups"]) == (72, 12)
    assert found.loc["funnel.misaligned", "value"] == 3
    assert math.isnan(found.loc["funnel.misaligned", "low"])
    assert (len(run.traces), len(run.positions)) == (12, 72)
    assert "72 rows" not in repr(run)
    assert run.probe_sums.empty
    assert run.windows.empty


def test_a_file_without_readings_or_with_damaged_ones_is_refused(tmp_path):
    path = write_trace(tmp_path / "trace.parquet")
    frame = pd.read_parquet(path)
    frame.attrs["probe"]["tables"]["probes"][3]["high"] = "much"
    frame.to_parquet(path, index=False)
    with pytest.raises(ValueError, match=r"trace\.parquet, row 4: field `high` is the text 'much'; expected a number"):
        load(path)
    frame.attrs = {}
    frame.to_parquet(path, index=False)
    again = "its metadata have no readings .* make it again with `distill probe --output"
    with pytest.raises(ValueError, match=again):
        load(path)


def test_intervals_along_the_utterance_are_over_recordings(tmp_path):
    apart = load(write_trace(tmp_path / "apart.parquet"))
    pieces = load(write_trace(tmp_path / "pieces.parquet", recording=[f"r{i // 4}" for i in range(12)]))
    for run, n in ((apart, 12), (pieces, 3)):
        [(_, frame)] = profiles(run, "top1_agreement", "student", relative=True, bins=4)
        assert set(frame["n_groups"]) == {n}
    assert pieces.positions["recording"].nunique() == 3


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


def test_a_trace_that_does_not_name_its_models_says_so(tmp_path):
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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda about: about["tables"].pop("probes"), "its metadata have no readings .* make it again"),
        (lambda about: about.update(n_utterances="many"), "n_utterances and n_recordings of its metadata are"),
        (lambda about: about["tables"].update(probes="none"), "table 'probes' of its metadata is no list of objects"),
        (
            lambda about: about["tables"]["probes"].append("none"),
            "table 'probes' of its metadata is no list of objects",
        ),
        (lambda about: about["tables"]["probes"][2].pop("value"), r"row 3: fields \['value'\] are missing"),
        (lambda about: about["tables"]["probes"].append(about["tables"]["probes"][0]), "is also in row 1"),
    ],
)
def test_damaged_metadata_are_refused_in_words(tmp_path, damage, message):
    path = write_trace(tmp_path / "trace.parquet")
    frame = pd.read_parquet(path)
    damage(frame.attrs["probe"])
    frame.to_parquet(path, index=False)
    with pytest.raises(UserError, match=message):
        load(path)


def test_a_row_does_not_choose_its_place(tmp_path):
    rows = [{**row, "step": 7} for row in readings(12)]
    run = load(write_trace(tmp_path / "trace.parquet", tables={"probes": rows}))
    assert set(run.probes["step"]) == {0}
