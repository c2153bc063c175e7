"""A run's verdict says what that run can show, and more only beside a control."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import compare, load, load_many
from analysis.inference import error_rate_difference, stage_changes
from analysis.report import Recommendation, Thresholds, stage_facts, verdict, write_report
from analysis.report.headline import headline
from analysis.report.section import section
from analysis.report.verdict_types import Control, Worsened
from analysis.stages.table import stage_table
from analysis.tables.paired import controls_of, paired_table
from overlap import Estimate
from tests.analysis.conftest import resolve, trace_rows, write_transcripts
from tests.analysis.report.conftest import set_probe
from tests.analysis.report.test_verdict import change, on_policy, warm

THRESHOLD = {"type": "threshold", "statistic": "top1_agreement", "at_least": 0.65}
CAUSAL = ("OPD paid", "OPD gained", "OPD made")


def edit(path, stage, **changes):
    """Change every reading of a stage in decisions.jsonl."""
    log = path / "decisions.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    made = [row | (changes if row["stage"] == stage else {}) for row in rows]
    log.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")


def waiting_run(make_run, *, exhausted=None):
    """Teacher data whose gate asks for 0.65 and read 0.58 [0.55, 0.61] twice."""
    path = make_run([("teacher data", (50, 100), "stay")])
    resolve(path, stages=[{"name": "teacher data", "type": "td", "gate": THRESHOLD}])
    for name, value in (("top1_agreement", 0.58), ("student_mass", 0.9), ("teacher_mass", 0.9)):
        set_probe(path, name, value, half=0.03)
    level = {"statistic": "top1_agreement", "states": "student", "side": "at_least", "level": 0.65}
    levels = [level | {"bound": 0.55, "satisfied": False}]
    reason = "top1_agreement 0.58 [0.55, 0.61] is not certainly at least 0.65"
    edit(path, "teacher data", gate="threshold(top1_agreement)", levels=levels, reason=reason)
    if exhausted:
        spent = "the 100 steps of stage 'teacher data' are spent and its gate has not advanced"
        row = {"step": 100, "visit": 0, "stage": "teacher data", "stage_step": 100, "gate": "exhausted"}
        row |= {"numbers": {}, "levels": [], "outcome": None, "reason": spent}
        rows = [row | {"decision": exhausted}]
        if exhausted == "stop":
            rows.append(row | {"gate": "run", "decision": "end", "outcome": "stopped"})
        with (path / "decisions.jsonl").open("a", encoding="utf-8") as log:
            log.writelines(json.dumps(row) + "\n" for row in rows)
    return load(path)


@pytest.mark.parametrize("exhausted", [None, "advance", "stop"])
def test_never_ready_where_the_recipes_gate_has_not_opened(make_run, exhausted):
    run = waiting_run(make_run, exhausted=exhausted)
    (facts,) = stage_facts(run)
    found = verdict(facts)
    assert verdict(replace(facts, waiting="")).headline.startswith(
        "Go: ready for OPD"
    )  # by the report's own limit, 0.45
    assert found.recommendation is Recommendation.WAIT
    assert found.headline == "Wait: the recipe's gate has not opened"
    assert found.reasons[0].startswith(
        "The recipe's gate has not opened: it decided stay 2 times, most recently: top1_agreement 0.58 "
        "[0.55, 0.61] is not"
    )
    assert "not ready" in headline([found])


@pytest.mark.parametrize(
    ("exhausted", "gate", "table"),
    [
        (
            "advance",
            "The stage was left with its gate shut at step 100: the 100 steps",
            "left with its gate shut: the 100 steps",
        ),
        ("stop", "The run stopped at step 100: the 100 steps", "the 100 steps"),
    ],
)
def test_a_stage_whose_steps_ran_out_was_not_advanced_by_its_gate(make_run, exhausted, gate, table):
    run = waiting_run(make_run, exhausted=exhausted)
    (facts,) = stage_facts(run)
    assert facts.exhausted
    assert verdict(facts).gate.startswith(gate)
    assert "advanced: " not in str(stage_table(run))
    assert table in str(stage_table(run))


def test_a_gate_that_opened_and_a_count_of_steps_wait_for_nothing(straight):
    assert [fact.waiting for fact in stage_facts(load(straight))] == ["", "", ""]


@pytest.mark.parametrize(
    ("gate", "waiting"),
    [
        (THRESHOLD, "it has not read yet"),
        ({"type": "plateau", "statistic": "union_size", "mode": "min"}, "it has not read yet"),
        ({"type": "collapse", "limits": {"repetition": [None, 3.0]}}, ""),
        ({"type": "fixed_steps", "steps": 9}, ""),
        ({"type": "of another trainer", "statistic": "union_size"}, ""),
        ({"type": "plateau", "settings": "of another trainer"}, ""),
        ({}, ""),
    ],
)
def test_a_gate_that_has_not_read_yet_is_not_open(make_run, gate, waiting):
    path = make_run([("teacher data", (0,), "stay")])
    resolve(path, stages=[{"name": "teacher data", "type": "td", "gate": gate}])
    edit(path, "teacher data", gate="entry", reason="its gate reads from the stage's first step on")
    (facts,) = stage_facts(load(path))
    assert facts.waiting == waiting


def test_one_run_shows_what_happened_and_not_why():
    found = verdict(on_policy(change(-0.3, -0.2)))
    assert found.headline == "Go: WER fell during OPD"
    assert any("needs a control" in reason for reason in found.reasons)
    said = headline([verdict(warm()), found])
    assert said.endswith("Attribution to OPD needs a control run without it.")
    for low, high in ((-0.3, -0.2), (0.1, 0.2), (-0.1, 0.1)):
        one = verdict(on_policy(change(low, high)))
        assert not any(word in text for word in CAUSAL for text in (one.headline, headline([one]), *one.reasons))


@pytest.mark.parametrize(
    ("ends", "recommendation", "words"),
    [
        ((-0.1, -0.02), Recommendation.GO, "Go: WER fell during OPD, and more than without it"),
        ((-0.05, 0.03), Recommendation.WAIT, "Wait: WER fell, but not significantly more than without OPD"),
        ((0.02, 0.1), Recommendation.WAIT, "Wait: WER fell, but less than without OPD"),
        ((math.nan, math.nan), Recommendation.WAIT, "Wait: WER fell, but not significantly more than without OPD"),
    ],
)
def test_a_control_decides_what_the_fall_is_worth(ends, recommendation, words):
    beside = Control("td-only", 900, 900, change(*ends))
    found = verdict(replace(on_policy(change(-0.3, -0.2)), controls=(beside,)))
    assert (found.recommendation, found.headline) == (recommendation, words)
    assert "against 50.0 % of the control td-only (no OPD, step 900)" in headline([found])
    assert "needs a control" not in headline([found])


def test_a_control_at_another_step_says_so():
    assert "(no OPD, step 600, not the 900 of this run)" in Control("c", 600, 900, change(-0.1, 0.1)).sentence()


def two_runs(make_run, errors, other, *, shift=0):
    """A run with OPD, and one that stays with teacher data for as many steps."""
    staged = make_run([("base", (0, 100), "advance"), ("on-policy", (0, 100), "end")], name="staged")
    control = make_run([("base", (0, 100), "advance"), ("teacher data", (0, 100), "end")], name="control")
    for path, stage, wrong in ((staged, "on-policy", errors), (control, "teacher data", other)):
        write_transcripts(path, 100, "base", {f"u{i + shift * (path == control)}": 6 for i in range(len(wrong))})
        write_transcripts(path, 200, stage, {f"u{i + shift * (path == control)}": int(n) for i, n in enumerate(wrong)})
    return staged, control


def test_the_report_compares_with_a_control_paired_by_utterance(make_run, tmp_path):
    generator = np.random.default_rng(0)
    other = generator.integers(3, 7, 40)
    paths = two_runs(make_run, other - generator.integers(1, 3, 40), other)
    runs = load_many(paths)
    assert list(controls_of(runs, "staged")) == ["control"]
    assert controls_of(runs, "control") == {}
    one, two = (run.transcripts.query("step == 200") for run in (runs["control"], runs["staged"]))
    expected = error_rate_difference(one, two).difference
    (control,) = stage_facts(runs["staged"], controls=controls_of(runs, "staged"))[-1].controls
    row = paired_table(runs).frame.iloc[0]
    for low, high in ((control.change.change.low, control.change.change.high), (row["change.low"], row["change.high"])):
        assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert (row["run"], row["against"], row["step"], row["step.against"]) == ("staged", "control", 200, 200)
    text = str(compare(runs))
    assert "Paired comparison" in text
    assert "control (no OPD)" in text
    report = write_report(runs, tmp_path / "report.md")
    assert "of the control control (no OPD, step 200)" in report.sections[0].headline
    assert "needs a control" not in report.sections[0].headline


def test_runs_on_other_utterances_are_not_paired(make_run, tmp_path):
    runs = load_many(two_runs(make_run, [1, 2] * 10, [2, 3] * 10, shift=5))
    assert paired_table(runs).frame.empty
    assert stage_facts(runs["staged"], controls=controls_of(runs, "staged"))[-1].controls == ()
    assert "needs a control" in write_report(runs, tmp_path / "report.md").sections[0].headline


def test_a_control_of_the_same_seed_is_preferred_and_without_one_the_first_run_is_it(make_run):
    paths = [make_run([("base", (0, 100), "end")], name=f"td-{seed}") for seed in (0, 1)]
    paths += [make_run([("on-policy", (0, 100), "end")], name=f"opd-{seed}") for seed in (0, 1)]
    for path in paths:
        resolve(path, seed=int(path.name[-1]))
        write_transcripts(path, 100, "base" if "td-" in path.name else "on-policy", {f"u{i}": i % 5 for i in range(9)})
    runs = load_many(paths)
    assert list(controls_of(runs, "opd-1")) == ["td-1"]
    assert paired_table(runs).frame[["run", "against"]].to_numpy().tolist() == [["opd-0", "td-0"], ["opd-1", "td-1"]]
    alone = paired_table(load_many(paths[2:])).frame
    assert alone[["run", "against", "control"]].to_numpy().tolist() == [["opd-1", "opd-0", False]]


def worsening(path, seed=0):
    """Traces on fixed rollouts before and after OPD, on which total variation rises by 0.2 everywhere."""
    lengths = {f"u{i}": 8 for i in range(24)}
    generator = np.random.default_rng(seed)
    (path / "traces").mkdir()
    for step, shift in ((200, 0.0), (300, 0.2)):
        values = {name: (0.3 + shift + 0.1 * generator.random(n)).tolist() for name, n in lengths.items()}
        rows = trace_rows(step, "on-policy", "fixed", lengths, seed=1, visit=2, total_variation=values)
        pd.DataFrame(rows).to_parquet(path / "traces" / f"step-{step:06d}-on-policy.parquet", index=False)
    return path


def test_what_a_stage_made_worse_on_recorded_rollouts_is_said(straight):
    run = load(worsening(straight))
    shown = section("run", run, Thresholds())
    last = shown.verdicts[-1]
    expected = stage_changes(run, statistics=["union_size", "total_variation", "forward_kl"]).frame
    (row,) = expected.loc[expected["statistic"] == "total_variation"].to_dict("records")
    assert row["p.corrected"] < 0.05
    assert last.headline.endswith(", but worse on recorded rollouts")
    assert any(f"total variation +{row['change']:.3f} [" in reason and "Holm p " in reason for reason in last.reasons)
    assert "Stage on-policy worsened recorded rollouts: total variation +" in shown.headline


def test_what_got_better_or_is_not_certain_is_not_called_worse():
    assert verdict(on_policy(change(-0.3, -0.2))).worsened == ()
    worse = (Worsened("total variation", Estimate(0.195, math.nan, 0.1, 0.29, 1000, 60), 0.002),)
    found = verdict(replace(warm(), worsened=worse))
    assert found.headline == "Go: ready for OPD, but worse on recorded rollouts"
    said = "worsened the same recorded rollouts: total variation +0.195 [0.100, 0.290] (Holm p 0.0020) (60 utterances)"
    assert said in found.reasons[-1]
    assert headline([found]).startswith("The pair was ready for OPD after teacher data (step 200). ")
