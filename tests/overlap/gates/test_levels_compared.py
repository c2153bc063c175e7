"""The levels that a gate held a reading against, as facts beside its sentence."""

import pytest

from overlap import AllOf, Collapse, Estimate, FixedSteps, Plateau, Threshold
from overlap.gates import Level


def reading(low, value, high):
    return Estimate(value, 0.1, low, high, 400, 20, 0)


def test_a_threshold_compares_the_end_that_leaves_no_doubt():
    found = {"top1_agreement": reading(0.8, 0.9, 0.95), "fixed.union_size": reading(9.0, 10.0, 11.0)}
    rising = Threshold("top1_agreement", at_least=0.85).read(found, 0)
    assert rising.levels == (Level("top1_agreement", "student", "at_least", 0.85, 0.8, False),)
    falling = Threshold("fixed.vuss", at_most=12.0).read(found, 0)
    assert falling.levels == (Level("union_size", "fixed", "at_most", 12.0, 11.0, True),)
    value = Threshold("top1_agreement", at_least=0.85, on="value").read(found, 0)
    assert value.levels[0].bound == 0.9


def test_a_limit_is_left_when_the_far_end_is_beyond_it():
    gate = Collapse({"repetition": (0.5, 3.0), "teacher.forward_kl.lower": (None, 1.0)})
    found = {"repetition": reading(3.5, 4.0, 4.5), "teacher.forward_kl.lower": reading(0.5, 1.5, 2.0)}
    assert gate.read(found, 0).levels == (
        Level("repetition", "student", "lowest", 0.5, 4.5, True),
        Level("repetition", "student", "highest", 3.0, 3.5, False),
        Level("forward_kl.lower", "teacher", "highest", 1.0, 0.5, True),
    )
    on_value = Collapse({"repetition": (0.5, 3.0)}, on="value").read({"repetition": 4.0}, 0)
    assert [(level.bound, level.satisfied) for level in on_value.levels] == [(4.0, True), (4.0, False)]


def test_a_plateau_has_its_mark_after_the_reading():
    gate = Plateau("jaccard")
    levels = [gate.read({"jaccard": reading(low, low + 0.1, 0.9)}, 0).levels[0] for low in (0.3, 0.35, 0.5)]
    assert [(level.level, level.bound, level.satisfied) for level in levels] == [
        (0.4, 0.3, False),
        (0.4, 0.35, False),
        (0.6, 0.5, True),
    ]


@pytest.mark.filterwarnings("ignore:.*missing from the reading")
def test_what_is_not_judged_meets_nothing():
    gates = (Threshold("jaccard", at_least=0.5), Collapse({"jaccard": (0.1, None)}))
    for gate in gates:
        (level,) = gate.read({}, 0).levels
        assert (level.bound, level.satisfied) == (None, False)
    assert Plateau("jaccard").read({}, 0).levels == ()


def test_combinations_join_the_levels_of_their_members():
    gate = AllOf(Threshold("own.dev.error_rate", at_most=0.2), FixedSteps(3))
    found = gate.read({"own.dev.error_rate": reading(0.1, 0.15, 0.19)}, 0)
    assert found.levels == (Level("own.dev.error_rate", None, "at_most", 0.2, 0.19, True),)
