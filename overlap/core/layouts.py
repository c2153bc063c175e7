"""Tensors whose numbers do not lie plainly in memory: brought there where that is certain, else refused in words."""

import sys
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from overlap.errors import UserError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_SCALED = tuple(getattr(torch, name) for name in dir(torch) if name.startswith(("float8_", "float4_")))


def plain(tensor: Tensor, name: str) -> Tensor:
    """The tensor with all of its numbers here, differentiable where it was.

    A tensor of `torch.distributed.tensor` that every rank has whole gives its own copy; one whose last axis is parted
    over ranks (a head under tensor parallelism, logits of one) is gathered, for which all ranks must call. Positions
    parted over ranks are refused: gathered, each rank would count those of all.

    Args:
        tensor: anything.
        name: of the argument, for messages.

    Raises:
        UserError: if it is nested, sparse, quantized, in a format of 8 bits or fewer, without memory (on the meta
            device), or parted along an axis of positions; says what to pass instead.
    """
    if not isinstance(tensor, Tensor):
        raise UserError(f"{name}: expected a torch.Tensor, received {type(tensor).__name__}")
    if _is_distributed(tensor):
        tensor = _gathered(tensor, name)
    if tensor.is_nested:
        raise UserError(
            f"{name}: received a nested tensor; pass torch.nested.to_padded_tensor(…, padding=0.0) with a mask, or its "
            "values() as one row with the groups of overlap.packed_groups"
        )
    if tensor.layout is not torch.strided:
        raise UserError(f"{name}: received a tensor of layout {tensor.layout}; pass its to_dense()")
    if tensor.is_quantized or tensor.dtype in _SCALED:
        raise UserError(
            f"{name}: received {tensor.dtype}, whose scale is kept elsewhere; undo the scale in torch.bfloat16 or "
            "torch.float32 and pass that"
        )
    if tensor.is_meta:
        raise UserError(f"{name}: received a tensor on the meta device, which holds no numbers; load the model first")
    return tensor


def plain_parameter(tensor: Tensor, name: str) -> Tensor:
    """The same of a weight, which has no positions: whole, however it is parted (FSDP2 parts the first axis)."""
    return plain(tensor.full_tensor() if _is_distributed(tensor) else tensor, name)


def _is_distributed(tensor: Tensor) -> "TypeGuard[DTensor]":
    # Who has such a tensor has imported the module, which takes its time and is not in every build of PyTorch.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def _gathered(tensor: "DTensor", name: str) -> Tensor:
    from torch.distributed.tensor import Replicate, Shard

    if all(isinstance(placement, Replicate) for placement in tensor.placements):
        return tensor.to_local()
    axes = [placement.dim % tensor.ndim for placement in tensor.placements if isinstance(placement, Shard)]
    parted = [axis for axis in axes if axis != tensor.ndim - 1]
    if parted:
        raise UserError(
            f"{name}: received a DTensor whose axis {parted[0]} is parted over ranks; pass its to_local() with this "
            "rank's mask and tokens, and add the ranks up with OverlapMeter.reduce()"
        )
    return tensor.full_tensor()
