"""Checks of arguments before any computation: tensor kinds, shapes, masks, set sizes, blocked ids.

A position is an index into the leading shape of ``[..., V]`` logits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overlap.arguments import whole_number
from overlap.core.chunking import Index
from overlap.core.layouts import plain
from overlap.errors import UserError

TensorLike = Tensor | np.ndarray | Any
"""A torch tensor, a numpy array, or an object that speaks DLPack (a jax or cupy array, say)."""


def as_tensor(value: TensorLike, name: str) -> Tensor:
    """Take what `TensorLike` allows, without a copy where memory can be shared.

    Raises:
        UserError: naming what was received; for kinds of tensors see `overlap.core.layouts.plain`.
    """
    if isinstance(value, Tensor):
        return plain(value, name)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise UserError(f"{name}: expected an array of numbers, received numpy dtype {value.dtype}")
        writable = (
            value if value.flags.writeable and value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
        )
        return torch.from_numpy(np.ascontiguousarray(writable) if min(writable.strides, default=0) < 0 else writable)
    if hasattr(value, "__dlpack__"):
        return torch.from_dlpack(value)
    raise UserError(
        f"{name}: expected a torch.Tensor of shape [..., V], a numpy array or a DLPack object, received "
        f"{type(value).__name__}"
    )


def check_logits(logits: Tensor, name: str) -> None:
    """Refuse anything but floating-point ``[..., V]`` logits.

    Raises:
        UserError: naming what was received and what to pass instead.
    """
    if not isinstance(logits, Tensor):
        raise UserError(f"{name}: expected a torch.Tensor of shape [..., V], received {type(logits).__name__}")
    if not logits.is_floating_point():
        raise UserError(
            f"{name}: expected floating-point logits, received {logits.dtype}; "
            "pass the model's raw scores, not token ids"
        )
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise UserError(
            f"{name}: expected shape [..., V] with V >= 1, received {list(logits.shape)}; "
            "the last axis is the vocabulary"
        )


def check_leading(logits: Tensor, name: str, shape: torch.Size) -> None:
    """Refuse scores at other positions than the student's.

    Raises:
        UserError: naming both shapes.
    """
    if logits.shape[:-1] != shape:
        raise UserError(
            f"{name}: expected the student's leading shape {list(shape)}, received {list(logits.shape[:-1])}; score "
            "the same positions with both models"
        )


def check_mask(mask: Tensor | None, shape: torch.Size, device: torch.device) -> Tensor:
    """Return the mask of the positions to measure; without a mask, all positions.

    Args:
        mask: bool, of the leading shape ``[...]``; True where the position counts.
        shape: the leading shape.
        device: where the logits are.

    Raises:
        UserError: if the mask is not boolean or not of the leading shape.
    """
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        received = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise UserError(f"mask: expected a torch.bool tensor, received {received}; pass mask.bool() or mask != 0")
    if mask.shape != shape:
        raise UserError(
            f"mask: expected the logits' leading shape {list(shape)}, received {list(mask.shape)}; "
            "give one boolean for each position"
        )
    return mask.to(device)


def check_k(k: int, n_admissible: int, name: str) -> int:
    """Return Python's own integer; refuse a k that is none from 1 to the number of admissible tokens.

    Raises:
        UserError: naming k and the number of admissible tokens.
    """
    found = whole_number(k)
    if found is None or found < 1:
        raise UserError(f"k: expected an integer of at least 1, received {k!r}")
    if found > n_admissible:
        raise UserError(
            f"k: received {k}, but {name} have only {n_admissible} admissible tokens "
            "(the vocabulary less the blocked ids); choose a smaller k or block fewer ids"
        )
    return found


def admissible_ids(
    blocked: Tensor | Sequence[int] | None,
    vocabulary: int,
    device: torch.device,
    *,
    name: str = "blocked",
    whose: str = "student",
) -> Tensor | None:
    """Turn blocked token ids into a mask over the vocabulary.

    Args:
        blocked: ids (one axis, integers) to remove from all supports and probabilities, or a ``[V]`` bool mask of them,
            or None.
        vocabulary: V.
        device: of the mask.
        name: of the argument, for messages.
        whose: "student" or "teacher", for messages.

    Returns:
        ``[V]`` bool, True where the token is admissible; None when nothing is blocked.

    Raises:
        UserError: if blocked is anything but ids of 0 … V − 1 or a mask of width V.
    """
    if blocked is None:
        return None
    ids = torch.as_tensor(blocked)
    if ids.numel() == 0:
        return None
    if ids.dtype == torch.bool and ids.shape == (vocabulary,):
        return ~ids.to(device) if ids.any() else None
    if ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex() or ids.ndim != 1:
        raise UserError(
            f"{name}: expected a one-axis sequence of token ids or a bool mask [{vocabulary}] over the {whose}'s "
            f"vocabulary, received {ids.dtype} of shape {list(ids.shape)}"
        )
    outside = ids[(ids < 0) | (ids >= vocabulary)]
    if outside.numel():
        raise UserError(
            f"{name}: {outside.numel()} of {ids.numel()} ids are outside the {whose}'s vocabulary of {vocabulary} "
            f"(valid: 0 to {vocabulary - 1}), the first is {int(outside[0])}; "
            "drop them, or pass logits of the padded width"
        )
    admissible = torch.ones(vocabulary, dtype=torch.bool, device=device)
    admissible[ids.long().to(device)] = False
    return admissible


def refuse_undefined(peaks: Tensor, index: Index, name: str) -> None:
    """Raise if any position has no softmax, judged by its largest admissible score.

    NaN sorts above everything, so the largest score is finite exactly where no admissible score is NaN or +inf and at
    least one is finite.

    Args:
        peaks: ``[N]`` the largest admissible score of each unmasked position.
        index: where those positions are, one tensor an axis.
        name: of the logits.

    Raises:
        UserError: saying how many positions are affected and which is the first.
    """
    bad = ~peaks.isfinite()
    if not bad.any():
        return
    first = tuple(int(axis[bad][0]) for axis in index)
    raise UserError(
        f"{name}: {int(bad.sum())} of {peaks.numel()} unmasked positions hold NaN, +inf or no finite admissible score, "
        f"the first at index {first}; mask these positions or find where the model diverges"
    )
