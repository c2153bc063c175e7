"""Collects values of all processes of a distributed run; each process gets the same result."""

from typing import Any, TypeVar

import torch.distributed as dist

from overlap.errors import UserError
from overlap.estimates.funnel import Funnel

T = TypeVar("T")


def gathered(value: T, group: Any = None) -> list[T]:
    """Return the values of all processes, by rank; `[value]` if torch.distributed is not initialized.

    Every rank of the group must call it, also ranks without data: no call returns before all ranks have called.

    Args:
        value: anything that pickles, of any size on each rank. With NCCL the rank's CUDA device must have been set
            (`torch.cuda.set_device`).
        group: process group, the default one if None.

    Raises:
        UserError: if this rank is not in the group.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    if dist.get_rank(group) < 0:
        raise UserError(f"group: rank {dist.get_rank()} is not one of its members; call it on members alone")
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def reduce_funnel(funnel: Funnel, group: Any = None) -> Funnel:
    """Return the positions of all ranks, the same on each; every rank of the group must call it (see `gathered`)."""
    return sum(gathered(funnel, group), Funnel.empty())
