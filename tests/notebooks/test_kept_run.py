"""The run that the notebooks show is of today's recipe, data and schema; else `python -m tests.notebooks.make`."""

import json

import pytest

from analysis import load, stage_table
from analysis.report import write_report
from overlap.gates import READINESS
from overlap.version import SCHEMA
from tests.notebooks.make import KEPT, LARGEST, ROOT, expected, size

AGAIN = "run `python -m tests.notebooks.make`"


@pytest.fixture(scope="module")
def resolved():
    return json.loads((KEPT / "resolved.json").read_text(encoding="utf-8"))


def test_it_is_of_todays_recipe_data_and_schema(resolved):
    today = expected()
    assert resolved["schema"] == SCHEMA, AGAIN
    assert resolved["recipe_sha256"] == today["recipe_sha256"], AGAIN
    assert resolved["recipe"] == today["recipe"], AGAIN
    assert resolved["manifest_sha256"] == today["manifest_sha256"], AGAIN


def test_it_is_small_and_of_no_machine():
    assert size() <= LARGEST
    assert not (KEPT / "checkpoints").exists()
    for path in KEPT.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(ROOT).encode() not in content, path
            assert b"/home/" not in content, path


def test_it_is_a_full_run_that_the_gate_switched():
    run = load(KEPT)
    assert run.ended[0] == "finished"
    assert len(run.metrics) == run.resolved["recipe"]["total_steps"]
    switch = run.decisions.query("stage == 'teacher data' and decision == 'advance'")
    levels = {level["statistic"]: level["level"] for level in switch.iloc[0]["levels"] if level["side"] == "at_least"}
    named = ("any/switch/end_of_text", "any/comparable/used")
    named += ("demo/switch/student_end_likely.at_end", "demo/switch/top1_agreement")
    assert levels == {
        row.statistic.replace("top1_agreement", "top1_agreement.without_repeats"): row.level
        for row in map(READINESS.__getitem__, named)
    }
    ends = stage_table(run).frame.query("model == 'student'").set_index("stage")
    assert len(ends) == 3


def test_report_works_on_it(tmp_path):
    report = write_report(KEPT, tmp_path / "report.html")
    (section,) = report.sections
    assert "ready for OPD after teacher data" in section.headline
    assert not section.missing
    assert report.size > 100_000
    assert "top1_agreement" in write_report(KEPT, tmp_path / "report.md").path.read_text(encoding="utf-8")
