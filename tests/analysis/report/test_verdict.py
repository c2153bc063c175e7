import math
from dataclasses import replace

import pytest

from analysis.report import Recommendation, StageFacts, Thresholds, verdict
from analysis.report.headline import headline
from analysis.report.verdict_types import ErrorChange, Standing
from overlap import Estimate
from overlap.gates import READINESS

NAN, INF = math.nan, math.inf
FORM = "top1_agreement.without_repeats"
READY = {"top1_agreement": 0.9, "student_mass": 0.9, "teacher_mass": 0.9, "repetition": 0.7, "end_of_text": 1.0}


def numbers(half=0.02, **values):
    return {name: Estimate(value, NAN, value - half, value + half, 1000, 0) for name, value in values.items()}


def warm(**after):
    return StageFacts("teacher data", "td", 100, 200, "advance", "it was time", after=numbers(**(READY | after)))


def change(low, high, since="its start", paired=True):
    value = (low + high) / 2
    before = Estimate(0.5, NAN, 0.45, 0.55, 617, 200)
    after = Estimate(0.5 + value, NAN, 0.45 + value, 0.55 + value, 617, 200)
    return ErrorChange("WER", before, after, Estimate(value, NAN, low, high, 617, 200), since, 617, paired)


def on_policy(errors=None, *, decision="end", before=None, **after):
    start = numbers(**(READY if before is None else before))
    return StageFacts(
        "on-policy", "opd", 200, 900, decision, "why", before=start, after=numbers(**(READY | after)), errors=errors
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (warm(), Recommendation.GO),
        (warm(top1_agreement=0.2), Recommendation.WAIT),
        (warm(student_mass=0.5), Recommendation.WAIT),
        (warm(teacher_mass=0.5), Recommendation.WAIT),
        (warm(top1_agreement=0.46), Recommendation.WAIT),  # the lower end, 0.44, is what counts
        (warm(top1_agreement=0.48), Recommendation.GO),
        (warm(repetition=9.0), Recommendation.STOP),
        (warm(repetition=3.01), Recommendation.GO),  # not certainly above the limit
        (warm(end_of_text=0.5), Recommendation.STOP),
        (warm(student_mapped_mass=0.3), Recommendation.STOP),
        (warm(student_mapped_mass=0.8, teacher_mapped_mass=0.9), Recommendation.GO),
        (StageFacts("base", "sft", 0, 100), Recommendation.UNKNOWN),
        (StageFacts("base", "sft", 0, 100, after=numbers(top1_agreement=0.9)), Recommendation.UNKNOWN),
        (StageFacts("base", "sft", 0, 100, after=numbers(top1_agreement=0.1)), Recommendation.WAIT),
        (warm(top1_agreement=NAN), Recommendation.UNKNOWN),
        (on_policy(change(-0.3, -0.2)), Recommendation.GO),
        (on_policy(change(-0.3, 0.01)), Recommendation.WAIT),
        (on_policy(change(0.01, 0.2)), Recommendation.STOP),
        (on_policy(None), Recommendation.UNKNOWN),
        (on_policy(change(NAN, NAN)), Recommendation.UNKNOWN),
        (on_policy(change(-0.3, -0.2), repetition=8.0), Recommendation.STOP),
        (on_policy(change(-0.3, -0.2), student_mass=0.7), Recommendation.STOP),  # 0.9 at the start
        (on_policy(change(-0.3, -0.2), student_mass=0.79), Recommendation.GO),  # not certainly below 0.8
        (on_policy(change(-0.3, -0.2), decision="fall_back"), Recommendation.STOP),
        (on_policy(change(-0.3, -0.2), decision="abort"), Recommendation.STOP),
        (replace(on_policy(change(-0.3, -0.2)), baseline=change(0.05, 0.1, "base")), Recommendation.WAIT),
        (replace(on_policy(change(-0.3, -0.2)), baseline=change(-0.05, 0.1, "base")), Recommendation.WAIT),
        (replace(on_policy(change(-0.3, -0.2)), baseline=change(-0.1, -0.05, "base")), Recommendation.GO),
    ],
)
def test_recommendations(facts, expected):
    found = verdict(facts)
    assert found.recommendation is expected
    assert found.reasons
    assert found.headline.lower().startswith(
        "not measured" if facts.kind != "opd" and expected == "unknown" else expected
    )


@pytest.mark.parametrize(
    ("value", "high", "n", "level", "recommendation"),
    [
        (0.001, 0.045, 80, 0.95, Recommendation.WAIT),
        (0.79, 0.87, 80, 0.7, Recommendation.GO),
        (0.79, 0.87, 80, 0.95, Recommendation.WAIT),
        (0.93, 0.98, 80, 0.95, Recommendation.GO),  # not certainly below the level
    ],
)
def test_a_student_that_does_not_know_where_to_end_is_not_ready(value, high, n, level, recommendation):
    likely = Estimate(value, NAN, value - 0.1, high, n, n)
    found = verdict(replace(warm(), likely=likely, likely_level=level))
    assert found.recommendation is recommendation
    [row] = [row for row in found.evidence if row.name == "teacher's ends that the student finds likely"]
    assert (row.threshold, row.counted) == (f"≥ {level:.2f}", f"{n} transcripts")
    if recommendation is Recommendation.WAIT:
        assert found.headline == "Wait: the student does not know where to end"


def test_thresholds_are_arguments():
    assert verdict(warm(), Thresholds(top1_agreement=0.95)).recommendation is Recommendation.WAIT
    assert verdict(warm(student_mass=0.5), Thresholds(student_mass=0.4)).recommendation is Recommendation.GO
    drained = on_policy(change(-0.3, -0.2), student_mass=0.7)
    assert verdict(drained, Thresholds(mass_loss=0.3)).recommendation is Recommendation.GO


def test_a_go_says_what_a_cautious_gate_would_still_wait_for():
    found = verdict(warm(top1_agreement=0.6, student_mass=0.95))
    (said,) = (reason for reason in found.reasons if "cautious" in reason)
    top, mass = (READINESS[f"any/switch/{name}"].bound for name in ("top1_agreement", "teacher_mass"))
    words = f"A cautious gate waits for top-1 agreement {top}, teacher's mass on the student's set {mass}."
    assert said.endswith(words)
    sure = warm(top1_agreement=0.95, student_mass=0.95, teacher_mass=0.95)
    assert not any("cautious" in reason for reason in verdict(sure).reasons)


def test_evidence_shows_value_interval_count_and_threshold():
    rows = {(row.name, row.states): row for row in verdict(warm(top1_agreement=0.46)).evidence}
    row = rows["top-1 agreement", "student's rollouts"]
    assert (row.shown, row.counted, row.threshold) == ("0.460 [0.440, 0.480]", "1,000 positions", "≥ 0.45")
    assert row.standing is Standing.UNDECIDED
    assert row.source.startswith("error rate after OPD less Base's, points: ")


def test_what_was_not_measured_is_said_and_not_zero():
    rows = verdict(StageFacts("base", "sft", 0, 100, after=numbers(top1_agreement=NAN))).evidence
    assert [row.shown for row in rows[:2]] == ["undefined", "not measured"]
    assert rows[0].standing is rows[1].standing is Standing.UNMEASURED


def with_number(facts, name, value, low, high):
    return replace(facts, after={**facts.after, name: Estimate(value, NAN, low, high, 1, 0)})


@pytest.mark.parametrize("value", [0.1, 0.9])
def test_a_number_without_an_interval_decides_nothing_and_says_so(value):
    found = verdict(with_number(warm(), "top1_agreement", value, NAN, NAN))
    assert found.evidence[0].standing is Standing.UNDECIDED
    assert found.recommendation is Recommendation.UNKNOWN
    assert found.headline == "Unknown: no interval, so nothing is certain"
    assert f"{value:.3f} (no interval) cannot be compared with ≥ 0.45 (1 position)" in found.reasons[0]
    assert "probe more" in found.reasons[-1]
    sign = verdict(with_number(on_policy(change(-0.3, -0.2)), "repetition", 8.0, NAN, NAN))
    assert sign.recommendation is Recommendation.GO  # one transcript is no certain collapse
    assert sign.headline == "Go: WER fell during OPD, but soundness not certain"
    assert "Repetition 8.000 (no interval) cannot be compared with" in sign.reasons[0]


@pytest.mark.parametrize(
    ("ends", "standing", "recommendation"),
    [
        ((-INF, 0.9), Standing.UNDECIDED, Recommendation.WAIT),
        ((-INF, 0.4), Standing.MISSED, Recommendation.WAIT),
        ((0.5, INF), Standing.MET, Recommendation.GO),
        ((0.4, INF), Standing.UNDECIDED, Recommendation.WAIT),
        ((-INF, INF), Standing.UNDECIDED, Recommendation.WAIT),
    ],
)
def test_infinite_ends_are_what_they_say(ends, standing, recommendation):
    found = verdict(with_number(warm(), "top1_agreement", 0.6, *ends))
    row = found.evidence[0]
    assert (row.standing, found.recommendation) == (standing, recommendation)
    assert "∞" in row.shown
    assert "inf" not in row.shown


def test_an_infinite_interval_of_a_change_holds_zero():
    errors = change(-0.3, -0.2)
    found = verdict(on_policy(replace(errors, change=replace(errors.change, high=INF))))
    assert found.recommendation is Recommendation.WAIT
    assert "−25.0 [−30.0, ∞] points" in found.reasons[0]


def without(facts, *names):
    return replace(facts, after={name: number for name, number in facts.after.items() if name not in names})


def test_a_good_verdict_says_that_soundness_was_not_measured():
    paid = on_policy(change(-0.3, -0.2))
    blind = verdict(replace(paid, after={}))
    assert blind.headline == "Go: WER fell during OPD, but soundness not measured"
    assert blind.reasons[0] == (
        "Not measured: repetition, transcripts that ended, mass on the teacher's set kept. A collapse would "
        'not show: run `distill probe` on the checkpoint of step 900; later runs need "student" among the `states` of '
        "the recipe's [probe]."
    )
    assert headline([blind]).endswith("needs a control run without it. Soundness not measured.")
    part = verdict(replace(without(paid, "student_mass"), before={}))
    assert part.headline == "Go: WER fell during OPD, but soundness measured in part"
    assert "a server's top-k log-probabilities do not determine it" in part.reasons[0]
    begun = verdict(replace(paid, before={}))
    assert "the checkpoint of step 200" in begun.reasons[0]
    ready = verdict(without(warm(), "repetition", "end_of_text"))
    assert (ready.recommendation, ready.headline) == (
        Recommendation.GO, "Go: ready for OPD, but soundness not measured",
    )  # fmt: skip
    sound = verdict(paid)
    assert sound.headline == "Go: WER fell during OPD"
    assert sound.reasons[-1] == (
        "No sign of collapse: repetition, transcripts that ended and mass on the teacher's set kept are within their "
        "limits."
    )


def test_a_stage_that_goes_on_is_not_judged_before_it_is_evaluated():
    going = verdict(replace(on_policy(None, decision="stay"), start_evaluated=True))
    assert going.recommendation is Recommendation.UNKNOWN
    assert going.headline == "Not judged yet: no evaluation since this stage began"
    assert "set `every` in the recipe's [evaluation]" in going.reasons[0]
    assert headline([going]) == (
        "OPD is not judged yet: no evaluation since this stage began (on-policy, steps 200 to 900 so far)."
    )
    errors = replace(change(-0.3, -0.2), until="at step 800")
    judged = verdict(on_policy(errors, decision="stay"))
    assert judged.headline == "Go: WER fell during OPD"
    assert "WER 50.0 → 25.0 % at step 800 since its start" in judged.reasons[0]
    assert headline([judged]).startswith(
        "WER fell 50.0 → 25.0 % at step 800 during on-policy training (on-policy, steps 200 to 900 so far). "
    )
    assert verdict(on_policy(None)).headline == "Unknown: not evaluated at its start"
    ended = verdict(replace(on_policy(None), start_evaluated=True))
    assert ended.headline == "Unknown: not evaluated at its end"
    assert "It is not known whether the error rate fell: not evaluated at its end (on-policy" in headline(
        [verdict(warm()), ended]
    )


@pytest.mark.parametrize(
    ("decision", "outcome", "reason", "expected"),
    [
        ("end", "finished", "the run's 340 steps are spent", "The run finished: the run's 340 steps are spent"),
        ("end", "finished", "", "The run finished"),
        ("abort", "aborted", "loops (no way back)", "The gate aborted the run at step 200: loops (no way back)"),
        ("advance", None, "0.9: at least 0.8", "The gate advanced at step 200: 0.9: at least 0.8"),
        ("stay", None, "", "The stage continues"),
    ],
)
def test_what_the_gate_decided_is_said_once(decision, outcome, reason, expected):
    assert verdict(replace(warm(), decision=decision, outcome=outcome, reason=reason)).gate == expected


def test_a_rise_in_errors_does_not_hold_against_readiness():
    found = verdict(replace(warm(), errors=change(0.1, 0.3)))
    assert found.recommendation is Recommendation.GO
    assert "WER 50.0 → 70.0 % since its start: +20.0 [10.0, 30.0] points (paired, 200 utterances)" in found.reasons[-1]


def test_where_a_stage_took_the_error_rate_and_overlap():
    before, after = numbers(top1_agreement=0.1, union_size=60), numbers(**READY, union_size=50)
    facts = replace(warm(), before=before, after=after, errors=change(0.1, 0.3))
    assert verdict(facts).moved == "WER 50.0 → 70.0 %, top-1 agreement 0.100 → 0.900, VUSS 60.00 → 50.00"
    assert verdict(replace(facts, before={}, errors=None)).moved == ""


def test_unpaired_differences_say_so():
    assert "not paired" in verdict(on_policy(change(-0.3, -0.2, paired=False))).reasons[0]


def test_fixed_states_and_the_start_are_context():
    facts = replace(warm(), before=numbers(top1_agreement=0.1), fixed_after=numbers(top1_agreement=0.3))
    rows = [row for row in verdict(facts).evidence if row.name == "top-1 agreement"]
    assert [row.states for row in rows] == [
        "student's rollouts",
        "student's rollouts, at the start",
        "fixed, at the end",
    ]
    assert {row.standing for row in rows[1:]} == {Standing.SHOWN}


def test_headlines():
    ready, paid = verdict(warm()), verdict(on_policy(change(-0.3, -0.2)))
    assert headline([ready, paid]) == (
        "The pair was ready for OPD after teacher data (step 200). "
        "WER fell 50.0 → 25.0 % during on-policy training (on-policy, steps 200 to 900). "
        "Attribution to OPD needs a control run without it."
    )
    assert headline([verdict(warm(top1_agreement=0.1))]) == (
        "The pair was not ready for OPD after teacher data (step 200): top-1 agreement 0.100 [0.080, 0.120], needed "
        "≥ 0.45. No on-policy stage has run."
    )
    unknown = verdict(StageFacts("base", "sft", 0, 100, "advance"))
    assert headline([unknown]).startswith("It is not known whether the pair was ready for OPD after base")
    assert verdict(on_policy(change(NAN, NAN))).headline == "Unknown: no interval on the change"
    going = verdict(replace(warm(top1_agreement=0.1), decision="stay"))
    assert headline([going]) == (
        "The pair is not ready for OPD (teacher data, step 200 so far): top-1 agreement 0.100 [0.080, 0.120], needed "
        "≥ 0.45. No on-policy stage has run yet."
    )
    going = verdict(replace(warm(), decision="stay"))
    assert headline([going]).startswith("The pair is ready for OPD (teacher data, step 200 so far). ")
    unsure = verdict(without(warm(), "repetition"))
    assert "ready for OPD after teacher data (step 200), but soundness measured in part. " in headline([unsure])
    assert headline([]) == "No stage can be judged yet: decisions.jsonl has no gate readings."


def test_agreement_without_repeats_is_read_where_it_is_recorded_and_named():
    looping = replace(warm(top1_agreement=0.97), after=numbers(**READY | {"top1_agreement": 0.97, FORM: 0.3}))
    found = verdict(looping)
    assert found.recommendation is Recommendation.WAIT
    assert found.reasons[0].startswith("Top-1 agreement without repeats 0.300")
    names = [row.name for row in found.evidence]
    assert names.count("top-1 agreement without repeats") == 1
    assert "top-1 agreement" in names  # beside it, not judged
    ready = replace(warm(), after=numbers(**READY | {FORM: 0.9}))
    assert verdict(ready).recommendation is Recommendation.GO
    before = replace(ready, before=numbers(**{FORM: 0.2}))
    assert "top-1 agreement without repeats 0.200 → 0.900" in verdict(before).moved
    assert (
        "top-1 agreement"
        not in verdict(replace(ready, before=numbers(top1_agreement=0.2), after=numbers(**{FORM: 0.9}))).moved
    )
