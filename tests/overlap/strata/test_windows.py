"""Windows of recordings as strata, of positions and of sums by utterance."""

import numpy as np
import pandas as pd
import pytest

from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums
from overlap.strata import Labels, StratumSums, by, windows

PLACES = [(0, 1), (0, 4), (1, 4), (2, 4), (3, 4), (0, 2), (1, 2)]


def test_pieces_are_whole_first_middle_or_last():
    labels = windows(PLACES)
    named = [labels.levels[code] for code in labels.codes]
    assert named == ["whole", "first", "middle", "middle", "last", "first", "last"]
    assert labels.name == "window"


@pytest.mark.parametrize("place", [(1, 1), (-1, 2), (0, 0)])
def test_a_number_beyond_its_count_is_refused(place):
    with pytest.raises(UserError, match="places: expected a number from 0"):
        windows([place])


def test_sums_by_utterance_give_the_frame_of_their_positions():
    generator = np.random.default_rng(0)
    values = {name: generator.random((7, 5)) for name in ("overlap_ratio", "forward_kl")}
    values["forward_kl"][2, 3] = np.nan
    names = np.array([f"u{i}" for i in range(7)])
    positions = by(values, windows(PLACES), names, states="student")
    sums = StratumSums.from_group_sums(GroupSums.from_values(values, names), windows(PLACES))
    pd.testing.assert_frame_equal(sums.frame(states="student"), positions)


def test_utterances_without_a_label_are_apart():
    sums = GroupSums.from_values({"overlap_ratio": np.ones(2)}, np.arange(2))
    frame = StratumSums.from_group_sums(sums, Labels("group", ("a",), np.array([0, -1]))).frame()
    assert frame["group"].tolist() == ["a", "unlabeled"]


def test_one_label_for_each_utterance_is_needed():
    sums = GroupSums.from_values({"overlap_ratio": np.ones(3)}, np.arange(3))
    with pytest.raises(UserError, match=r"window: expected one label for each of the 3 groups, received \[2\]"):
        StratumSums.from_group_sums(sums, windows(PLACES[:2]))
