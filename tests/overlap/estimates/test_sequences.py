import math
import zlib

import numpy as np
import pytest

from overlap import sequence_estimates, utterance_estimates
from overlap.definitions import SEQUENCE_STATISTICS
from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.sequences import length_ratio, repetition, sequence_values, stop_density, token_rate
from overlap.estimates.summary import estimate


def test_repetition():
    loop, plain = "the the " * 100, "He hoped there would be stew for dinner, turnips and carrots."
    assert repetition(loop) == len(loop.encode()) / len(zlib.compress(loop.encode())) > 20
    assert repetition(plain) < 1.2
    assert math.isnan(repetition(""))
    assert repetition("语音") == 6 / len(zlib.compress("语音".encode()))
    assert repetition("\ud800") > 0  # half a surrogate pair, as a broken decoder may give


def test_lengths():
    assert length_ratio("abcd", "ab") == 2.0
    assert length_ratio("", "ab") == 0.0
    assert math.isnan(length_ratio("ab", ""))
    assert math.isnan(length_ratio("ab", None))
    assert token_rate(12, 4.0) == 3.0
    assert math.isnan(token_rate(3, 0.0))


def test_sequence_estimates():
    texts = ["one two", "", "a a a a a a a a a a a a"]
    estimates = sequence_estimates(
        texts=texts,
        n_tokens=[3, 0, 64],
        finished=[True, True, False],
        references=["one two", "three", None],
        seconds=[1.5, 2.0, 0.0],
        recut=[0.25, math.nan, 0.75],
    )
    names = ["repetition", "n_tokens", "end_of_text", "empty", "length_ratio", "token_rate", "recut", "stop_density"]
    assert list(estimates) == names
    assert set(estimates) == set(SEQUENCE_STATISTICS)
    assert estimates["end_of_text"].value == pytest.approx(2 / 3)
    assert estimates["empty"].value == pytest.approx(1 / 3)
    assert estimates["n_tokens"].value == pytest.approx(67 / 3)
    assert estimates["repetition"].value == pytest.approx((repetition(texts[0]) + repetition(texts[2])) / 2)
    assert estimates["length_ratio"].value == 0.5
    assert estimates["token_rate"].value == 1.0
    assert estimates["recut"].value == 0.5
    assert [item.n_undefined for item in estimates.values()] == [1, 0, 0, 0, 1, 1, 1, 0]
    assert all(item.n_groups == item.n_positions for name, item in estimates.items() if name != "stop_density")
    assert set(sequence_estimates(texts=["a"], n_tokens=[1], finished=[True])) == {
        "repetition",
        "n_tokens",
        "end_of_text",
        "empty",
        "stop_density",
    }
    assert sequence_values(texts=[" \n"], n_tokens=[1], finished=[True])["empty"].tolist() == [1.0]


def test_batches_add_up_to_the_whole():
    texts = ["one two", "", "a a a a a a a a a a a a", "four"]
    whole = {
        "texts": texts,
        "n_tokens": [3, 0, 64, 2],
        "finished": np.array([True, True, False, True]),
        "references": ["one two", "three", None, "fours"],
        "seconds": [1.5, 2.0, 0.0, 1.0],
    }
    names = ["w", "x", "y", "z"]
    parts = [
        GroupSums.from_values(
            sequence_values(**{name: column[start:stop] for name, column in whole.items()}), names[start:stop]
        )
        for start, stop in ((2, 4), (0, 1), (1, 2))
    ]
    merged, at_once = estimate(GroupSums.merged(parts)), sequence_estimates(**whole)
    assert at_once.pop("stop_density").value == pytest.approx(1000 * 3 / 72)
    for name, item in at_once.items():
        assert repr(merged[name]) == repr(item)  # NaN compares unequal to itself


def test_any_values_by_other_groups():
    item = utterance_estimates({"wer": [0.1, 0.3, 0.2, math.nan]}, ["anna", "anna", "bert", "carl"])["wer"]
    assert item.value == pytest.approx(np.mean([0.1, 0.3, 0.2]))
    assert (item.n_positions, item.n_groups, item.n_undefined) == (3, 2, 1)
    assert utterance_estimates({"wer": []})["wer"].n_positions == 0
    assert utterance_estimates({}) == {}


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="references: expected one value for each of the 1 utterances, received 2"):
        sequence_estimates(texts=["a"], n_tokens=[1], finished=[True], references=["a", "b"])
    with pytest.raises(ValueError, match="seconds: expected one value for each of the 1 utterances, received 0"):
        sequence_estimates(texts=["a"], n_tokens=[1], finished=[True], seconds=[])
    with pytest.raises(ValueError, match="finished: expected one value for each of the 2 utterances, received 3"):
        sequence_estimates(texts=["a", "b"], n_tokens=[1, 2], finished=[True] * 3, seconds=[1.0, 2.0])
    with pytest.raises(ValueError, match="n_tokens: expected one value for each of the 2 utterances, received 1"):
        sequence_estimates(texts=["a", "b"], n_tokens=[1], finished=[True, True])
    with pytest.raises(ValueError, match="b: expected one value for each of the 1 utterances, received 2"):
        utterance_estimates({"a": [1.0], "b": [1.0, 2.0]})


def test_stop_density_is_ends_per_thousand_positions():
    """1000 (1 - truncated share) / mean length, whatever the lengths; its interval is that of the ratio."""
    rng = np.random.default_rng(0)
    lengths, finished = rng.integers(0, 40, 30), rng.random(30) < 0.7
    found = stop_density(lengths.tolist(), finished.tolist())
    positions = lengths + finished
    assert found.value == pytest.approx(1000 * finished.mean() / positions.mean())
    assert found.n_groups == int((positions > 0).sum())
    ratios = []
    for _ in range(4000):
        drawn = rng.integers(0, 30, 30)
        ratios.append(1000 * finished[drawn].sum() / positions[drawn].sum())
    assert found.standard_error == pytest.approx(np.std(ratios), rel=0.15)
    assert found.low < found.value < found.high
    with pytest.raises(UserError, match="finished: expected one value for each of the 2 utterances, received 1"):
        stop_density([3, 4], [True])
