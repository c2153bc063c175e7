import json
import math

import pytest

from analysis import load
from analysis.stages.gate_readings import COLUMNS, gate_readings


def level(statistic, side, level, bound, satisfied, states="student"):
    about = {"statistic": statistic, "states": states, "side": side}
    return about | {"level": level, "bound": bound, "satisfied": satisfied}


THRESHOLD = [level("top1_agreement", "at_least", 0.85, 0.86, True)]
COLLAPSE = [level("union_size", "highest", 51.0, 50.0, True, states="fixed")]
PLATEAU = [level("jaccard", "best", 0.35, None, False)]


def readings(path, gates):
    log = path / "decisions.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    for row, (gate, levels) in zip(rows, gates, strict=False):
        row |= {"gate": gate, "levels": levels}
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return gate_readings(load(path))


def test_levels_and_bounds_of_every_kind_of_gate(straight):
    gates = [
        ("threshold(top1_agreement)", THRESHOLD),
        ("collapse(fixed.union_size)", COLLAPSE),
        ("plateau(jaccard)", PLATEAU),
        ("fixed_steps", []),
    ]
    frame = readings(straight, gates)
    assert list(frame.columns) == list(COLUMNS)
    shown = frame[["visit", "statistic", "states", "side", "level", "satisfied"]].to_numpy().tolist()
    assert shown == [
        [0, "top1_agreement", "student", "at_least", 0.85, True],
        [0, "union_size", "fixed", "highest", 51.0, True],
        [0, "jaccard", "student", "best", 0.35, False],
    ]
    # A limit is kept while the near end of the interval is within it.
    assert frame["bound"].tolist()[:2] == [0.86, 50.0]
    assert math.isnan(frame["bound"].iloc[2])


def test_members_of_a_combination(straight):
    members = [
        level("union_size", "at_most", 40.0, 45.0, False),
        level("repetition", "lowest", 0.1, 4.0, True),
        level("repetition", "highest", 3.0, 3.5, False),
    ]
    frame = readings(straight, [("all(threshold(union_size), collapse(repetition))", members)])
    assert frame[["statistic", "side", "level", "bound", "satisfied"]].to_numpy().tolist() == [
        ["union_size", "at_most", 40.0, 45.0, False],
        ["repetition", "lowest", 0.1, 4.0, True],
        ["repetition", "highest", 3.0, 3.5, False],
    ]


@pytest.mark.parametrize("bound", [None, 0.2])
def test_an_undefined_bound_meets_nothing(straight, bound):
    frame = readings(straight, [("threshold(jaccard)", [level("jaccard", "at_least", 0.5, bound, False)])])
    assert frame["satisfied"].tolist() == [False]
    assert frame["bound"].isna().tolist() == [bound is None]


def test_a_run_whose_gates_count_steps(straight):
    assert gate_readings(load(straight)).empty
