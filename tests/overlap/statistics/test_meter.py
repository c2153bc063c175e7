import copy
import functools
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import OverlapMeter, measure
from overlap.definitions import TOKEN_STATISTICS
from overlap.estimates.group_sums import GroupSums


def batches(n=4, seed=0):
    """Measured batches with the names of their utterances; some utterances come in two batches."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for number in range(n):
        student = torch.randn(3, 5, 16, generator=generator)
        teacher = student + torch.randn(3, 5, 16, generator=generator)
        mask = torch.rand(3, 5, generator=generator) < 0.8
        result.append((student, teacher, mask, [f"u{number + row}" for row in range(3)]))
    return result


def meter(parts, **options):
    total = OverlapMeter(k=3, states="student", **options)
    for student, teacher, mask, names in parts:
        total.update(measure(student, teacher, k=3, mask=mask), names=names)
    return total


def assert_same(a, b):
    assert list(a) == list(b)
    for name in a:
        x, y = a[name], b[name]
        assert (x.n_positions, x.n_groups, x.n_undefined) == (y.n_positions, y.n_groups, y.n_undefined)
        for field in ("value", "standard_error", "low", "high"):
            np.testing.assert_allclose(getattr(x, field), getattr(y, field), rtol=1e-12, atol=1e-12, err_msg=name)


def test_streaming_equals_everything_at_once():
    parts = batches()
    student, teacher, mask = (torch.cat([part[i] for part in parts]) for i in range(3))
    names = [name for part in parts for name in part[3]]
    whole = measure(student, teacher, k=3, mask=mask).summary(names, states="student")
    assert_same(meter(parts).compute(), whole)
    assert meter(parts).compute().states == "student"


def test_merging_in_any_order():
    meters = [meter([part]) for part in batches()]
    first = None
    for order in itertools.permutations(meters):
        total = OverlapMeter(k=3, states="student")
        for part in order:
            total.merge(part)
        if first is None:
            first = total
        assert total.sums.keys == first.sums.keys
        assert np.array_equal(total.sums.counts, first.sums.counts)
        assert np.array_equal(total.sums.undefined, first.sums.undefined)
        np.testing.assert_allclose(total.sums.sums, first.sums.sums, rtol=0, atol=1e-12)
        assert_same(total.compute(), first.compute())
    assert_same(first.compute(), meter(batches()).compute())


def test_integer_groups_per_position_and_mixed_keys():
    total = OverlapMeter(k=2)
    statistics = measure(torch.randn(2, 3, 8), torch.randn(2, 3, 8), k=2)
    total.update(statistics, names=torch.tensor([[1, 1, 2], [2, 10, 10]]))
    total.update(statistics, names=["b", "a"])
    assert total.sums.keys == (1, 2, 10, "a", "b")
    assert total.sums.counts[:, 0].tolist() == [2, 2, 2, 3, 3]


def test_state_and_pickle_round_trips():
    parts = batches()
    half = meter(parts[:2])
    restored = OverlapMeter(k=3, states="student")
    restored.load_state_dict(half.state_dict())
    pickled = pickle.loads(pickle.dumps(half))
    for other in (restored, pickled):
        for student, teacher, mask, names in parts[2:]:
            other.update(measure(student, teacher, k=3, mask=mask), names=names)
        assert_same(other.compute(), meter(parts).compute())
    assert_same(half.compute(), meter(parts[:2]).compute())  # the original did not move along


def test_many_small_batches_are_compacted():
    total = OverlapMeter(k=2)
    statistics = measure(torch.randn(1, 3, 8), torch.randn(1, 3, 8), k=2)
    for number in range(3000):
        total.update(statistics, names=[number % 7])
    assert len(total._parts) < 1100
    assert total.sums.counts[:, 0].sum() == 9000
    assert len(total.sums.keys) == 7


def test_its_settings_are_those_of_measure_unless_said():
    total = OverlapMeter()
    total.update(measure(torch.randn(2, 40), torch.randn(2, 40)), names=[0, 1])
    assert total.compute()["student_size"].value == 32


def test_empty_and_reset():
    total = meter(batches())
    total.reset()
    for summary in (total.compute(), OverlapMeter().compute()):
        assert list(summary) == list(TOKEN_STATISTICS)
        assert summary["jaccard"].n_positions == summary["jaccard"].n_groups == 0
        assert math.isnan(summary["jaccard"].value)


def test_reduce_of_one_process_is_a_copy():
    total = meter(batches())
    same = total.reduce()
    total.reset()
    assert_same(same.compute(), meter(batches()).compute())


@settings(deadline=None, max_examples=60)
@given(data=st.data(), n_shards=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_any_sharding_and_any_order_give_the_same(data, n_shards, seed):
    """Positions of 40 utterances dealt to shards at random, empty ones too, merged pairwise or all at once."""
    generator = np.random.default_rng(seed)
    names = np.array([f"u{i}" for i in range(40)])
    values = generator.lognormal(0, 6, size=(300, 2))  # over 15 orders of magnitude
    values[generator.random(values.shape) < 0.1] = np.nan
    group, shard = generator.integers(40, size=300), generator.integers(n_shards, size=300)

    def sums(rows):
        return GroupSums.from_values({"a": values[rows, 0], "b": values[rows, 1]}, names[group[rows]])

    seen = sorted({int(number) for number in group}, key=lambda number: f"u{number}")
    rows = [values[group == number] for number in seen]
    shards = [sums(shard == number) for number in range(n_shards)]
    merged = GroupSums.merged(data.draw(st.permutations(shards)))
    stepwise = functools.reduce(lambda a, b: GroupSums.merged([a, b]), data.draw(st.permutations(shards)))
    for result in (merged, stepwise):
        assert result.keys == tuple(f"u{number}" for number in seen)
        assert result.counts.tolist() == [(~np.isnan(row)).sum(0).tolist() for row in rows]
        assert result.undefined.tolist() == [np.isnan(row).sum(0).tolist() for row in rows]
        expected = [[math.fsum(column[~np.isnan(column)]) for column in row.T] for row in rows]
        np.testing.assert_allclose(result.sums, expected, rtol=1e-12, atol=0)
    assert merged.counts.tobytes() == stepwise.counts.tobytes()
    assert merged.undefined.tobytes() == stepwise.undefined.tobytes()


@pytest.mark.filterwarnings("error")
def test_infinities_of_both_signs_have_no_sum_and_do_not_warn():
    values = {"a": np.array([np.inf, -np.inf, np.inf, 1.0])}
    together = GroupSums.from_values(values, [0, 0, 1, 1])
    assert np.isnan(together.sums[0, 0])
    assert together.sums[1, 0] == np.inf
    apart = [GroupSums.from_values({"a": np.array([x])}, [0]) for x in (np.inf, -np.inf)]
    assert np.isnan(GroupSums.merged(apart).sums[0, 0])


def test_a_deep_copy_goes_its_own_way():
    parts = batches()
    half = meter(parts[:2])
    other = copy.deepcopy(half)
    for student, teacher, mask, names in parts[2:]:
        other.update(measure(student, teacher, k=3, mask=mask), names=names)
    assert_same(other.compute(), meter(parts).compute())
    assert_same(half.compute(), meter(parts[:2]).compute())


def test_a_state_is_loaded_by_torch_load_as_it_is(tmp_path):
    torch.save(meter(batches()).state_dict(), tmp_path / "state.pt")
    restored = OverlapMeter(k=3, states="student")
    restored.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert_same(restored.compute(), meter(batches()).compute())


def test_refusals():
    total = OverlapMeter(k=3, states="student")
    statistics = measure(torch.randn(2, 8), torch.randn(2, 8), k=2)
    with pytest.raises(
        ValueError, match=r"statistics: expected k = 3 and temperature = 1 .* received k = 2 and temperature = 1"
    ):
        total.update(statistics, names=[0, 1])
    with pytest.raises(ValueError, match="received k = 3 and temperature = 2; keep one meter for each setting"):
        total.merge(OverlapMeter(k=3, temperature=2.0, states="student"))
    with pytest.raises(
        ValueError, match="meter: expected states 'student', received 'fixed'; statistics of different states"
    ):
        total.merge(OverlapMeter(k=3, states="fixed"))
    with pytest.raises(ValueError, match="state: expected states 'student', received 'fixed'"):
        total.load_state_dict(OverlapMeter(k=3, states="fixed").state_dict())
    with pytest.raises(ValueError, match="state: expected k = 3"):
        total.load_state_dict(OverlapMeter(k=4, states="student").state_dict())
    with pytest.raises(ValueError, match=r"state: expected the statistics .* it was saved by another version"):
        total.load_state_dict({**total.state_dict(), "names": ["x"]})
    assert GroupSums.empty(["x"]).sums.shape == (0, 1)
