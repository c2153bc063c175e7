"""Rows of different batches and ranks are different utterances, unless they are named."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import OverlapMeter, measure, packed_groups

SCORES = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (2 * torch.randn(40, 5, 9, generator=SCORES) for _ in range(2))
AT_ONCE = measure(STUDENT, TEACHER, k=3).summary()


def batches(size=4):
    return [measure(STUDENT[i : i + size], TEACHER[i : i + size], k=3) for i in range(0, 40, size)]


def meter_of(parts, groups=None):
    meter = OverlapMeter(k=3)
    for part in parts:
        meter.update(part, groups)
    return meter


@pytest.mark.parametrize("groups", [None, [0, 1, 2, 3], torch.arange(4), np.arange(4)[:, None], ["a", "b", "c", "d"]])
def test_equal_numbers_of_different_batches_are_different_utterances(groups):
    summary = meter_of(batches(), groups).compute()
    assert summary["union_size"].n_groups == 40
    for name, item in summary.items():
        assert (item.low, item.high) == pytest.approx((AT_ONCE[name].low, AT_ONCE[name].high), nan_ok=True)
        assert item.value == pytest.approx(AT_ONCE[name].value, nan_ok=True)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 13), st.lists(st.integers(0, 9), max_size=6))
def test_whatever_the_batch_size_and_the_meters(size, cuts):
    parts = batches(size)
    total = OverlapMeter(k=3)
    edges = sorted({0, len(parts), *(cut for cut in cuts if cut <= len(parts))})
    for begin, end in itertools.pairwise(edges):
        total.merge(meter_of(parts[begin:end]))
    assert total.compute() == meter_of(parts).compute()
    assert total.compute()["union_size"].n_groups == 40


def test_a_saved_meter_goes_on():
    first, second = meter_of(batches()[:5]), OverlapMeter(k=3)
    second.load_state_dict(first.state_dict())
    for part in batches()[5:]:
        second.update(part)
    assert second.compute() == meter_of(batches()).compute()


def test_names_join_what_was_split_and_stand_beside_rows():
    meter, whole = OverlapMeter(k=3), OverlapMeter(k=3)
    for part in (slice(0, 2), slice(2, 5)):
        meter.update(measure(STUDENT[:4, part], TEACHER[:4, part], k=3), names=["a", "b", "c", "d"])
    whole.update(measure(STUDENT[:4], TEACHER[:4], k=3), names=["a", "b", "c", "d"])
    assert meter.compute()["union_size"].n_groups == whole.compute()["union_size"].n_groups == 4
    assert meter.compute()["union_size"].high == pytest.approx(whole.compute()["union_size"].high)
    meter.update(measure(STUDENT[4:6], TEACHER[4:6], k=3))
    assert meter.compute()["union_size"].n_groups == 6
    again = OverlapMeter(k=3)
    again.load_state_dict(meter.state_dict())
    assert again.sums.keys == meter.sums.keys == ("row 0", "row 1", "a", "b", "c", "d")


def test_groups_or_names():
    with pytest.raises(ValueError, match=r"groups .* or names .* received both"):
        OverlapMeter(k=3).update(batches()[0], [0, 1, 2, 3], names=["a", "b", "c", "d"])


def test_packed_rows_are_their_utterances():
    lengths = [3, 1, 4, 2]
    position_ids = torch.cat([torch.arange(n) for n in lengths])[None]
    begins = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    packed = [packed_groups(position_ids=position_ids), packed_groups(cu_seqlens=begins)[None]]
    assert packed[0].tolist() == packed[1].tolist() == [np.repeat(range(4), lengths).tolist()]
    row = measure(STUDENT[:2].reshape(1, 10, 9), TEACHER[:2].reshape(1, 10, 9), k=3)
    for groups in packed:
        meter = OverlapMeter(k=3)
        meter.update(row, groups)
        assert meter.compute()["union_size"].n_groups == 4
    assert packed_groups(position_ids=torch.tensor([[5, 6], [7, 8]])).tolist() == [[0, 0], [1, 1]]
    assert packed_groups(cu_seqlens=torch.tensor([0, 0, 2])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of the two"),
        ({"position_ids": torch.zeros(3)}, r"position_ids: expected integers \[\.\.\., L\], received torch.float32"),
        (
            {"cu_seqlens": torch.tensor([0])},
            r"cu_seqlens: expected integers \[n \+ 1\], received torch.int64 of shape \[1",
        ),
        ({"cu_seqlens": torch.tensor([0, 3, 2])}, r"ascending integers from 0, received \[0, 3, 2\]"),
        ({"cu_seqlens": torch.tensor([1, 3])}, "ascending integers from 0"),
    ],
)
def test_what_packs_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        packed_groups(**options)
