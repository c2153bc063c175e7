import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from analysis import compare, load, stage_table
from analysis.stages.table import WIDTH
from tests.analysis.conftest import evaluation_row

LAST_READINGS = {"straight": (2, 5, 8), "fell back": (1, 4, 6, 8, 11)}


def students(run):
    frame = stage_table(run).frame
    return frame[frame["model"] == "student"]


def change(path, **columns):
    """Set columns of all probe rows."""
    probes = pd.read_parquet(path / "probes/all.parquet")
    probes.assign(**columns).to_parquet(path / "probes/all.parquet")


@pytest.mark.parametrize("name", ["straight", "fell_back"])
def test_a_row_a_stay_with_the_numbers_of_its_last_reading(request, name):
    path = request.getfixturevalue(name)
    frame = students(load(path))
    readings = np.array(LAST_READINGS[path.name])
    np.testing.assert_array_equal(frame["union_size"], 60 - readings)
    np.testing.assert_allclose(frame["union_size.low"], 60 - readings - 0.2)
    np.testing.assert_allclose(frame["top1_agreement.high"], 0.5 + 0.01 * readings + 0.2)
    np.testing.assert_array_equal(frame["n_positions"], 1200 + readings)
    np.testing.assert_array_equal(frame["n_groups"], 40)
    np.testing.assert_allclose(frame["wer"], 0.5 - 0.05 * np.arange(len(readings)))
    np.testing.assert_allclose(frame["wer.low"], frame["wer"] - 0.02)
    np.testing.assert_allclose(
        frame["union_size"], frame["student_size"] + frame["teacher_size"] - frame["intersection_size"]
    )
    assert list(frame["reason"]) == [f"reading {reading}" for reading in readings]


def test_two_stays_of_a_stage_that_end_at_one_step_are_not_mixed(make_run):
    stays = [
        ("teacher data", (0, 50)),
        ("on-policy", (0,), "fall_back"),
        ("teacher data", (0,)),
        ("on-policy", (0, 9), "end"),
    ]
    frame = students(load(make_run(stays)))
    assert list(frame["last_step"]) == [50, 50, 50, 59]
    assert list(frame["union_size"]) == [59, 58, 57, 55]
    np.testing.assert_allclose(frame["wer"], [0.5, 0.45, 0.4, 0.35])


def test_the_teacher_comes_first(straight):
    first = stage_table(load(straight)).frame.iloc[0]
    assert (first["model"], first["wer"], first["n_words"]) == ("teacher", 0.1, 1000)
    assert math.isnan(first["union_size"])


def test_text_fits_and_says_everything_once(fell_back):
    text = stage_table(load(fell_back)).to_text()
    assert max(map(len, text.splitlines())) <= WIDTH
    tops, bottoms = (" ".join(line.split()) for line in text.splitlines()[:2])
    assert tops == "stage WER % VUSS mean mean mean top-1 total n pos."
    assert bottoms == "[95 %] = mean |U| |S| |T| |I| agreement variation n utt."
    values, intervals = text.splitlines()[5:7]
    assert re.split(r"  +", values) == ["base", "50.0", "59.00", "32.00", "31.50", "4.50", "0.510", "0.390", "1,201"]
    assert re.split(r"  +", intervals.strip()) == [
        *("100 steps", "[48.0, 52.0]", "[58.80, 59.20]", "[0.310, 0.710]", "[0.190, 0.590]", "40")
    ]
    assert "on-policy, steps 200 to 250, fell back: reading 6" in text
    assert "set 'test', 1,000 words in 120 utterances, normalizer basic 1" in text
    assert "k = 32" in text


def test_long_reasons_are_wrapped(make_run):
    reason = "the gate waited for more agreement than there was " * 5
    text = stage_table(load(make_run([("base", (0, 50), "end")], outcome="stopped", reason=reason))).to_text()
    assert max(map(len, text.splitlines())) <= WIDTH


def test_undefined_is_a_dash(straight):
    change(straight, value=math.nan, low=math.nan, high=math.nan, n_undefined=1200)
    base = stage_table(load(straight)).to_text().splitlines()[5:7]
    assert re.split(r"  +", base[0]) == ["base", "50.0", *["–"] * 6, "1,202"]
    assert re.split(r"  +", base[1].strip()) == ["100 steps", "[48.0, 52.0]", "40"]
    assert "nan" not in stage_table(load(straight)).to_text()
    assert "nan" not in stage_table(load(straight)).to_markdown()


def test_an_undefined_interval_is_a_dash(straight):
    change(straight, low=math.nan, high=math.nan)
    assert "| 58.00 – |" in stage_table(load(straight)).to_markdown()


def test_undefined_positions_are_counted(straight):
    change(straight, n_undefined=17)
    assert "base: undefined at 17 more positions." in stage_table(load(straight)).to_text()


def test_without_probes_or_evaluations(make_run):
    stays = [("base", (0, 50)), ("on-policy", (0, 50), "end")]
    blind = load(make_run(stays, "blind", states=()))
    assert students(blind)["union_size"].isna().all()
    assert "Overlap:" not in stage_table(blind).to_text()
    deaf = load(make_run(stays, "deaf", evaluated=False))
    assert students(deaf)["wer"].isna().all()
    assert "WER:" not in stage_table(deaf).to_text()
    assert "(teacher)" not in stage_table(deaf).to_text()
    stage_table(load(make_run(stays, "neither", states=(), evaluated=False))).to_text()


def test_mixed_error_rates_are_named(mixed):
    table = stage_table(load(mixed))
    first = table.frame.iloc[0]
    assert (table.error_rate, first["mer"], first["n_tokens"]) == ("mer", 0.1, 1000)
    assert "wer" not in table.frame
    assert re.search(r"stage +MER %", table.to_text())
    assert "MER: set 'test', 1,000 tokens in 120 utterances, normalizer" in table.to_text()
    assert "| MER % [95 %] |" in table.to_markdown()


def test_without_any_reading(straight):
    for log in ("decisions", "evaluations", "metrics"):
        (straight / f"{log}.jsonl").write_text("")
    (straight / "probes/all.parquet").unlink()
    table = stage_table(load(straight))
    assert table.frame.empty
    assert "no stage has been measured yet" in table.to_text()
    assert table.to_markdown().startswith("| stage | steps |")


def test_a_run_that_goes_on(make_run):
    table = stage_table(load(make_run([("base", (0, 50)), ("teacher data", (0, 20), "stay")])))
    last = table.frame.iloc[-1]
    assert (last["steps"], last["union_size"]) == (20, 57)
    assert math.isnan(last["wer"])
    assert "teacher data, steps 50 to 70, not left yet: reading 3" in table.to_text()


def test_a_stage_that_goes_on_has_its_latest_error_rate(make_run):
    path = make_run([("base", (0, 50)), ("teacher data", (0, 50, 100), "stay")])
    with (path / "evaluations.jsonl").open("a") as log:
        for step, value in ((80, 0.48), (120, 0.4)):
            log.write(json.dumps(evaluation_row(step, "teacher data", "student", value, 1)) + "\n")
    table = stage_table(load(path))
    last = table.frame.iloc[-1]
    assert (last["wer"], last["evaluated"], last["last_step"]) == (0.4, 120, 150)
    assert "teacher data is ongoing: WER at step 120." in table.to_text()
    side_by_side = compare({"it": load(path)})
    assert side_by_side.frame.loc[0, "wer"] == 0.4
    assert "at the latest reading and evaluation of a running one" in " ".join(side_by_side.to_text().split())


def test_markdown_is_a_table_of_equal_rows(fell_back):
    table = stage_table(load(fell_back))
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {11}
    assert cells[0][3].strip() == r"VUSS = mean \|U\|"
    assert len(lines) == 2 + 1 + 5
    assert cells[3][2].strip() == "50.0 [48.0, 52.0]"
    assert table.to_markdown().endswith(
        "[ ]: 95 % bootstrap intervals, of WER over 120 utterances (stored: no transcripts were kept), of overlap over "
        "40 utterances."
    )


def test_printed_in_consoles(straight):
    table = stage_table(load(straight))
    assert repr(table) == str(table) == table.to_text()


def test_html_for_notebooks(fell_back):
    html = stage_table(load(fell_back))._repr_html_()
    assert html.count("<tr>") == 1 + 1 + 5
    assert "VUSS = mean |U|" in html
