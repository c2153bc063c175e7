"""The mass outside a set of tokens, from hidden states; the only part of a tail that needs all logits."""

from typing import Any, cast

import torch
from torch import Tensor

from overlap.core import chunking
from overlap.core.buffers import Scratch
from overlap.core.lm_head import Head


def log_outside(
    head: Head, hidden: Tensor, ids: Tensor, valid: Tensor, *, temperature: float, admissible: Tensor | None
) -> Tensor:
    """Return log Σ exp(z_v / τ) over the admissible tokens v outside a set, differentiable, a chunk of logits at a
    time.

    Backward recomputes the logits instead of keeping them. They have the dtype of the weight, like the model's own;
    sums over the vocabulary are at least float32.

    Args:
        head: the output layer.
        hidden: ``[n, H]``.
        ids: ``[n, m]`` the set.
        valid: ``[n, m]`` bool, True in slots of the set.
        temperature: τ.
        admissible: ``[V]`` bool, or None when nothing is blocked.

    Returns:
        ``[n]``; −inf where nothing is outside.
    """
    found = _LogOutside.apply(hidden, head.weight, head.bias, ids, valid, temperature, admissible, head)
    return cast(Tensor, found)


class _LogOutside(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        valid: Tensor,
        temperature: float,
        admissible: Tensor | None,
        head: Head,
    ) -> Tensor:
        ctx.temperature, ctx.admissible, ctx.after = temperature, admissible, (head.scale, head.softcap)
        scratch = Scratch(weight.device)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        result = torch.empty(len(hidden), dtype=dtype, device=weight.device)
        for part in _parts(hidden, weight):
            result[part] = _outside(ctx, head, hidden[part], ids[part], valid[part], scratch).logsumexp(-1)
        ctx.save_for_backward(hidden, weight, bias, ids, valid, result)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator hides the parameters' names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, ids, valid, result = ctx.saved_tensors
        slope = gradients[0].masked_fill(result == -torch.inf, 0.0) / ctx.temperature
        total = result.masked_fill(result == -torch.inf, 0.0)
        wanted, scratch, head = ctx.needs_input_grad[:3], Scratch(weight.device), Head(weight, bias, *ctx.after)
        to_hidden = torch.empty_like(hidden) if wanted[0] else None
        to_weight = torch.zeros(weight.shape, dtype=result.dtype, device=weight.device) if wanted[1] else None
        to_bias = torch.zeros(len(weight), dtype=result.dtype, device=weight.device) if wanted[2] else None
        for part in _parts(hidden, weight):
            scores = _outside(ctx, head, hidden[part], ids[part], valid[part], scratch)
            to_layer = head.slope(scores * ctx.temperature)
            share = scores.sub_(total[part, None]).exp_().mul_(slope[part, None]).mul_(to_layer)
            if to_hidden is not None:
                to_hidden[part] = (share.to(weight.dtype) @ weight).to(hidden.dtype)
            if to_weight is not None:
                to_weight.addmm_(share.T, hidden[part].to(share.dtype))
            if to_bias is not None:
                to_bias += share.sum(0)
        given = (to_hidden, to_weight, to_bias)
        cast_to = (hidden, weight, bias)
        return *(None if g is None else g.to(x.dtype) for g, x in zip(given, cast_to, strict=True)), *[None] * 5


def _outside(ctx: Any, head: Head, hidden: Tensor, ids: Tensor, valid: Tensor, scratch: Scratch) -> Tensor:
    """Return [n, V] scores over τ, −inf at tokens of the set and at blocked ones; a scratch buffer."""
    dtype = torch.promote_types(head.weight.dtype, torch.float32)
    scores = scratch("scores", len(hidden), head.vocabulary, dtype=dtype)
    torch.div(head.logits(hidden, scratch), ctx.temperature, out=scores)
    if ctx.admissible is not None:
        scores.masked_fill_(~ctx.admissible, -torch.inf)
    rows = torch.arange(len(hidden), device=ids.device)[:, None].expand_as(ids)
    scores[rows[valid], ids[valid]] = -torch.inf
    return scores


def _parts(hidden: Tensor, weight: Tensor) -> list[slice]:
    return chunking.parts_of(len(hidden), len(weight), chunking.TAIL_ELEMENTS)
