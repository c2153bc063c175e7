"""Saturation is decided on the paired change of two readings, which their own intervals do not show."""

import json
import math
import warnings

import numpy as np
import pytest

from overlap import Action, Estimate, Saturation
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.paired_change import paired_change
from overlap.estimates.summary import estimate
from overlap.gates import Level, Plateau

NAN = math.nan
LETTERS = {Action.stay: "s", Action.advance: "a"}


def change(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, (high - low) / 4, low, high, 400, 20, 0)


def drive(gate, changes, *, every=10):
    letters = ""
    for number, item in enumerate(changes):
        summary = {} if item is None else {"own.x.change": item}
        decision = gate.read(summary, number * every)
        json.dumps(decision.numbers, allow_nan=False)
        letters += LETTERS[decision.action]
    return letters


STILL, UNCLEAR, RISES, FALLS = change(-0.004, 0.004), change(-0.1, 0.1), change(0.05, 0.09), change(-0.09, -0.05)
UNDEFINED = Estimate(NAN, NAN, NAN, NAN, 0, 0, 40)
LONELY = Estimate(0.0, NAN, NAN, NAN, 40, 1, 0)


@pytest.mark.parametrize(
    ("options", "changes", "expected"),
    [
        # certainly no improvement by more than min_delta; what is not known well enough is none
        ({"patience": 1}, [STILL, UNCLEAR, RISES, FALLS], "assa"),
        ({"patience": 1, "mode": "min"}, [STILL, UNCLEAR, RISES, FALLS], "asas"),
        # the limit itself is saturated
        ({"patience": 1}, [change(0.0, 0.01), change(0.0, 0.0101)], "as"),
        ({"patience": 1, "mode": "min"}, [change(-0.01, 0.0), change(-0.0101, 0.0)], "as"),
        # patience counts readings in a row
        ({"patience": 2}, [STILL, UNCLEAR, STILL, STILL, STILL, RISES, STILL], "sssaass"),
        # nothing to read neither counts nor resets
        ({"patience": 2}, [None, STILL, None, UNDEFINED, LONELY, STILL], "sssssa"),
        # the stage must have its steps; the streak runs meanwhile
        ({"patience": 1, "min_steps": 20}, [STILL, STILL, STILL], "ssa"),
        # small certain improvements are less than min_delta each
        ({"patience": 2}, [change(0.001, 0.005)] * 3, "saa"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*missing from the reading")
def test_saturation(options, changes, expected):
    assert drive(Saturation("own.x", min_delta=0.01, **options), changes) == expected


def test_it_says_why():
    gate = Saturation("fixed.vuss", min_delta=0.5, mode="min", patience=1, min_steps=20)
    assert gate.name == "saturation(fixed.union_size)"
    first = gate.read({"fixed.union_size": change(9, 10)}, 0)
    assert first.reason == "fixed.union_size.change is missing from the reading, as from the first one of a visit"
    assert first.levels == (Level("union_size.change", "fixed", "at_least", -0.5, None, False),)
    falls = gate.read({"fixed.union_size.change": change(-0.6, -0.2)}, 10)
    assert falls.reason == (
        "fixed.union_size.change -0.4 [-0.6, -0.2] over 20 utterances, 400 positions allows an improvement by more "
        "than 0.5 (0 readings of 1 needed)"
    )
    assert falls.levels == (Level("union_size.change", "fixed", "at_least", -0.5, -0.6, False),)
    rests = gate.read({"fixed.vuss.change": change(-0.4, 0.2)}, 15)
    assert rests.reason.endswith(
        "excludes an improvement by more than 0.5 (1 reading of 1 needed), but step 15 is before the 20 steps the "
        "stage must have"
    )
    assert gate.read({"fixed.union_size.change": UNDEFINED}, 20).reason == (
        "fixed.union_size.change is undefined (40 positions without a value)"
    )
    assert rests.numbers["bound"] == -0.4
    assert rests.numbers["streak"] == 1


def test_only_the_first_reading_may_lack_it_in_silence():
    gate = Saturation("own.x", min_delta=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gate.read({"own.x": STILL}, 0)
    with pytest.warns(UserWarning, match=r"saturation\(own\.x\): own\.x\.change is missing .* which holds own\.x; the"):
        gate.read({"own.x": STILL}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gate.read({"own.x": STILL}, 2)


def test_its_state_goes_on():
    gate, other = Saturation("own.x", min_delta=0.01, patience=3), Saturation("own.x", min_delta=0.01, patience=3)
    drive(gate, [STILL, STILL])
    other.load_state_dict(json.loads(json.dumps(gate.state_dict())))
    assert drive(other, [STILL]) == "a"
    other.reset()
    assert drive(other, [STILL]) == "s"
    with pytest.raises(ValueError, match="gate state: this gate is saturation with"):
        Saturation("own.x", min_delta=0.02, patience=3).load_state_dict(gate.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"statistic": "fixed.vuss.change"}, 'not its change, received "fixed.union_size.change"; write "fixed.union'),
        ({"statistic": "own.x.change"}, 'not its change, received "own.x.change"; write "own.x"'),
        ({"statistic": "top1_agrement"}, 'did you mean "top1_agreement"'),
        ({"min_delta": -0.1}, "min_delta: expected a number of at least 0, received -0.1"),
        ({"min_delta": NAN}, "min_delta: expected a number of at least 0, received nan"),
        ({"mode": "up"}, 'mode: expected "max" or "min", received \'up\''),
        ({"patience": 0}, "patience: expected a whole number of readings of at least 1, received 0"),
        ({"min_steps": 1.5}, "min_steps: expected a whole number of steps of at least 0, received 1.5"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        Saturation(**{"statistic": "own.x", "min_delta": 0.01, **settings})


def test_a_plain_number_has_no_interval():
    with pytest.raises(ValueError, match=r"own\.x\.change: received the plain number 0"):
        Saturation("own.x", min_delta=0.01).read({"own.x.change": 0.0}, 3)


def shares(hits: np.ndarray) -> GroupSums:
    """60 utterances of 20 positions each, of which so many are hits."""
    ones = np.ones((60, 1), int)
    return GroupSums(("own.x",), tuple(range(60)), hits[:, None] / 1.0, 20 * ones, 0 * ones)


def read(before: GroupSums, after: GroupSums) -> tuple[dict[str, Estimate], Action]:
    """Both marginal estimates of two readings, with what the gate says of their change."""
    gate = Saturation("own.x", min_delta=0.02, patience=1)
    marginal = [estimate(one, limits=(0, 1))["own.x"] for one in (before, after)]
    summary = {"own.x": marginal[1], **paired_change(before, after)}
    return dict(zip(("before", "after"), marginal, strict=True)), gate.read(summary, 10).action


def test_intervals_that_overlap_do_not_hide_a_certain_improvement():
    """Every utterance gains one position of 20, but utterances differ far more than that."""
    hits = np.random.default_rng(0).integers(0, 19, 60)
    marginal, action = read(shares(hits), shares(hits + 1))
    assert marginal["before"].low < marginal["after"].low < marginal["before"].value < marginal["before"].high
    assert marginal["after"].value < marginal["before"].high
    assert action is Action.stay
    # A plateau of the marginal interval takes this for the end of improvement.
    plateau = Plateau("own.x", min_delta=0.02, patience=1)
    assert [plateau.read({"own.x": one}, step).action for step, one in enumerate(marginal.values())][
        -1
    ] is Action.advance


def test_nor_a_certain_standstill():
    """Hardly a position changes, and intervals are so wide that an improvement by a multiple of min_delta is open."""
    hits = np.random.default_rng(0).integers(0, 19, 60)
    hardly = hits + (np.arange(60) % 12 == 0)
    marginal, action = read(shares(hits), shares(hardly))
    assert marginal["after"].high - marginal["before"].low > 5 * 0.02
    assert action is Action.advance


def test_narrow_intervals_do_not_feign_a_standstill():
    """All utterances are nearly alike in each reading, but half of them change places: what changed is not certain."""
    before = np.full(60, 10) + (np.arange(60) % 2) * 4
    after = np.full(60, 14) - (np.arange(60) % 2) * 4
    marginal, action = read(shares(before), shares(after))
    assert marginal["before"].value == marginal["after"].value
    found = paired_change(shares(before), shares(after))["own.x.change"]
    assert found.high > 1.5 * (marginal["after"].high - marginal["after"].value)
    assert action is Action.stay
