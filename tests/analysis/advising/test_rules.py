"""Each rule fires on a run that has its fault, with number, interval and n; none fires on the run that pages show."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis import advisories, load
from analysis.advising import RULES, Advisories, Severity
from analysis.advising.advisory import Advisory, Rule, judged
from analysis.advising.gating import can_open
from overlap.gates import READINESS
from tests.analysis.conftest import read_lines, resolve, write_lines, write_transcripts

DEMO = Path(__file__).parents[3] / "notebooks" / "runs" / "demo"
STUDENTS = Path(__file__).parents[2] / "studies" / "results" / "looping_students.csv"


def measured(run, states="student", **numbers):
    """The run with statistics on some states at every probe: `name=(value, low, high)`; `__` stands for a dot."""
    rows = run.probes.loc[(run.probes["statistic"] == "union_size") & (run.probes["states"] == states)]
    parts = [
        rows.assign(statistic=name.replace("__", "."), value=value, low=low, high=high, n_positions=40)
        for name, (value, low, high) in numbers.items()
    ]
    names = [name.replace("__", ".") for name in numbers]
    kept = run.probes.loc[~(run.probes["statistic"].isin(names) & run.probes["states"].eq(states))]
    return replace(
        run, probes=pd.concat([kept, *parts], ignore_index=True).sort_values(["visit", "step"], kind="stable")
    )


def found(run, rule):
    """The findings of one rule, and that it says what it checked."""
    advice = advisories(run)
    (one,) = (known for known in RULES if known.name == rule)
    assert one.checks in advice.checked
    return [item for item in advice if item.rule == rule]


@pytest.fixture
def run(straight):
    return load(straight)


def test_the_run_of_the_pages_has_nothing_to_advise():
    advice = advisories(load(DEMO))
    assert list(advice) == []
    assert advice.headline == "Nothing to advise."
    assert str(advice).startswith("Nothing to advise.\nChecked: end of text, repetition, empty transcripts, ")
    absent = {"end of evaluated transcripts", "end of text of groups", "clips without speech"}  # the run has no such
    assert {*advice.unmeasured} <= absent


@pytest.mark.parametrize(
    ("value", "severity", "title", "advice"),
    [
        ((0.4, 0.3, 0.5), Severity.CRITICAL, "Transcripts do not end", "do not raise the limit on length first"),
        ((0.85, 0.75, 0.95), Severity.WARNING, "Too few transcripts end, though not certainly", "Probe more"),
        ((0.95, 0.83, 1.0), Severity.NOTE, "It is not certain that enough transcripts end", "Probe more"),
        ((0.85, math.nan, math.nan), Severity.WARNING, "Too few transcripts end, though not certainly", "Probe more"),
    ],
)
def test_transcripts_that_do_not_end(run, value, severity, title, advice):
    (one,) = found(measured(run, end_of_text=value), "end_of_text")
    assert (one.severity, one.title, one.where) == (severity, title, "on-policy, step 300")
    assert advice in one.advice
    assert one.estimate is not None
    assert one.estimate.value == value[0]
    interval = "(no interval)" if math.isnan(value[1]) else f"[{value[1]:.2f}, {value[2]:.2f}]"
    assert one.number == (
        f"{value[0]:.2f} {interval} of the student's transcripts ended by themselves, n = 40 transcripts; level ≥ 0.9"
    )


def test_transcripts_that_end_are_no_finding(run):
    assert found(measured(run, end_of_text=(1.0, 0.91, 1.0)), "end_of_text") == []


def test_repetition(run):
    (one,) = found(measured(run, repetition=(5.6, 3.4, 12.8)), "repetition")
    assert (one.severity, one.title) == (Severity.CRITICAL, "Transcripts repeat themselves")
    assert one.number == "Mean compression ratio 5.6 [3.4, 12.8], n = 40 transcripts; level ≤ 3"
    assert one.advice.startswith("Read the longest transcripts; if they loop, go back to the last checkpoint")
    (one,) = found(measured(run, repetition=(3.2, 2.1, 4.4)), "repetition")
    assert (one.severity, one.title) == (Severity.WARNING, "Some transcripts repeat themselves")
    assert found(measured(run, repetition=(2.9, 2.1, 3.4)), "repetition") == []


def test_empty_transcripts(run):
    (one,) = found(measured(run, empty=(0.3, 0.2, 0.4)), "empty")
    assert (one.severity, one.title) == (Severity.CRITICAL, "Transcripts are empty")
    assert one.number == "0.30 [0.20, 0.40] of the student's transcripts have no text, n = 40 transcripts; level ≤ 0.1"
    assert "Listen to the audio of empty transcripts" in one.advice


def test_unlikely_ends_weigh_less_while_the_labels_have_another_form(straight, make_run):
    low = {"student_end_likely__at_end": (0.3, 0.2, 0.4)}
    (one,) = found(measured(load(straight), "teacher", **low), "end_at_teachers_ends")
    assert (one.severity, one.title) == (Severity.WARNING, "The student finds the teacher's ends unlikely")
    assert one.number == (
        "The student gives the end of text at least 0.5 at 0.30 [0.20, 0.40] of the teacher's ends, n = 40 ends; "
        "level ≥ 0.95"
    )
    assert "go back to teacher data" in one.advice
    data = load(make_run([("base", (0, 50), "advance"), ("teacher data", (0, 50), "stay")], "data"))
    (one,) = found(measured(data, "teacher", **low), "end_at_teachers_ends")
    assert (one.severity, one.where) == (Severity.WARNING, "teacher data, step 100")
    assert one.advice.startswith("Do not begin on-policy training yet.")
    base = load(make_run([("base", (0, 50), "stay")], "base"))
    (one,) = found(measured(base, "teacher", **low), "end_at_teachers_ends")
    assert one.severity is Severity.NOTE
    assert one.advice.startswith("This may be the form of the labels")


def test_a_recipes_own_level_is_used(straight):
    ends = {"student_end_likely__at_end": (0.86, 0.77, 0.93)}
    assert len(found(measured(load(straight), "teacher", **ends), "end_at_teachers_ends")) == 1  # 0.95 of any pair
    assert READINESS["demo/switch/student_end_likely.at_end"].level < 0.77
    assert found(measured(load(resolve(straight, name="demo")), "teacher", **ends), "end_at_teachers_ends") == []


def test_stop_density_that_fell(run):
    made = measured(run, stop_density=(50.0, 45.0, 55.0))
    last = made.probes["statistic"].eq("stop_density") & made.probes["step"].eq(300)
    made.probes.loc[last, ["value", "low", "high"]] = [2.0, 1.5, 3.0]
    (one,) = found(made, "stop_density")
    assert one.severity is Severity.CRITICAL
    assert one.number == (
        "Ends in 1,000 tokens fell 25-fold: 50.0 [45.0, 55.0] at base, step 0, now 2.0 [1.5, 3.0], n = 40 tokens; "
        "level ≤ 10-fold"
    )
    made.probes.loc[last, ["value", "low", "high"]] = [4.9, 1.5, 12.0]
    assert found(made, "stop_density")[0].severity is Severity.WARNING  # 12 is not a tenth of 45
    made.probes.loc[last, ["value", "low", "high"]] = [5.0, 4.0, 6.0]
    assert found(made, "stop_density") == []
    made.probes.loc[last, ["value", "low", "high"]] = [0.0, 0.0, 0.1]
    assert "fell to none" in found(made, "stop_density")[0].number


def test_positions_that_are_lost(run):
    made = measured(run, funnel__misaligned=(400.0, math.nan, math.nan), funnel__blocked=(50.0, math.nan, math.nan))
    (one,) = found(made, "positions")
    assert (one.severity, one.title) == (Severity.WARNING, "Positions are lost")
    assert one.number == (  # the made-up run uses 1,200
        "72.7 % of the positions are used, 1,200 of 1,650 (a count; lost: misaligned 400, blocked 50); level ≥ 95 %"
    )
    assert one.advice.endswith(
        "Misaligned: tokenizers or prompts differ; `distill show` prints both models' view of one utterance."
    )
    made = measured(run, funnel__low_support=(1300.0, math.nan, math.nan))
    assert found(made, "positions")[0].severity is Severity.CRITICAL
    assert found(measured(run, funnel__blocked=(60.0, math.nan, math.nan)), "positions") == []


HIGH = {"top1_agreement": (0.959, 0.949, 0.966)}


def test_loops_that_agree(run):
    (one,) = found(measured(run, **HIGH, end_of_text=(0.4, 0.3, 0.5)), "loops_agree")
    assert (one.severity, one.title) == (Severity.CRITICAL, "Loops agree")
    assert one.number == (
        "Top-1 agreement 0.959 [0.949, 0.966], n = 40 positions; level ≥ 0.85; but transcripts that ended 0.400 "
        "[0.300, 0.500], n = 40 transcripts"
    )
    assert "`top1_agreement.without_repeats`, behind a precondition on `end_of_text`." in one.advice
    honest = {"top1_agreement__without_repeats": (0.5, 0.4, 0.6)}
    (one,) = found(measured(run, **HIGH, end_of_text=(1.0, 0.91, 1.0), **honest), "loops_agree")
    assert one.severity is Severity.WARNING
    assert one.number.endswith("but without repeats 0.500 [0.400, 0.600], n = 40 positions")
    sound = {"top1_agreement__without_repeats": (0.95, 0.9, 0.97)}
    assert found(measured(run, **HIGH, end_of_text=(1.0, 0.91, 1.0), **sound), "loops_agree") == []
    low = measured(run, end_of_text=(0.4, 0.3, 0.5), top1_agreement=(0.5, 0.4, 0.6))
    assert found(low, "loops_agree") == []  # nothing looks good


def test_agreement_without_repeats_a_little_below_the_level_is_no_loop(run):
    """Two numbers of one kind, the second over fewer positions; nothing loops."""
    near = {"top1_agreement": (0.870, 0.852, 0.888), "top1_agreement__without_repeats": (0.848, 0.820, 0.874)}
    sound = {"end_of_text": (1.0, 0.95, 1.0), "repetition": (0.9, 0.8, 1.0)}
    assert found(measured(run, **near, **sound), "loops_agree") == []
    assert found(measured(run, **near, **sound | {"end_of_text": (0.89, 0.8, 0.95)}), "loops_agree") == []
    apart = HIGH | {"top1_agreement__without_repeats": (0.84, 0.78, 0.9)}  # apart, and not certainly below 0.85
    assert found(measured(run, **apart, **sound), "loops_agree") == []
    for sign in ({"repetition": (3.2, 2.1, 4.4)}, {"end_of_text": (0.89, 0.8, 0.95)}):
        assert len(found(measured(run, **apart, **sound | sign), "loops_agree")) == 1


def test_a_student_that_loops_agrees_along_loops(run):
    row = pd.read_csv(STUDENTS, index_col="student").loc["loops"]
    names = ("top1_agreement", "top1_agreement.without_repeats", "repetition", "end_of_text")
    numbers = {name.replace(".", "__"): (row[name], row[f"{name}.low"], row[f"{name}.high"]) for name in names}
    (one,) = found(measured(run, **numbers), "loops_agree")
    assert one.severity is Severity.CRITICAL
    del numbers["end_of_text"]
    (one,) = found(measured(run, **numbers), "loops_agree")
    assert one.number.endswith("but without repeats 0.679 [0.598, 0.754], n = 40 positions")


def test_mass_that_is_high_on_a_collapse(run):
    mass = {"student_mass": (0.9997, 0.999, 0.9999)}
    (one,) = found(measured(run, **mass, end_of_text=(0.2, 0.1, 0.3)), "mass_on_collapse")
    assert one.severity is Severity.CRITICAL
    assert one.number == (
        "Student's mass on the teacher's set 1.000 [0.999, 1.000], n = 40 positions; level ≥ 0.9; but transcripts that "
        "ended 0.20 [0.10, 0.30], n = 40 transcripts; level ≥ 0.9"
    )
    assert one.advice.startswith("Ignore the mass")
    assert len(found(measured(run, **mass, repetition=(8.0, 6.0, 9.0)), "mass_on_collapse")) == 1
    assert found(measured(run, **mass, end_of_text=(1.0, 0.91, 1.0)), "mass_on_collapse") == []


def gated(path, gate, when_exhausted="stop"):
    stages = [
        {"name": name, "type": kind, "gate": gate, "when_exhausted": when_exhausted}
        for name, kind in (("base", "sft"), ("teacher data", "td"), ("on-policy", "opd"))
    ]
    return resolve(path, stages=stages, probe={"every": 200})


THRESHOLD = {"type": "threshold", "statistic": "top1_agreement", "at_least": 0.85}
COLLAPSE = {"type": "collapse", "limits": {"end_of_text": [0.9, None]}}


def test_a_stage_whose_steps_were_spent_before_its_gate_opened(straight):
    gated(straight, {"type": "any", "gates": [COLLAPSE, {"type": "precondition", "conditions": [], "then": THRESHOLD}]})
    rows = read_lines(straight / "decisions.jsonl")
    level = {"statistic": "top1_agreement", "states": "student", "side": "at_least", "level": 0.85, "bound": 0.612}
    rows[4]["levels"] = [level | {"satisfied": False}, level | {"satisfied": False, "group": "language=de"}]
    rows[5] |= {"gate": "exhausted", "reason": "its 100 steps are spent"}
    write_lines(straight / "decisions.jsonl", rows)
    (one,) = found(load(straight), "gate_shut")
    assert (one.severity, one.where) == (Severity.WARNING, "teacher data, step 200")
    assert one.number == (
        "100 steps were spent; bounds at its last reading, step 150: top1_agreement 0.612, needed ≥ 0.85; "
        "language=de: top1_agreement 0.612, needed ≥ 0.85"
    )
    assert one.advice.startswith("The next stage began although the gate had not let it")
    gated(straight, COLLAPSE)  # it only guards: no stage waits for it
    assert "gates left shut" in advisories(load(straight)).unmeasured


def test_which_gates_can_open():
    assert can_open(THRESHOLD)
    assert not can_open(COLLAPSE)
    assert not can_open({"type": "any", "gates": [COLLAPSE, COLLAPSE]})
    assert can_open({"type": "all", "gates": [COLLAPSE, {"type": "fixed_steps", "steps": 5}]})
    assert not can_open({"type": "of another trainer"})
    assert can_open({"type": "every_group", "of": "language", "gate": THRESHOLD})
    assert not can_open({"type": "every_group", "of": "language", "gate": COLLAPSE})


def test_a_gate_that_never_read(straight):
    gated(straight, THRESHOLD)
    rows = read_lines(straight / "decisions.jsonl")
    entry = [rows[0] | {"gate": "entry"}, rows[2] | {"gate": "exhausted"}]
    write_lines(straight / "decisions.jsonl", [*entry, *rows[3:]])
    (one,) = found(load(straight), "gate_never_read")
    assert (one.severity, one.where) == (Severity.WARNING, "base, step 100")
    assert one.number == "0 readings in 100 steps, a probe is due every 200"
    assert one.advice.endswith("Set `every` in [probe] below the steps of the shortest stage.")


def test_gates_that_fell_back_or_aborted(fell_back, make_run):
    (one,) = found(load(gated(fell_back, THRESHOLD)), "gate_fell_back")
    assert (one.severity, one.title) == (Severity.WARNING, "A gate fell back")
    assert (one.where, one.number) == ("on-policy, step 250", "After 50 steps: reading 6")
    stays = [("base", (0, 50), "advance"), ("on-policy", (0, 50), "abort")]
    (one,) = found(load(gated(make_run(stays, "aborted"), THRESHOLD)), "gate_fell_back")
    assert (one.severity, one.title) == (Severity.CRITICAL, "A gate aborted the run")
    assert found(load(gated(make_run(stays[:1], "sound"), THRESHOLD)), "gate_fell_back") == []


def refusing(path, taken):
    """A run whose on-policy steps were taken on these, in turn."""
    rows = read_lines(path / "metrics.jsonl")
    own = [row for row in rows if row["visit"] == 2]
    for row, on in zip(own, taken, strict=True):
        n, refused = {"rollouts": (16, 0), "off_policy": (0, 0)}.get(on, (16, 12))
        row["rejection"] = {"n": n, "refused": refused, "unfinished": refused, "taken_on": on, "in_a_row": 0}
    write_lines(path / "metrics.jsonl", rows)
    return load(path)


@pytest.mark.parametrize(
    ("n", "severity", "share"),
    [(4, Severity.NOTE, "4.0 %"), (30, Severity.WARNING, "30.0 %"), (60, Severity.CRITICAL, "60.0 %")],
)
def test_steps_that_were_refused(straight, n, severity, share):
    taken = ["teacher"] * (n - 1) + ["nothing"] + ["rollouts"] * (100 - n)
    (one,) = found(refusing(straight, taken), "refused_steps")
    assert (one.severity, one.title, one.where) == (severity, "Steps were refused", "on-policy, step 300")
    assert one.number == (
        f"{share} of the steps with rollouts were refused, {n} of 100 steps (a count), taken instead: {n - 1} on the "
        f"teacher's transcripts, 1 on nothing; {12 * n} rollouts refused"
    )


def test_no_step_was_refused(straight):
    assert found(refusing(straight, ["rollouts"] * 50 + ["off_policy"] * 50), "refused_steps") == []


def test_steps_off_policy_by_plan_are_no_steps_that_could_be_refused(straight):
    (one,) = found(refusing(straight, ["teacher"] * 40 + ["off_policy"] * 60), "refused_steps")
    assert one.severity is Severity.CRITICAL
    assert one.number.startswith("100.0 % of the steps with rollouts were refused, 40 of 40 steps (a count)")
    advice = advisories(refusing(straight, ["off_policy"] * 100))
    assert "refused steps" in advice.unmeasured


def test_an_error_rate_that_is_worse_than_at_the_start(straight):
    before, after = ({f"u{i:02d}": wrong + i % n for i in range(30)} for wrong, n in ((1, 3), (5, 2)))
    write_transcripts(straight, 200, "teacher data", before)
    write_transcripts(straight, 300, "on-policy", after)
    (one,) = found(load(straight), "worse_error_rate")
    assert (one.severity, one.title) == (Severity.CRITICAL, "WER is worse than at the stage's start")
    assert one.where == "on-policy, step 300"
    assert one.number.startswith("WER 20.0 → 55.0 %, +35.0 [")
    assert one.number.endswith("] points since step 200 (paired, 30 utterances, n = 300 words)")
    assert one.advice.startswith("Stop, and go back to the weights at the start of the stage")
    write_transcripts(straight, 300, "on-policy", before | {"u00": 2})  # one word more, of 300
    assert found(load(straight), "worse_error_rate") == []


def test_evaluated_transcripts_that_are_cut_off(straight):
    file = write_transcripts(straight, 300, "on-policy", dict.fromkeys((f"u{i:02d}" for i in range(40)), 1))
    assert "end of evaluated transcripts" in advisories(load(straight)).unmeasured
    frame = pd.read_parquet(file)
    frame.assign(finished=[i < 10 for i in range(40)]).to_parquet(file, index=False)
    (one,) = found(load(straight), "truncated_evaluation")
    assert (one.severity, one.title) == (Severity.CRITICAL, "Evaluated transcripts are cut off")
    assert one.number.startswith("0.25 [0.1")  # Clopper and Pearson: [0.127, 0.412]
    assert one.number.endswith("of the evaluated transcripts ended by themselves, n = 40 transcripts; level ≥ 0.9")
    assert "Raise `max_new_tokens` of [evaluation]" in one.advice
    frame.assign(finished=True).to_parquet(file, index=False)
    assert found(load(straight), "truncated_evaluation") == []


def test_the_worst_comes_first_and_equals_keep_the_order_of_the_rules(run):
    def rule(name, severity):
        made = Advisory(name, severity, name, "here", "1 of 2", "Look.")
        return Rule(name, f"about {name}", lambda _: [made])

    rules = [rule("a", Severity.NOTE), rule("b", Severity.CRITICAL), rule("c", Severity.WARNING)]
    rules += [rule("d", Severity.CRITICAL), Rule("e", "about e", lambda _: None)]
    advice = judged(run, rules)
    assert [one.rule for one in advice] == ["b", "d", "c", "a"]
    assert advice.headline == "Advisories, worst first: 2 × act now, 1 × look at this, 1 × note."
    assert advice.coverage == "Checked: about a, about b, about c, about d. Not measured in this run: about e."
    assert "- ACT NOW: b (here). 1 of 2. Look." in str(advice)
    assert "act now" in advice._repr_html_()
    collapse = {"end_of_text": (0.4, 0.3, 0.5), "repetition": (2.9, 2.0, 3.5), "student_mass": (0.99, 0.98, 0.995)}
    known = [
        one.rule
        for one in advisories(
            measured(measured(run, **collapse), "teacher", student_end_likely__at_end=(0.3, 0.2, 0.4))
        )
    ]
    assert known == ["end_of_text", "mass_on_collapse", "end_at_teachers_ends"]


def test_nothing_is_advised_before_anything_was_measured(make_run):
    path = make_run([("base", (0, 50), "stay")])
    for name in ("metrics", "decisions", "evaluations"):
        (path / f"{name}.jsonl").write_text("")
    (path / "probes/all.parquet").unlink()
    advice = advisories(load(path))
    assert isinstance(advice, Advisories)
    assert advice.headline == "Nothing can be advised yet."
    assert json.dumps(advice.coverage).startswith('"Not measured in this run: end of text')


def test_only_a_run_can_be_judged():
    with pytest.raises(ValueError, match=r"^run: expected a run, such as load\('runs/0'\), received a str"):
        advisories("runs/0")
