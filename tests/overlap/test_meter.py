import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from overlap import TOKEN_STATISTICS, GroupSums, OverlapMeter, measure


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
        total.update(measure(student, teacher, k=3, mask=mask), names)
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
    total.update(statistics, torch.tensor([[1, 1, 2], [2, 10, 10]]))
    total.update(statistics, ["b", "a"])
    assert total.sums.keys == (1, 2, 10, "a", "b")
    assert total.sums.counts[:, 0].tolist() == [2, 2, 2, 3, 3]


def test_state_and_pickle_round_trips():
    parts = batches()
    half = meter(parts[:2])
    restored = OverlapMeter(k=3, states="student")
    restored.load_state_dict(half.state_dict())
    pickled = pickle.loads(pickle.dumps(half))
    for copy in (restored, pickled):
        for student, teacher, mask, names in parts[2:]:
            copy.update(measure(student, teacher, k=3, mask=mask), names)
        assert_same(copy.compute(), meter(parts).compute())
    assert_same(half.compute(), meter(parts[:2]).compute())  # the original did not move along


def test_many_small_batches_are_compacted():
    total = OverlapMeter(k=2)
    statistics = measure(torch.randn(1, 3, 8), torch.randn(1, 3, 8), k=2)
    for number in range(3000):
        total.update(statistics, [number % 7])
    assert len(total._parts) < 1100
    assert total.sums.counts[:, 0].sum() == 9000
    assert len(total.sums.keys) == 7


def test_empty_and_reset():
    total = meter(batches())
    total.reset()
    for summary in (total.compute(), OverlapMeter().compute()):
        assert list(summary) == list(TOKEN_STATISTICS)
        assert summary["jaccard"].n_positions == summary["jaccard"].n_groups == 0
        assert math.isnan(summary["jaccard"].value)


def test_reduce_of_one_process_is_a_copy():
    total = meter(batches())
    copy = total.reduce()
    total.reset()
    assert_same(copy.compute(), meter(batches()).compute())


RANK = """
import sys, torch
from overlap import OverlapMeter
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
mine = OverlapMeter(k=3, states="student")
mine.load_state_dict(torch.load(f"{folder}/in-{rank}.pt", weights_only=False))
total = mine.reduce()
again = mine.reduce()  # nothing is counted twice
assert (total.sums.counts == again.sums.counts).all()
torch.save(total.state_dict(), f"{folder}/out-{rank}.pt")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_reduce_over_ranks(tmp_path):
    for rank in range(2):
        torch.save(meter(batches()[rank::2]).state_dict(), tmp_path / f"in-{rank}.pt")
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=300) for process in ranks] == [0, 0]
    for rank in range(2):
        total = OverlapMeter(k=3, states="student")
        total.load_state_dict(torch.load(tmp_path / f"out-{rank}.pt", weights_only=False))
        assert_same(total.compute(), meter(batches()).compute())


def test_refusals():
    total = OverlapMeter(k=3, states="student")
    statistics = measure(torch.randn(2, 8), torch.randn(2, 8), k=2)
    with pytest.raises(
        ValueError, match=r"statistics: expected k = 3 and temperature = 1 .* received k = 2 and temperature = 1"
    ):
        total.update(statistics, [0, 1])
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
