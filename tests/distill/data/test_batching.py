"""Batches by duration: every utterance once, within the limits, with little padding, and always the same."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.batching import duration_batches, padding_share

DURATIONS = st.lists(st.floats(0.1, 30.0), max_size=40)


@given(DURATIONS, st.integers(1, 9), st.none() | st.floats(1.0, 100.0))
def test_every_utterance_once_and_no_batch_beyond_the_limits(durations, size, seconds):
    batches = duration_batches(durations, size=size, seconds=seconds)
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
    for batch in batches:
        assert 1 <= len(batch) <= size
        if seconds is not None and len(batch) > 1:
            assert len(batch) * max(durations[i] for i in batch) <= seconds


@given(DURATIONS, st.integers(1, 9))
def test_from_the_longest_to_the_shortest(durations, size):
    order = [i for batch in duration_batches(durations, size=size) for i in batch]
    assert [durations[i] for i in order] == sorted(durations, reverse=True)
    assert all(len(batch) == size for batch in duration_batches(durations, size=size)[:-1])


def test_equally_long_ones_keep_their_order_and_batches_are_full():
    assert duration_batches([1.0, 2.0, 1.0, 2.0, 1.0], size=2) == [[1, 3], [0, 2], [4]]
    assert duration_batches([10.0, 10.0, 10.0, 1.0], size=4, seconds=20.0) == [[0, 1], [2, 3]]


def test_padding_is_what_reaches_up_to_the_longest():
    assert padding_share([1.0, 4.0, 3.0], [[0, 1], [2]]) == pytest.approx(3 / 11)
    assert padding_share({"a": 2.0, "b": 2.0}, [["a", "b"]]) == 0.0
    assert math.isnan(padding_share([], []))
