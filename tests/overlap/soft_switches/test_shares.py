"""Off-policy shares against values worked out by hand, and the errors of their settings."""

import math

import pytest

from overlap import Estimate
from overlap.errors import UserError
from overlap.gates import READINESS
from overlap.gates.opening import fewest_utterances
from overlap.soft_switches import LinearShare, OverlapShare


def estimate(value, low=math.nan, high=math.nan, n=60):
    return Estimate(value, math.nan, low, high, 20 * n, n)


def test_a_linear_share_by_hand():
    falling, rising = LinearShare(1.0, 0.2, steps=4), LinearShare(0.0, 0.5, steps=2)
    assert [falling.share(None, step).value for step in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert [rising.share(None, step).value for step in range(4)] == [0.0, 0.25, 0.5, 0.5]
    assert falling.share({"top1_agreement": 0.9}, 3) == falling.share(None, 3)
    assert falling.share(None, 3).reason == "3 of the 4 steps from 1 to 0.2"
    assert LinearShare(steps=300).share(None, 300).value == 0.0


@pytest.mark.parametrize(
    ("value", "share"), [(0.1, 1.0), (0.45, 1.0), (0.55, 0.75), (0.65, 0.5), (0.85, 0.0), (1, 0.0)]
)
def test_a_share_that_follows_agreement_by_hand(value, share):
    low, high = READINESS.level("top1_agreement", "least"), READINESS.level("top1_agreement")
    assert (low, high) == (0.45, 0.85)
    rule = OverlapShare("top1_agreement.without_repeats", low, high, on="value")
    found = rule.share({"top1_agreement.without_repeats": value}, 7)
    assert found.value == pytest.approx(share)
    assert found.reading == value


def test_smaller_is_better_in_mode_min():
    rule = OverlapShare("total_variation", 0.2, 0.6, mode="min", on="value")
    found = [rule.share({"total_variation": value}, 0).value for value in (0.7, 0.6, 0.5, 0.3, 0.2, 0.0)]
    assert found == pytest.approx([1.0, 1.0, 0.75, 0.25, 0.0, 0.0])


def test_the_worse_end_of_the_interval_decides():
    """0.5 lies half way from 0.4 to 0.6, its lower end at a quarter of the way; of a distance, its upper end does."""
    read = {"top1_agreement": estimate(0.5, 0.45, 0.58), "total_variation": estimate(0.5, 0.45, 0.58)}
    agreement, distance = OverlapShare("top1_agreement", 0.4, 0.6), OverlapShare("total_variation", 0.4, 0.6, "min")
    assert agreement.share(read, 0).value == pytest.approx(0.75)
    assert distance.share(read, 0).value == pytest.approx(0.9)
    assert [rule.share(read, 0).reading for rule in (agreement, distance)] == [0.45, 0.58]
    assert agreement.share(read, 0).reason == (
        "top1_agreement 0.5 [0.45, 0.58] over 60 utterances, 1200 positions: its lower end against low = 0.4 and "
        "high = 0.6"
    )
    assert "its upper end" in distance.share(read, 0).reason
    value = OverlapShare("top1_agreement", 0.4, 0.6, on="value").share(read, 0)
    assert (value.value, value.reading) == (pytest.approx(0.5), 0.5)


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        (None, "top1_agreement has not been read yet"),
        ({}, "top1_agreement is missing from the reading"),
        ({"top1_agreement": estimate(math.nan)}, "top1_agreement is undefined"),
        ({"top1_agreement": estimate(0.9)}, "without an interval"),
    ],
)
def test_without_a_reading_the_share_is_one_and_says_so(readings, reason):
    found = OverlapShare("top1_agreement", 0.4, 0.6).share(readings, 0)
    assert (found.value, found.reading) == (1.0, None)
    assert reason in found.reason


def test_an_alias_is_the_same_statistic():
    rule = OverlapShare("VUSS", 4.0, 8.0, mode="min", on="value")
    assert rule.statistics == ("union_size",)
    assert rule.share({"vuss": 6.0}, 0).value == 0.5


def test_the_fewest_utterances_with_which_it_reaches_zero():
    """The lower end of n ends of n utterances is 0.025^(1/n) (Clopper and Pearson 1934)."""
    assert fewest_utterances(OverlapShare("end_of_text", 0.5, 0.9)) == math.ceil(math.log(0.025) / math.log(0.9)) == 36
    assert fewest_utterances(OverlapShare("end_of_text", 0.5, 0.9, on="value")) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OverlapShare("top1_agreement", 0.8, 0.4), 'expected low below high, .* set mode="min" and keep'),
        (lambda: OverlapShare("top1_agreement", 0.4, math.nan), "high: expected a finite number"),
        (lambda: OverlapShare("top1_agrement", 0.4, 0.8), 'did you mean "top1_agreement"'),
        (lambda: OverlapShare("top1_agreement", 0.4, 0.8, mode="up"), 'mode: expected "max" or "min"'),
        (lambda: OverlapShare("top1_agreement", 0.4, 0.8, on="interval"), 'on: expected "bound" .* or "value"'),
        (lambda: LinearShare(1.2, 0.0, steps=3), "start: expected a number of at least 0 and at most 1, received 1.2"),
        (lambda: LinearShare(0.5, 0.5, steps=3), "expected start and end to differ, received 0.5 for both"),
        (lambda: LinearShare(steps=0), "steps: expected a whole number of steps of at least 1, received 0"),
        (lambda: LinearShare(steps=3).share(None, -1), "step: expected the whole number of steps"),
        (lambda: OverlapShare("top1_agreement", 0.4, 0.8).share({"top1_agreement": 0.5}, 0), r'or make .* on="value"'),
    ],
)
def test_errors(make, message):
    with pytest.raises(UserError, match=message):
        make()
