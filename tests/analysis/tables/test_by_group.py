"""Tables by group of utterances, against numbers worked out by hand."""

import math

import pandas as pd
import pytest

from analysis import error_rates_by_group, load, overlap_by_group
from analysis.report import write_report
from overlap.errors import UserError
from tests.analysis.conftest import write_transcripts

NORTH, SOUTH, WEST = ([f"{name}-{i:02}" for i in range(n)] for name, n in (("north", 20), ("south", 22), ("west", 3)))
EVERYONE = [*NORTH, *SOUTH, *WEST, "nobody"]


def with_groups(path, columns):
    """Add the manifest's values to a file of transcripts; `columns` are functions of an id."""
    frame = pd.read_parquet(path)
    for name, of in columns.items():
        frame[name] = pd.Series([of(id_) for id_ in frame["id"]], index=frame.index, dtype=object)
    frame.to_parquet(path, index=False)


def accent(id_):
    return None if id_ == "nobody" else id_.split("-")[0]


def speaker(id_):
    """Ten speakers of the north with two utterances each; the others are not known."""
    return f"s{int(id_[-2:]) // 2}" if id_ in NORTH else None


def evaluated(run, columns=None):
    """Ten words an utterance. Half of the north falls from 3 errors to 1; the south has 1 before and after."""
    before = {id_: 3 if id_ in NORTH[:10] else 1 for id_ in EVERYONE}
    after = dict.fromkeys(EVERYONE, 1)
    for step, stage, errors in ((100, "base", before), (200, "teacher data", after)):
        path = write_transcripts(run, step, stage, errors)
        with_groups(path, {"groups.accent": accent, "speaker": speaker} if columns is None else columns)
    return load(run)


def test_error_rates_are_paired_by_group_and_corrected_over_the_table(straight):
    table = error_rates_by_group(evaluated(straight))
    frame = table.frame.set_index(["stage", "group"])
    assert list(frame.index) == [(s, g) for s in ("base", "teacher data") for g in ("south", "north")]  # largest first
    north, south = frame.loc[("teacher data", "north")], frame.loc[("teacher data", "south")]
    assert (north["rate.before"], north["rate"], north["change"]) == pytest.approx((40 / 200, 20 / 200, -20 / 200))
    assert (south["rate.before"], south["rate"], south["change"]) == pytest.approx((0.1, 0.1, 0.0))
    assert (north["n_utterances"], north["total"], south["n_utterances"], south["total"]) == (20, 200, 22, 220)
    assert (north["step.before"], north["step"]) == (100, 200)
    assert (north["over"], north["n_over"], south["over"], south["n_over"]) == ("speaker", 10, "utterance", 22)
    # Five of ten speakers change, all in one direction: of 2^5 arrangements two are as far apart.
    assert north["p"] == pytest.approx(2 / 32, abs=0.01)
    assert south["p"] == 1.0
    assert north["p.corrected"] == pytest.approx(2 * north["p"])
    assert south["p.corrected"] == 1.0
    assert north["change.low"] < north["change"] < north["change.high"]
    first = frame.loc[("base", "north")]
    assert first["rate"] == pytest.approx(0.2)
    assert math.isnan(first["change"])
    assert math.isnan(first["p"])


def test_what_has_no_row_is_named(straight):
    text = error_rates_by_group(evaluated(straight)).to_text()
    assert text.startswith("WER by group")
    assert "Of accent without a row, fewer than 20 utterances: west (3)." in text
    assert "1 utterance without accent." in text
    assert "p corrected for 2 tests (Holm" in " ".join(text.split())
    assert "−10.0 [" in text


def test_languages_are_groups_where_two_are_large_enough(straight, fell_back):
    two = error_rates_by_group(evaluated(straight, {"language": lambda id_: accent(id_)})).frame
    assert set(two["field"]) == {"language"}
    assert set(two["group"]) == {"north", "south"}
    assert error_rates_by_group(evaluated(fell_back, {})).frame.empty  # one language


def test_sets_that_changed_are_not_paired_and_say_so(straight):
    run = evaluated(straight)
    file = next(path for path in (straight / "transcripts").iterdir() if "step-000200" in path.name)
    frame = pd.read_parquet(file)
    frame.loc[frame["id"] == "north-03", "reference"] = "another text"
    frame.to_parquet(file, index=False)
    table = error_rates_by_group(load(run.path))
    north = table.frame.set_index(["stage", "group"]).loc[("teacher data", "north")]
    assert math.isnan(north["change"])
    assert north["rate"] == pytest.approx(0.1)
    assert any("Not paired: teacher data, accent north (utterance 'north-03'" in note for note in table.notes)


def probe_groups(run, states=("student", "teacher")):
    """Readings of two groups at the end of every stage: in the north 0.9 ended, in the south all."""
    rows = []
    for visit, step, stage in ((0, 100, "base"), (1, 200, "teacher data"), (2, 300, "on-policy")):
        place = {"step": step, "visit": visit, "stage": stage}
        for kind in states:
            for group, n, ended in (("south", 22, 1.0), ("north", 20, 0.9)):
                common = {**place, "states": kind, "field": "accent", "group": group, "standard_error": 0.01}
                counts = {"n_positions": n, "n_groups": n, "n_undefined": 0}
                nan = math.nan
                rows.append({**common, "statistic": "utterances", "value": float(n), "low": nan, "high": nan, **counts})
                measured = {"end_of_text": ended, "student_mass": 0.5 + 0.1 * visit}
                rows += [
                    {**common, "statistic": name, "value": value, "low": value - 0.1, "high": value, **counts}
                    for name, value in measured.items()
                ]
            for group, n in (("west", 3), (None, 1)):
                size = {"value": float(n), "low": math.nan, "high": math.nan, "n_positions": n, "n_groups": n}
                about = {"states": kind, "field": "accent", "group": group, "statistic": "utterances"}
                rows.append({**place, **about, "standard_error": math.nan, **size, "n_undefined": 0})
    (run / "probe_groups").mkdir()
    pd.DataFrame(rows).to_parquet(run / "probe_groups/all.parquet", index=False)
    return run


def test_overlap_at_the_end_of_each_stage(straight):
    table = overlap_by_group(load(probe_groups(straight)))
    assert len(table.frame) == 6
    row = table.frame.set_index(["stage", "group"]).loc[("teacher data", "north")]
    assert (row["end_of_text"], row["end_of_text.low"], row["end_of_text.high"]) == pytest.approx((0.9, 0.8, 0.9))
    assert row["student_mass"] == pytest.approx(0.6)
    assert (row["n_utterances"], row["step"], row["visit"]) == (20, 200, 1)
    assert math.isnan(row["total_variation.without_repeats"])
    assert table.heading[5:] == ["ended [95 %]", "student mass [95 %]"]  # the others were not measured
    assert "Of accent without a row, fewer than 20 utterances: west (3)." in table.to_text()
    assert "1 utterance without accent." in table.to_text()


def test_a_run_without_groups_has_no_tables_and_no_section(straight, tmp_path):
    run = load(straight)
    assert overlap_by_group(run).frame.empty
    assert error_rates_by_group(run).frame.empty
    write_report(straight, tmp_path / "report.md")
    assert "by group" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_report_has_a_section(straight, tmp_path):
    evaluated(probe_groups(straight))
    for suffix in ("md", "html"):
        write_report(straight, tmp_path / f"report.{suffix}")
        text = (tmp_path / f"report.{suffix}").read_text(encoding="utf-8")
        assert "Overlap by group" in text
        assert "WER by group" in text


def test_damaged_readings_are_named(straight):
    file = probe_groups(straight) / "probe_groups/all.parquet"
    whole = pd.read_parquet(file)
    whole.drop(columns="field").to_parquet(file)
    with pytest.raises(UserError, match=r"probe_groups.all\.parquet: columns \['field'\] are missing"):
        overlap_by_group(load(straight))
    pd.concat([whole, whole.head(1)], ignore_index=True).to_parquet(file)
    with pytest.raises(UserError, match=r"probe_groups.all\.parquet, row .* is also in row 1"):
        overlap_by_group(load(straight))
