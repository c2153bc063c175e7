"""Converts tensors with special memory layouts to plain ones if that is safe, and refuses others."""

import sys
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from overlap.errors import UserError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_SCALED = tuple(getattr(torch, name) for name in dir(torch) if name.startswith(("float8_", "float4_")))


def plain(tensor: Tensor, name: str) -> Tensor:
    """Return a plain local tensor with all values, differentiable if the input is.

    A replicated DTensor returns the local copy. A DTensor sharded on its last axis (the head under tensor parallelism,
    or its logits) is gathered; all ranks must call. A DTensor sharded over positions is refused, because each rank
    would count the positions of all ranks.

    Args:
        tensor: anything.
        name: of the argument, for messages.

    Raises:
        UserError: if it is nested, sparse, quantized, in a format of 8 bits or fewer, on the meta device, or sharded
            along an axis of positions; says what to pass instead.
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
            f"{name}: {tensor.dtype} stores its scale in a separate tensor; multiply by it, convert to torch.bfloat16 "
            "or torch.float32, and pass the result"
        )
    if tensor.is_meta:
        raise UserError(f"{name}: received a tensor on the meta device, which holds no numbers; load the model first")
    return tensor


def plain_parameter(tensor: Tensor, name: str) -> Tensor:
    """Return the same for a weight, which has no positions: gathered on any axis (FSDP2 shards the first axis)."""
    return plain(tensor.full_tensor() if _is_distributed(tensor) else tensor, name)


def _is_distributed(tensor: Tensor) -> "TypeGuard[DTensor]":
    # A caller with such a tensor has already imported the module. Importing it is slow, and some builds of PyTorch lack
    # it.
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
            f"{name}: received a DTensor that is sharded over axis {parted[0]}; pass its to_local() with this rank's "
            "mask and tokens, and add up the ranks with OverlapMeter.reduce()"
        )
    return tensor.full_tensor()
