import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap.strata import length_bins, position_bins, relative_position_bins


def names(labels):
    return [None if code < 0 else labels.levels[code] for code in labels.codes.ravel()]


def test_position_counts_tokens_of_the_rollout():
    rollout = torch.tensor([[False, True, True, True, True], [True, False, False, False, False]])
    labels = position_bins(rollout, edges=(0, 1, 3))
    assert labels.levels == ("0", "1–2", "3+")
    assert names(labels) == [None, "0", "1–2", "1–2", "3+", "0", None, None, None, None]
    assert position_bins(rollout).levels[:4] == ("0", "1", "2–3", "4–7")
    assert names(position_bins(rollout, edges=(2,)))[:5] == [None, None, None, "2+", "2+"]


@given(arrays(bool, (3, 20)), st.integers(1, 12))
def test_relative_position_is_the_bin_of_the_middle(rollout, n):
    labels = relative_position_bins(rollout, n)
    assert len(labels.levels) == n
    for row, codes in zip(rollout, labels.codes, strict=True):
        length = row.sum()
        expected = [math.floor((i + 0.5) / length * n + 1e-9) for i in range(length)]
        assert codes[row].tolist() == expected
        assert (codes[~row] == -1).all()
        # The bins fill alike from both ends, but for middles that are bin boundaries.
        if not any((2 * i + 1) * n % (2 * length) == 0 for i in range(length)):
            assert codes[row].tolist() == [n - 1 - code for code in codes[row][::-1]]


def test_relative_levels():
    labels = relative_position_bins(torch.ones(1, 20, dtype=torch.bool))
    assert labels.levels[0] == "0–10 %"
    assert labels.levels[-1] == "90–100 %"
    assert np.bincount(labels.codes[0]).tolist() == [2] * 10
    assert names(relative_position_bins(np.array([[True]]), 3)) == ["33.3–66.7 %"]


@given(arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 50)), st.integers(1, 6))
def test_length_quantiles_of_counts(lengths, n):
    labels = length_bins(torch.tensor(lengths), n)
    assert (labels.codes >= 0).all()
    assert len(labels.levels) <= n
    order = np.argsort(lengths)
    assert (np.diff(labels.codes[order]) >= 0).all()
    for low in np.quantile(lengths, np.arange(n) / n):
        assert not set(labels.codes[lengths < low]) & set(labels.codes[lengths >= low])


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 60) | st.just(math.nan)), st.integers(1, 6))
def test_length_quantiles_of_seconds(lengths, n):
    labels = length_bins(lengths, n, name="seconds")
    assert labels.name == "seconds"
    assert ((labels.codes < 0) == np.isnan(lengths)).all()
    assert len(set(labels.levels)) == len(labels.levels) <= n


def test_given_edges():
    labels = length_bins([0.5, 1.0, 2.49, 7.0, math.nan], edges=(1, 2.5))
    assert labels.levels == ("1–2.5", "2.5+")
    assert names(labels) == [None, "1–2.5", "1–2.5", "2.5+", None]
    assert length_bins([3, 9], edges=(0, 5)).levels == ("0–4", "5+")
    assert length_bins([1, 2, 3, 4], 2).levels == ("1–2", "3+")
    assert length_bins([5, 5, 5]).levels == ("5+",)


def test_refusals():
    with pytest.raises(ValueError, match=r"rollout: expected a bool mask \[..., L\] .* received int64 of shape \[2\]"):
        position_bins(torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="rollout: expected a bool mask"):
        relative_position_bins(np.array(True))
    with pytest.raises(ValueError, match="n: expected a whole number of bins from 1 to 100, received 0"):
        relative_position_bins(torch.ones(2, dtype=torch.bool), 0)
    with pytest.raises(ValueError, match="edges: expected finite numbers in ascending order"):
        position_bins(torch.ones(2, dtype=torch.bool), edges=(0, 0))
    with pytest.raises(ValueError, match="edges: expected finite numbers in ascending order"):
        length_bins([1, 2], edges=())
    with pytest.raises(ValueError, match="seconds: expected one number for each utterance, received <U1"):
        length_bins(["a"], name="seconds")
    with pytest.raises(ValueError, match="n: expected a whole number of bins of at least 1, received 0"):
        length_bins([1, 2], 0)
