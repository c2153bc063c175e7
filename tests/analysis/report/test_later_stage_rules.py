"""Whether the pair was ready: a later stage that is not overrules an earlier one that was."""

import json
from dataclasses import replace

import pytest

from analysis import load
from analysis.report import Recommendation, Thresholds, verdict
from analysis.report.headline import headline
from analysis.report.section import section
from tests.analysis.conftest import resolve
from tests.analysis.report.conftest import set_probe
from tests.analysis.report.test_verdict import change, on_policy, warm
from tests.analysis.report.test_what_one_run_shows import edit

GO, WAIT, STOP, UNKNOWN = Recommendation.GO, Recommendation.WAIT, Recommendation.STOP, Recommendation.UNKNOWN
HEADLINES = {GO: "Go: ready for OPD", WAIT: "Wait: x", STOP: "Stop: x", UNKNOWN: "Not measured"}


@pytest.mark.parametrize("exhausted", ["stop", "advance"])
def test_a_gate_that_never_opened_overrules_the_stage_before_it(make_run, exhausted):
    path = make_run([("base", (0, 2), "advance"), ("teacher data", (0, 4), "stay")])
    gate = {"type": "threshold", "statistic": "top1_agreement", "at_least": 0.99}
    resolve(path, stages=[{"name": "base", "type": "sft"}, {"name": "teacher data", "type": "td", "gate": gate}])
    for name in ("top1_agreement", "student_mass", "teacher_mass"):
        set_probe(path, name, 0.962)
    reason = "top1_agreement 0.962 [0.952, 0.972] is not certainly at least 0.99"
    level = {"statistic": "top1_agreement", "states": "student", "side": "at_least", "level": 0.99}
    levels = [level | {"bound": 0.952, "satisfied": False}]
    edit(path, "teacher data", gate="threshold(top1_agreement)", levels=levels, reason=reason)
    spent = "the 4 steps of stage 'teacher data' are spent and its gate has not advanced"
    row = {"step": 6, "visit": 1, "stage": "teacher data", "stage_step": 4, "gate": "exhausted", "numbers": {}}
    row |= {"levels": [], "outcome": None, "reason": spent}
    end = {"gate": "run", "decision": "end", "outcome": "stopped" if exhausted == "stop" else "finished"}
    rows = [row | {"decision": exhausted}, row | end]
    with (path / "decisions.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(row) + "\n" for row in rows)
    shown = section("run", load(path), Thresholds())
    assert [stage.recommendation for stage in shown.verdicts] == [GO, WAIT]
    assert shown.headline == (
        "The pair was not ready for OPD after teacher data (step 6): the recipe's gate has not opened. No on-policy "
        "stage has run."
    )


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        ((GO, WAIT), "The pair was not ready for OPD after stage 1"),
        ((GO, STOP), "The pair was not ready for OPD after stage 1"),
        ((GO, GO), "The pair was ready for OPD after stage 0"),
        ((WAIT, GO, GO), "The pair was ready for OPD after stage 1"),
        ((GO, WAIT, GO), "The pair was ready for OPD after stage 2"),
        ((GO, UNKNOWN), "The pair was ready for OPD after stage 0"),
        ((GO, WAIT, UNKNOWN), "The pair was not ready for OPD after stage 1"),
        ((UNKNOWN, UNKNOWN), "It is not known whether the pair was ready for OPD after stage 1"),
    ],
)
def test_the_last_stage_that_is_judged_rules(judged, said):
    made = [
        replace(verdict(warm()), stage=f"stage {i}", recommendation=one, headline=HEADLINES[one])
        for i, one in enumerate(judged)
    ]
    assert headline(made).startswith(f"{said} (step")
    assert headline([*made, verdict(on_policy(change(-0.3, -0.2)))]).startswith(f"{said} (step")


def test_a_gate_that_opened_at_last_is_ready():
    shut = replace(verdict(warm()), recommendation=WAIT, gate_shut=True)
    assert headline([shut, verdict(warm())]).startswith("The pair was ready for OPD after teacher data")
    assert "the recipe's gate has not opened" in headline([verdict(warm()), shut])
