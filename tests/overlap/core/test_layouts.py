"""Tensors of other kinds are measured as the plain ones that they stand for, or refused in words."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from overlap import measure, measure_hidden, top_k, union_kl

STUDENT, TEACHER = (torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
PLAIN = measure(STUDENT, TEACHER, k=4)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    from torch.distributed.device_mesh import init_device_mesh

    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def distributed(tensor, mesh, axis):
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    return distribute_tensor(tensor, mesh, [Replicate() if axis is None else Shard(axis)])


@pytest.mark.parametrize("axis", [None, -1, 2])
def test_logits_that_are_whole_or_parted_by_tokens(mesh, axis):
    found = measure(distributed(STUDENT, mesh, axis), distributed(TEACHER, mesh, axis), k=4)
    assert type(found.union_size) is torch.Tensor
    for name, values in found.values().items():
        torch.testing.assert_close(values, PLAIN.values()[name], equal_nan=True)


@pytest.mark.parametrize("axis", [0, 1])
def test_positions_parted_over_ranks_are_this_ranks_own(mesh, axis):
    parted = distributed(STUDENT, mesh, axis)
    with pytest.raises(ValueError, match=rf"student_logits: .* sharded over axis {axis};.* to_local\(\).*reduce\(\)"):
        measure(parted, TEACHER, k=4)


def test_parted_heads_are_gathered_and_learn(mesh):
    hidden, weight = torch.randn(3, 4, 8), torch.randn(16, 8)
    losses = []
    for parted in (False, True):
        layer = nn.Linear(8, 16, bias=False)
        layer.weight = nn.Parameter(weight.clone())
        if parted:
            layer.weight = nn.Parameter(distributed(weight.clone(), mesh, 0))
        loss = union_kl(hidden, layer, hidden.flip(0), weight.flip(0), k=4).loss
        loss.backward()
        gradient = layer.weight.grad
        losses.append((loss.detach(), gradient.full_tensor() if parted else gradient))
    torch.testing.assert_close(losses[0], losses[1])
    ours = measure_hidden(hidden, distributed(weight, mesh, 0), hidden.flip(0), weight, k=4)
    torch.testing.assert_close(ours.forward_kl, measure_hidden(hidden, weight, hidden.flip(0), weight, k=4).forward_kl)


def test_hidden_states_may_be_numpy():
    hidden, weight, mask = (
        np.random.default_rng(0).standard_normal((3, 4, 8)),
        torch.randn(16, 8).double(),
        np.ones((3, 4), bool),
    )
    tokens = np.zeros((3, 4), np.int64)
    ours = measure_hidden(hidden, weight, hidden[::-1], weight, k=4, mask=mask, tokens=tokens)
    theirs = measure_hidden(torch.tensor(hidden), weight, torch.tensor(hidden[::-1].copy()), weight, k=4)
    torch.testing.assert_close(ours.forward_kl, theirs.forward_kl)
    assert not ours.student_logprob.isnan().any()


REFUSED = [
    (
        lambda: torch.nested.nested_tensor([torch.randn(2, 16), torch.randn(3, 16)], layout=torch.jagged),
        "nested tensor; pass",
    ),
    (lambda: STUDENT.to_sparse(), r"layout torch.sparse_coo; pass its to_dense\(\)"),
    (lambda: STUDENT.to(torch.float8_e4m3fn), "torch.float8_e4m3fn stores its scale in a separate tensor"),
    (lambda: STUDENT.to("meta"), "meta device, which holds no numbers"),
    (lambda: torch.complex(STUDENT, STUDENT), "expected floating-point logits, received torch.complex64"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_cannot_be_measured_says_what_to_pass(make, message):
    with pytest.raises(ValueError, match=message):
        measure(make(), TEACHER, k=4)


@pytest.mark.parametrize(("make", "message"), REFUSED[:4])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_neither_can_hidden_states_or_heads(make, message):
    weight = torch.randn(16, 16)
    with pytest.raises(ValueError, match=message):
        measure_hidden(make(), weight, STUDENT, weight, k=4)
    with pytest.raises(ValueError, match=message):
        measure_hidden(
            STUDENT, make()[0] if make().ndim == 3 and not make().is_nested else make(), STUDENT, weight, k=4
        )
    with pytest.raises(ValueError, match=message):
        union_kl(make(), weight, STUDENT, weight, k=4)


def test_sets_of_a_distributed_tensor(mesh):
    ours, theirs = top_k(distributed(STUDENT, mesh, -1), 4), top_k(STUDENT, 4)
    assert torch.equal(ours.ids, theirs.ids)
