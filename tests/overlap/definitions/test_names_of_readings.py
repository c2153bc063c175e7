"""What is read, summed up or limited may go by the alias of a statistic, and not by both names at once."""

import math

import pytest

from overlap import Action, AllOf, AnyOf, Collapse, Estimate, OverlapSummary, Plateau, Threshold
from overlap.definitions import Ranges, checked
from overlap.definitions.names import change_of, changed_by, form_of, is_change, states_of, statistic_of

LOW = Estimate(3.0, 0.1, 2.8, 3.2, 400, 20, 0)
SPELLED = ("vuss", "VUSS", "Vuss", "union_size")


@pytest.mark.parametrize("read_as", SPELLED)
@pytest.mark.parametrize("made_with", SPELLED)
@pytest.mark.parametrize("states", ["", "fixed.", "student."])
def test_every_gate_finds_the_statistic_under_its_alias(read_as, made_with, states):
    reading, name = {"top1_agreement": LOW, f"{states}{read_as}": LOW}, f"{states}{made_with}"
    assert Threshold(name, at_most=5.0).read(reading, 1).action is Action.advance
    assert Collapse({name: (None, 2.0)}).read(reading, 1).action is Action.fall_back
    plateau = Plateau(name, mode="min", patience=1)
    assert [plateau.read(reading, step).action for step in (1, 2)] == [Action.stay, Action.advance]
    assert AllOf(Threshold(name, at_most=5.0)).read(reading, 1).action is Action.advance
    assert AnyOf(Threshold(name, at_most=5.0)).read(reading, 1).action is Action.advance


def test_plain_numbers_too():
    gate = Threshold("vuss", at_most=5.0, on="value")
    assert gate.read({"vuss": 3.0}, 1).action is Action.advance
    assert gate.read({"VUSS.lower": 3.0, "vuss": 9.0}, 1).action is Action.stay
    assert Threshold("vuss.upper", at_most=5.0, on="value").read({"VUSS.upper": 3.0}, 1).action is Action.advance


def test_a_statistic_under_both_names_is_refused():
    reading = {"vuss": LOW, "union_size": LOW}
    said = '"vuss" and "union_size" are one statistic, union_size; give it once'
    with pytest.raises(ValueError, match=f"reading: {said}"):
        Threshold("vuss", at_most=5.0).read(reading, 1)
    with pytest.raises(ValueError, match=f"summary: {said}"):
        OverlapSummary(reading)


def test_a_summary_of_aliases():
    summary = OverlapSummary({"vuss": LOW, "own.vuss": LOW}, k=8)
    assert list(summary) == ["union_size", "own.vuss"]
    assert summary["VUSS"] == summary["union_size"] == LOW
    assert OverlapSummary.from_dict(summary.to_dict()) == summary
    assert "union_size (VUSS)" in str(summary)
    with pytest.raises(ValueError, match=r"\['Vuss'\] are there already"):
        summary.extended({"Vuss": LOW})
    assert Threshold("union_size", at_most=5.0).read(summary, 1).action is Action.advance


def test_a_change_is_read_like_its_statistic():
    for spelled in ("vuss.change", "fixed.VUSS.change", "top1_agreement.without_repeats.change", "own.x.change"):
        assert Threshold(spelled, at_most=0.0, on="value").read({spelled: -1.0}, 1).action is Action.advance
    assert checked("fixed.vuss.change") == "fixed.union_size.change"
    assert statistic_of("teacher.vuss.before_repeats.change") == "union_size"
    assert states_of("fixed.total_variation.change") == ("fixed", "total_variation.change")
    assert states_of("own.x.change") == (None, "own.x.change")
    assert form_of("student_end_mass.at_end.change") == "at_end"
    assert is_change("forward_kl.lower.change")
    assert not any(map(is_change, ("change", "fixed.total_variation", "own.change_of_mine")))
    assert changed_by(change_of("fixed.union_size")) == "fixed.union_size"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("top1_agrement.change", 'there is no "top1_agrement.change"; did you mean "top1_agreement"'),
        ("total_variation.change.change", "there is no"),
        ("total_variation.change.lower", "there is no"),
        ("end_of_text.at_end.change", 'end_of_text has no form "at_end"; it has none'),
        ("change", 'there is no "change"'),
    ],
)
def test_changes_of_what_does_not_exist_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        checked(name)


def test_a_change_lies_between_the_largest_fall_and_the_largest_rise():
    assert Ranges(4).limits("fixed.total_variation.change") == (-1.0, 1.0)
    assert Ranges(4, one_vocabulary=True).limits("union_size.change") == (-4.0, 4.0)
    assert Ranges(4).limits("forward_kl.change") == (-math.inf, math.inf)
    assert Ranges().limits("own.x.change") == (-math.inf, math.inf)
    assert Ranges(4, one_vocabulary=True).certain("student_size.change")
