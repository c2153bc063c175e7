"""Reduction over two real processes, against one meter that has seen everything."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from overlap import Funnel, OverlapMeter, measure
from overlap.estimates.distributed import gathered, reduce_funnel

TIMEOUT = 60

RANK = """
import datetime, sys
import torch
import torch.distributed as dist
from overlap import Funnel, OverlapMeter
from overlap.estimates.distributed import gathered, reduce_funnel

rank, folder, names = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
limit = datetime.timedelta(seconds=30)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=limit)
states = torch.load(f"{folder}/in-{rank}.pt")
result = {}
for name in names:
    mine = OverlapMeter(k=3, states="student")
    mine.load_state_dict(states[name])
    total = mine.reduce()
    again = mine.reduce()  # nothing is counted twice
    assert (total.sums.counts == again.sums.counts).all() and (total.sums.sums == again.sums.sums).all()
    assert mine.state_dict()["keys"] == states[name]["keys"]
    result[name] = total.state_dict()
result["funnel"] = reduce_funnel(Funnel({"used": 10 * rank, "blocked": 1}, rank)).to_dict()
result["gathered"] = gathered(list(range(rank)))

only = dist.new_group([1])
try:
    result["subgroup"] = OverlapMeter(k=3).reduce(only).state_dict()["k"]
except ValueError as error:
    result["subgroup"] = str(error)
try:
    OverlapMeter(k=2 + rank).reduce()
except ValueError as error:
    result["differ"] = str(error)
torch.save(result, f"{folder}/out-{rank}.pt")
dist.barrier()
dist.destroy_process_group()
"""


def batch(seed, names):
    """A measured batch of one row an utterance, some positions masked."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(len(names), 5, 16, generator=generator)
    teacher = student + torch.randn(len(names), 5, 16, generator=generator)
    return measure(student, teacher, k=3, mask=torch.rand(len(names), 5, generator=generator) < 0.8), names


def meter(*parts):
    result = OverlapMeter(k=3, states="student")
    for statistics, names in parts:
        result.update(statistics, names=names)
    return result


CASES = {
    "uneven": ([batch(0, ["a", "b"]), batch(1, ["c", "d", "e"]), batch(2, ["f"])], [batch(3, ["g"])]),
    "empty": ([], [batch(4, ["b", "a"])]),
    "both empty": ([], []),
    "shared": ([batch(5, ["a", "b"]), batch(6, ["c", "a"])], [batch(7, ["c", "b", "d"])]),
    "integers": ([batch(8, [10, 2])], [batch(9, [7, 2, 1])]),
    "mixed": ([batch(10, [10, 2])], [batch(11, ["2", "x"])]),
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes ended with; a hang fails after a minute."""
    folder = tmp_path_factory.mktemp("ranks")
    for rank in range(2):
        torch.save(
            {name: meter(*shards[rank]).state_dict() for name, shards in CASES.items()}, folder / f"in-{rank}.pt"
        )
    command = [sys.executable, "-W", "error", "-c", RANK]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder), *CASES], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"out-{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_the_reduced_meter_is_that_of_one_process(ranks, name):
    whole = meter(*(part for shard in CASES[name] for part in shard))
    reduced = []
    for rank in ranks:
        reduced.append(OverlapMeter(k=3, states="student"))
        reduced[-1].load_state_dict(rank[name])
    for total in reduced:
        assert total.sums.keys == whole.sums.keys
        assert total.sums.counts.tobytes() == whole.sums.counts.tobytes()
        assert total.sums.undefined.tobytes() == whole.sums.undefined.tobytes()
        if name == "shared":
            np.testing.assert_allclose(total.sums.sums, whole.sums.sums, rtol=1e-12, atol=0)
        else:
            assert total.sums.sums.tobytes() == whole.sums.sums.tobytes()
            assert total.compute() == whole.compute()
    assert reduced[0].sums.sums.tobytes() == reduced[1].sums.sums.tobytes()


def test_funnels_and_anything_else(ranks):
    assert all(Funnel.from_dict(rank["funnel"]) == Funnel({"used": 10, "blocked": 2}, 1) for rank in ranks)
    assert [rank["gathered"] for rank in ranks] == [[[], [0]]] * 2


def test_a_rank_outside_the_group_is_told_so(ranks):
    assert ranks[0]["subgroup"] == "group: rank 0 is not one of its members; call it on members alone"
    assert ranks[1]["subgroup"] == 3


def test_meters_that_differ_are_refused_on_every_rank(ranks):
    """An error on one rank alone would leave the other waiting."""
    for rank, (mine, other) in zip(ranks, [(2, 3), (3, 2)], strict=True):
        assert f"expected k = {mine} and temperature = 1 like the meter, received k = {other}" in rank["differ"]


def test_without_a_process_group_there_is_one_value():
    assert gathered("mine") == ["mine"]
    assert reduce_funnel(Funnel({"used": 3})) == Funnel({"used": 3})
