"""Readings of clips without speech: counts by hand, scipy's exact intervals, and coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from overlap.definitions.names import ALL
from overlap.definitions.no_speech_statistics import NO_SPEECH_STATISTICS
from overlap.errors import UserError
from overlap.estimates.no_speech import no_speech_estimates, poisson_ends


def readings(words, seconds=10.0, finished=True, **options):
    n = len(words)
    return no_speech_estimates(words=words, seconds=[seconds] * n, finished=[finished] * n, **options)


def test_values_by_hand_with_clips_of_different_lengths():
    found = no_speech_estimates(words=[0, 6, 0, 2], seconds=[30, 60, 15, 15], finished=[True, False, True, True])
    assert found["invented_words"].value == 8 / 2  # words in two minutes
    assert found["clips_with_words"].value == 0.5
    assert found["unfinished_clips"].value == 0.25
    assert {(one.n_groups, one.n_positions, one.n_undefined) for one in found.values()} == {(4, 4, 0)}
    for one in found.values():
        assert one.low <= one.value <= one.high


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_ends_of_a_poisson_count_are_those_whose_tails_have_the_level(level):
    for events in (0, 1, 7, 40):
        low, high = poisson_ends(events, level)
        assert stats.poisson.cdf(events, high) == pytest.approx((1 - level) / 2)
        assert (stats.poisson.sf(events - 1, low) if events else (1 - level) / 2) == pytest.approx((1 - level) / 2)


def test_without_a_word_the_upper_ends_are_exact():
    found = readings([0] * 24)  # four minutes
    assert (found["invented_words"].low, found["invented_words"].value) == (0.0, 0.0)
    assert found["invented_words"].high == pytest.approx(-math.log(0.025) / 4)
    exact = stats.binomtest(0, 24).proportion_ci(0.95, "exact")
    assert found["clips_with_words"].high == pytest.approx(exact.high)
    assert found["unfinished_clips"].high == pytest.approx(exact.high)


def test_equal_clips_do_not_give_an_interval_without_width():
    one = readings([2] * 6)["invented_words"]
    assert one.value == pytest.approx(12.0)
    assert (one.low, one.high) == pytest.approx([end / 1.0 for end in poisson_ends(12, 0.95)])


def test_a_loop_in_one_clip_is_wider_than_a_poisson_count_of_its_words():
    one = readings([0] * 19 + [120])["invented_words"]
    assert one.high > poisson_ends(120, 0.95)[1] / (200 / 60)


def test_no_clips_and_one_clip_have_no_interval_from_resampling():
    none = readings([])
    assert all(math.isnan(one.value) and math.isnan(one.high) and one.n_groups == 0 for one in none.values())
    single = readings([3])
    assert single["invented_words"].value == 18.0
    assert math.isnan(single["invented_words"].low)


def test_the_interval_covers_clustered_words():
    """Every fifth clip has words, geometrically many: the truth is 0.2 · 5 words in ten seconds, 6 a minute."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        words = generator.geometric(0.2, 60) * (generator.random(60) < 0.2)
        one = readings(words.tolist(), draws=400)["invented_words"]
        inside += one.low <= 6.0 <= one.high
    assert 0.91 <= inside / 300 <= 0.99


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seconds": [1.0]}, "seconds: expected one value for each of the 2 clips, received 1"),
        ({"finished": [True]}, "finished: expected one value for each of the 2 clips, received 1"),
        ({"seconds": [1.0, 0.0]}, "seconds: expected the duration of each clip, received 0.0"),
        ({"seconds": [1.0, math.nan]}, "seconds: expected the duration of each clip, received nan"),
        ({"level": 1.5}, "level: expected a coverage between 0 and 1"),
    ],
)
def test_wrong_arguments_are_named(changed, words):
    right = {"words": [0, 1], "seconds": [1.0, 1.0], "finished": [True, True]}
    with pytest.raises(UserError, match=words):
        no_speech_estimates(**right | changed)


def test_they_are_defined_apart_from_what_gates_read():
    assert tuple(readings([0])) == tuple(NO_SPEECH_STATISTICS)
    assert not set(NO_SPEECH_STATISTICS) & set(ALL)
    for one in NO_SPEECH_STATISTICS.values():
        assert one.limits()[0] == 0.0
