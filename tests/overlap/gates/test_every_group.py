"""A gate that every group of utterances must satisfy."""

import json
import math
import warnings

import numpy as np
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
from overlap.definitions.group_names import by_group, in_group, named_by_group
from overlap.errors import UserError

ENDS = "end_of_text"


def reading(statistic=ENDS, *, field="language", spread=0.02, **values):
    """Estimates of groups by name, with an interval of ± spread."""
    return {
        in_group(field, group, statistic): Estimate(value, 0.01, value - spread, value + spread, 40, 40)
        for group, value in values.items()
    }


def gate(**settings):
    return EveryGroup("language", Threshold(ENDS, at_least=0.9, **settings))


def test_it_advances_where_every_group_does_and_names_the_worst_first():
    assert gate().read(reading(de=0.95, en=0.99), 1).action is Action.advance
    decision = gate().read(reading(de=0.91, en=0.99, fr=0.5), 1)  # 0.89 and 0.48 miss 0.9
    assert decision.action is Action.stay
    assert decision.reason.startswith("language=fr: end_of_text 0.5 [0.48, 0.52] over 40 utterances")
    assert decision.reason.index("language=fr") < decision.reason.index("language=de") < decision.reason.index("=en")
    assert [one["group"] for one in decision.numbers["groups"]] == ["fr", "de", "en"]
    assert [one["decision"] for one in decision.numbers["groups"]] == ["stay", "stay", "advance"]
    assert decision.numbers["groups"][0]["numbers"]["bound"] == pytest.approx(0.48)
    assert [(level.group, level.satisfied) for level in decision.levels] == [
        ("language=fr", False),
        ("language=de", False),
        ("language=en", True),
    ]
    json.dumps(decision.numbers, allow_nan=False)


def test_groups_must_satisfy_it_at_the_same_reading_each_with_a_streak_of_its_own():
    one = gate(patience=2)
    said = [
        one.read(reading(**values), step).action
        for step, values in enumerate(
            [{"de": 1, "en": 0.5}, {"de": 1, "en": 1}, {"de": 0.5, "en": 1}, {"de": 1, "en": 1}, {"de": 1, "en": 1}]
        )
    ]
    assert said == [Action.stay] * 4 + [Action.advance]


def test_marks_are_of_each_group():
    """In "en" 0.6 is a fall, in "de" a rise: one mark for both would see neither."""
    one = EveryGroup("language", Plateau(ENDS, patience=1, on="value"))
    one.read(reading(de=0.3, en=0.9), 0)
    decision = one.read(reading(de=0.6, en=0.6), 1)
    assert decision.action is Action.stay
    assert {each["group"]: each["decision"] for each in decision.numbers["groups"]} == {"de": "stay", "en": "advance"}


def test_other_readings_are_not_looked_at():
    others = {ENDS: Estimate(0.1, 0.01, 0.08, 0.12, 90, 90), **reading(field="age", old=0.1)}
    assert gate().read(reading(de=0.99) | others, 1).action is Action.advance


def test_an_alarm_of_one_group_is_an_alarm_and_abort_comes_before_fall_back():
    guard = EveryGroup("language", Collapse({ENDS: (0.9, None)}))
    assert not guard.can_advance
    decision = guard.read(reading(de=0.5, en=0.99), 3)
    assert decision.action is Action.fall_back
    assert decision.reason.startswith(
        "language=de: end_of_text 0.5 [0.48, 0.52] over 40 utterances, 40 positions is be"
    )
    assert guard.read(reading(de=0.95, en=0.99), 4).action is Action.stay
    both = AnyOf(Collapse({ENDS: (0.9, None)}, action="fall_back"), Collapse({ENDS: (0.3, None)}, action="abort"))
    decision = EveryGroup("language", both).read(reading(de=0.5, en=0.1), 5)
    assert decision.action is Action.abort
    assert decision.reason.startswith("language=en")
    assert AllOf(gate(), guard).can_advance  # a guard has no vote


def test_a_group_that_appears_starts_from_nothing():
    one = gate(patience=2)
    one.read(reading(de=1), 1)
    assert one.read(reading(de=1, en=1), 2).action is Action.stay
    assert one.read(reading(de=1, en=1), 3).action is Action.advance


def test_without_a_group_that_was_read_before_it_does_not_advance():
    one = gate()
    assert one.read(reading(de=0.5, en=1), 1).action is Action.stay
    decision = one.read(reading(en=1), 2)
    assert decision.action is Action.stay
    assert decision.reason.startswith("no reading of language=de, which was read before; language=en: end_of_text 1 ")
    assert decision.numbers["absent"] == ["de"]
    one.reset()  # as a precondition does; which groups there are stays known
    assert one.read(reading(en=1), 3).action is Action.stay
    assert one.read(reading(de=1, en=1), 4).action is Action.advance


def test_the_state_of_an_absent_group_waits_for_it():
    one = gate(patience=2)
    one.read(reading(de=1, en=1), 1)
    one.read(reading(en=1), 2)
    assert one.read(reading(de=1, en=1), 3).action is Action.advance


def test_an_alarm_counts_while_a_group_is_absent():
    guard = EveryGroup("language", Collapse({ENDS: (0.9, None)}))
    guard.read(reading(de=1, en=1), 1)
    decision = guard.read(reading(en=0.2), 2)
    assert decision.action is Action.fall_back
    assert decision.reason.startswith("language=en")
    assert decision.reason.endswith("which was read before")


def test_a_statistic_that_is_undefined_in_one_group_is_no_evidence_and_comes_first():
    decision = gate().read(reading(de=0.2, en=1, fr=math.nan), 1)
    assert decision.action is Action.stay
    assert decision.reason.startswith("language=fr: end_of_text is undefined")


def test_readings_without_groups_are_told_once():
    one = gate()
    with pytest.warns(UserWarning, match="a group of language, such as language=VALUE/end_of_text, in"):
        decision = one.read({ENDS: Estimate(1, 0, 1, 1, 9, 9)}, 1)
    assert (decision.action, decision.reason) == (Action.stay, "no reading of a group of language")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.read({}, 2)


def test_many_groups_are_counted_and_stay_in_the_numbers():
    values = {f"l{i}": 0.5 + 0.05 * i for i in range(10)}  # 0.5 … 0.95: 0.90 misses by its interval
    decision = gate().read(reading(**values), 1)
    assert decision.reason.count("language=") == 3
    assert decision.reason.endswith("; 6 others: stay; 1 other: advance")
    assert len(decision.numbers["groups"]) == 10


def test_state_survives_a_resume_and_another_gates_state_is_refused():
    first, second = gate(patience=2), gate(patience=2)
    first.read(reading(de=1, en=0.5), 1)
    saved = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(saved)
    assert second.state_dict() == first.state_dict()
    first.read(reading(de=1, en=1), 2)
    assert second.state_dict() == saved  # a copy
    assert second.read(reading(de=1, en=1), 2).numbers["groups"][0]["numbers"]["streak"] == 1
    assert second.read(reading(de=1, en=1), 3).action is Action.advance
    with pytest.raises(UserError, match=r"gate state: this gate is every_group with \{'of': 'age'"):
        EveryGroup("age", Threshold(ENDS, at_least=0.9, patience=2)).load_state_dict(saved)
    with pytest.raises(UserError, match="gate state"):
        gate(patience=3).load_state_dict(saved)


def test_a_resumed_gate_still_misses_a_group():
    first, second = gate(), gate()
    first.read(reading(de=0.5, en=1), 1)
    second.load_state_dict(first.state_dict())
    assert second.read(reading(en=1), 2).action is Action.stay


def test_it_can_be_a_condition_and_stand_behind_one():
    agrees = Threshold("top1_agreement", at_least=0.8)
    one = Precondition(gate(), then=agrees)
    assert one.name == "precondition(every_group(language: threshold(end_of_text))) then threshold(top1_agreement)"
    assert one.grouped_by == ("language",)
    whole = {"top1_agreement": Estimate(0.9, 0.01, 0.88, 0.92, 900, 60)}
    assert one.read(whole | reading(de=0.5, en=1), 1).action is Action.stay
    assert one.read(whole | reading(de=1, en=1), 2).action is Action.advance
    then = Precondition(Threshold("top1_agreement", at_least=0.8), then=gate(patience=2))
    then.read(whole | reading(de=1), 1)
    assert then.read(whole | reading(de=1), 2).action is Action.advance
    assert EveryGroup("language", one.then).member_keys == ("gate",)
    assert EveryGroup("language", AnyOf(gate().gate, FixedSteps(7))).due_steps == {7}


def test_paired_changes_are_read_by_group():
    one = EveryGroup("language", Saturation("fixed.total_variation", min_delta=0.01, mode="min", patience=1))
    before = reading("fixed.total_variation", de=0.4, en=0.4)
    assert one.read(before, 0).action is Action.stay
    small = reading("fixed.total_variation.change", spread=0.001, de=0.0, en=-0.2)
    decision = one.read(before | small, 1)
    assert decision.action is Action.stay
    assert decision.reason.startswith("language=en: fixed.total_variation.change -0.2")
    flat = reading("fixed.total_variation.change", spread=0.001, de=0.0, en=0.0)
    assert one.read(before | flat, 2).action is Action.advance


def test_names_of_groups_hold_any_character_but_fields_no_equals_sign():
    odd = {"a/b=c": {ENDS: 0.9}, "": {ENDS: 0.8}, "d.e": {f"fixed.{ENDS}": 0.7}}
    named = named_by_group(odd, "speaker")
    assert by_group(named, "speaker") == odd
    assert by_group(named, "speake") == by_group(named, "age") == {}
    with pytest.raises(UserError, match=r'"own\.a/b" holds a slash'):
        named_by_group({"de": {"own.a/b": 1.0}}, "language")
    for field in ("", "a=b", None):
        with pytest.raises(UserError, match=r'every_group: of: expected the name of a field without "=", such as'):
            EveryGroup(field, Threshold(ENDS, at_least=0.9))


def test_what_cannot_be_read_by_group_is_refused():
    with pytest.raises(UserError, match="fixed_steps reads no statistic, so it is the same for every group"):
        EveryGroup("language", FixedSteps(3))
    with pytest.raises(UserError, match="there are no groups within groups"):
        EveryGroup("age", AnyOf(gate(), FixedSteps(3)))
    with pytest.raises(UserError, match="expected a gate to read for every group, received str"):
        EveryGroup("language", "threshold")


def test_the_worst_group_is_the_furthest_from_its_level_whatever_the_side():
    low = EveryGroup("language", Threshold("repetition", at_most=2.0))
    decision = low.read(reading("repetition", de=2.5, en=9.0, fr=1.0), 1)
    assert [one["group"] for one in decision.numbers["groups"]] == ["en", "de", "fr"]


def test_the_template_is_not_read():
    given = Threshold(ENDS, at_least=0.9, patience=2)
    one = EveryGroup("language", given)
    one.read(reading(de=1), 1)
    assert given.streak == 0
    assert repr(one).startswith("EveryGroup('language', Threshold(statistic='end_of_text'")
    assert one.statistics == (ENDS,)
    assert not one.opens_without_intervals


def test_plain_numbers_are_read_where_the_gate_judges_on_the_value():
    one = gate(on="value")
    assert one.read({"language=de/end_of_text": np.float32(0.95)}, 1).action is Action.advance
