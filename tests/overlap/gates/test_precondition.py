"""Overlap opens nothing where transcripts do not end."""

import math

import pytest

from overlap import (
    Action,
    AllOf,
    AnyOf,
    Collapse,
    Estimate,
    EveryGroup,
    FixedSteps,
    Plateau,
    Precondition,
    Saturation,
    Threshold,
)
from overlap.errors import UserError
from overlap.estimates.bootstrap import unseen_share
from overlap.estimates.sequences import utterance_estimates
from overlap.gates.opening import fewest_utterances

ENDS = "end_of_text"
AGREE = "top1_agreement.without_repeats"


def gate(patience=1):
    return Precondition(Threshold(ENDS, at_least=0.9), then=Threshold(AGREE, at_least=0.8, patience=patience))


def reading(ended, agreement):
    return {
        ENDS: Estimate(ended, 0.01, ended - 0.02, min(1, ended + 0.02), 60, 60, 0),
        AGREE: Estimate(agreement, 0.01, agreement - 0.02, agreement + 0.02, 900, 60, 0),
    }


def test_a_looping_student_that_agrees_does_not_advance_and_the_reason_says_why():
    decision = gate().read(reading(0.4, 0.959), 100)
    assert decision.action is Action.stay
    assert decision.reason.startswith("threshold(end_of_text) does not hold: end_of_text 0.4 [0.38, 0.42] over 60")
    assert decision.reason.endswith("threshold(top1_agreement.without_repeats) is not read")
    assert [level.statistic for level in decision.levels] == [ENDS]


def test_it_advances_where_both_hold_and_stays_where_only_the_end_does():
    both, alone = gate().read(reading(0.99, 0.9), 1), gate().read(reading(0.99, 0.7), 1)
    assert (both.action, alone.action) == (Action.advance, Action.stay)
    assert [level.statistic for level in both.levels] == [ENDS, AGREE]
    assert both.reason.startswith(f"{AGREE} 0.9 [")


def test_a_reading_without_its_condition_interrupts_the_streak():
    one = gate(patience=2)
    actions = [one.read(reading(*values), step).action for step, values in enumerate([(1, 0.9), (0.5, 0.9), (1, 0.9)])]
    assert actions == [Action.stay] * 3
    assert one.read(reading(1, 0.9), 4).action is Action.advance


def test_missing_or_undefined_ends_are_no_evidence():
    undefined = reading(math.nan, 0.95)
    assert gate().read(undefined, 1).action is Action.stay
    with pytest.warns(UserWarning, match="end_of_text is missing"):
        assert gate().read({AGREE: reading(1, 0.95)[AGREE]}, 1).action is Action.stay


def test_state_survives_a_resume_and_another_gates_state_is_refused():
    first, second = gate(patience=2), gate(patience=2)
    first.read(reading(1, 0.9), 1)
    second.load_state_dict(first.state_dict())
    assert second.read(reading(1, 0.9), 2).action is Action.advance
    with pytest.raises(UserError, match="gate state: this gate is precondition"):
        gate(patience=3).load_state_dict(first.state_dict())


def test_guards_stand_beside_it():
    with pytest.raises(UserError, match=r"collapse.* never advances, so nothing would ever open; guard with it beside"):
        Precondition(Threshold(ENDS, at_least=0.9), then=Collapse({"repetition": (None, 3.0)}))
    with pytest.raises(UserError, match="expected at least one condition before the gate"):
        Precondition(then=FixedSteps(3))
    guarded = AnyOf(gate(), Collapse({ENDS: (0.9, None)}))
    assert guarded.read(reading(0.4, 0.99), 5).action is Action.fall_back


@pytest.mark.parametrize(
    "condition",
    [
        Threshold(ENDS, at_least=0.9, release=0.3),
        Plateau(ENDS),
        Saturation(ENDS, min_delta=0.01),
        AllOf(Threshold(ENDS, at_least=0.9), Plateau(ENDS)),
        EveryGroup("language", Threshold(ENDS, at_least=0.9, release=0.3)),
        Precondition(Threshold(ENDS, at_least=0.9), then=Plateau(AGREE)),
    ],
)
def test_conditions_that_may_hold_on_bad_ends_are_refused(condition):
    with pytest.raises(UserError, match=r"may hold at readings below its level.*write a threshold without release"):
        Precondition(condition, then=Threshold(AGREE, at_least=0.8))


def test_conditions_that_judge_each_reading_are_taken_and_the_gate_itself_may_be_any():
    ends = Threshold(ENDS, at_least=0.9, patience=2)
    guarded = AllOf(ends, FixedSteps(5), Collapse({ENDS: (0.5, None)}))
    for then in (Plateau(AGREE), Threshold(AGREE, at_least=0.8, release=0.7)):
        for condition in (ends, FixedSteps(3), guarded, AnyOf(ends, EveryGroup("language", ends))):
            assert Precondition(condition, then=then).then is then


def test_what_does_not_hold_is_told_where_nothing_else_may_open():
    bad, good = reading(0.4, 0.95), reading(0.99, 0.7)
    (words,) = gate().read(bad, 1).unmet
    assert words.startswith("threshold(end_of_text) does not hold: end_of_text 0.4")
    assert gate().read(good, 1).unmet == ()
    guard, other = Collapse({"repetition": (None, 3.0)}), Threshold(AGREE, at_least=0.8)
    loops = bad | {"repetition": Estimate(2.0, 0.1, 1.8, 2.2, 60, 60, 0)}
    assert AnyOf(gate(), guard).read(loops, 1).unmet == (words,)
    assert AllOf(gate(), other).read(loops, 1).unmet == (words,)
    assert AnyOf(gate(), other).read(loops, 1).unmet == ()
    by_group = {f"language=de/{name}": estimate for name, estimate in bad.items()}
    assert EveryGroup("language", gate()).read(by_group, 1).unmet == (f"language=de: {words}",)


def test_it_says_itself_and_can_be_combined():
    one = Precondition(Threshold(ENDS, at_least=0.9), FixedSteps(10), then=Plateau(AGREE))
    assert one.name == f"precondition({ENDS}, fixed_steps) then plateau({AGREE})"
    assert one.member_keys == ("conditions.0", "conditions.1", "then")
    assert one.statistics == (ENDS, AGREE)
    assert one.due_steps == {10}
    assert not one.opens_without_intervals
    assert repr(one).startswith("Precondition(Threshold(statistic='end_of_text'")
    assert AllOf(one, FixedSteps(1)).can_advance


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.98])
def test_the_smallest_probe_is_the_one_with_which_a_threshold_opens(level):
    n = fewest_utterances(Threshold(ENDS, at_least=level))
    assert fewest_utterances(Threshold("empty", at_most=round(1 - level, 2))) == n
    for size, opens in ((n - 1, False), (n, True)):
        if size < 2:
            continue
        assert (1 - unseen_share(size, size, 0.95) >= level) is opens
        ended = utterance_estimates({ENDS: [1.0] * size})
        action = Threshold(ENDS, at_least=level).read(ended, 1).action
        assert (action is Action.advance) is opens


def test_the_issues_example_and_levels_that_no_probe_reaches():
    assert utterance_estimates({ENDS: [1.0] * 60})[ENDS].low == pytest.approx(0.025 ** (1 / 60))
    assert fewest_utterances(Threshold(ENDS, at_least=1.0)) == math.inf
    assert fewest_utterances(Threshold("teacher.student_end_likely.at_end", at_least=0.95)) == 72
    at_value = Threshold("teacher.student_end_likely.at_end", at_least=0.95, on="value", min_utterances=50)
    assert fewest_utterances(at_value) == 50
    assert fewest_utterances(Collapse({ENDS: (0.9, None)})) == 1
    assert fewest_utterances(Threshold("top1_agreement", at_least=0.85)) == 2


def test_a_reading_on_too_few_utterances_is_no_evidence():
    one = Threshold(ENDS, at_least=0.9, on="value", min_utterances=61)
    decision = one.read(reading(1, 0.9), 3)
    assert decision.action is Action.stay
    assert decision.reason.endswith("over 60 utterances, 60 positions, fewer than the 61 needed")
