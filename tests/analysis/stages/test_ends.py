"""What a stay began with and what it left behind, by the visits that rows are of."""

import json
import math

import pytest

from analysis import load, stage_table
from analysis.stages.ends import rows_at_end, rows_at_start
from tests.analysis.conftest import read_lines, write_traces


def found(rows):
    return sorted(set(zip(rows["visit"], rows["step"], strict=True)))


def ends(run):
    positions = run.positions
    return [(found(rows_at_start(positions, v)), found(rows_at_end(run, positions, v))) for v in run.visits]


def test_what_was_not_traced_at_an_end_is_taken_from_the_next_beginning_with_the_same_weights(fell_back):
    for step, stage in ((0, "base"), (100, "teacher data"), (200, "teacher data"), (250, "teacher data")):
        write_traces(fell_back, step, stage, {"a": 2})
    assert ends(load(fell_back)) == [
        ([(0, 0)], [(1, 100)]),  # base was not traced at its end, teacher data at its start was
        ([(1, 100)], [(1, 200)]),
        ([(1, 200)], []),  # what on-policy left behind is gone: the gate fell back, and the next weights are older
        ([(3, 250)], []),
        ([], []),
    ]


def test_a_stage_that_is_not_left_ends_at_its_last_reading_or_with_the_latest_row(make_run):
    run = load(make_run([("base", (0, 50)), ("teacher data", (0, 20, 40), "stay")]))
    going = run.visits[-1]
    assert found(rows_at_end(run, run.probes, going)) == [(1, 90)]
    rows = run.metrics.loc[run.metrics["step"] <= 75]
    assert found(rows_at_end(run, rows, going, latest=True)) == [(1, 75)]


def test_rows_belong_to_the_visit_that_they_say_whatever_else_is_missing(straight):
    """Counted by changes of the stage's name, the last evaluation would have been of the stay before."""
    log = straight / "evaluations.jsonl"
    kept = [row for row in read_lines(log) if row["stage"] != "teacher data"]
    log.write_text("".join(json.dumps(row) + "\n" for row in kept))
    frame = stage_table(load(straight)).frame.set_index("stage")
    assert math.isnan(frame.loc["teacher data", "wer"])
    assert frame.loc["on-policy", "wer"] == pytest.approx(0.4)
