"""A divergence over the full vocabulary as a training objective, a few rows at a time, with its gradient written out.

Autograd through two softmaxes of ``[positions × vocabulary]`` keeps about six tensors of that size and passes over
memory about thirty times. Here every pass is over rows that stay in the processor's cache, backward recomputes the
softmaxes, and only the gradient has the size of the logits.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from overlap.core import chunking, threads
from overlap.core.nearly_equal import near_divergence, near_rows
from overlap.losses.divergence_on_set import Divergence, check_divergence

_LEAST = 1e-37
"""Floor of a mixture: below it float32 loses precision, and terms are negligible."""


def full_vocabulary_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    mask: Tensor,
    *,
    kind: Divergence = "forward_kl",
    beta: float = 0.5,
    temperature: float = 1.0,
    ids: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the result of `set_divergence` on every token, or on all that both models have, from logits.

    >>> student, teacher = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[2.0, 0.0, 1.0]])
    >>> full_vocabulary_divergence(student, teacher, torch.ones(1, dtype=torch.bool))
    tensor([0.1547])

    Args:
        student_logits: ``[..., V]`` raw scores, with the student's graph.
        teacher_logits: ``[..., V_teacher]`` raw scores at the same positions.
        mask: ``[...]`` bool, True where a position counts, n of them; other positions are not read.
        kind: which divergence.
        beta: β of `jensen_shannon`, within (0, 1).
        temperature: τ, divides both sides' scores.
        ids: ``[m]`` distinct student ids of the tokens to compare, and the teacher's ids of the same tokens; None for
            all, if ids agree.

    Returns:
        ``[n]`` in nats, float32 (float64 for such logits), in the order of the mask; +inf where the second distribution
        gives 0 to a token and the first does not; relative error below 1e-3 from 1e-6 on. Gradients reach the student
        only.

    Raises:
        UserError: an unknown kind, or β out of range.
    """
    check_divergence(kind, beta)
    index = mask.nonzero(as_tuple=True)
    each = _Divergence.apply(
        student_logits, teacher_logits.detach(), index, ids or (None, None), kind, beta, temperature
    )
    return each  # pyright: ignore[reportReturnType]


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        index: tuple[Tensor, ...],
        ids: tuple[Tensor | None, Tensor | None],
        kind: Divergence,
        beta: float,
        temperature: float,
    ) -> Tensor:
        dtype = torch.promote_types(student.dtype, torch.float32)
        each, own = (torch.empty(len(index[0]), dtype=dtype, device=student.device) for _ in range(2))

        def work(part: slice) -> None:
            log_p = _log_softmax(student, part, index, ids[0], temperature)
            log_q = _log_softmax(teacher, part, index, ids[1], temperature)
            if kind == "forward_kl":
                each[part] = own[part] = _kl(log_q, log_q.exp(), log_p)
            elif kind == "reverse_kl":
                each[part] = own[part] = _kl(log_p, log_p.exp(), log_q)
            else:
                p, q = log_p.exp(), log_q.exp()
                log_m = _log_mixture(p, q, beta)
                own[part] = _kl(log_p, p, log_m)
                each[part] = beta * _kl(log_q, q, log_m) + (1 - beta) * own[part]
            near = near_rows(each[part])
            if near.all():
                each[part] = near_divergence(log_p, log_q, kind, beta)
            elif near.any():
                each[part][near] = near_divergence(log_p[near], log_q[near], kind, beta)

        threads.each(work, _parts(student, index), student.device)
        ctx.save_for_backward(student, teacher, own, *index, *ids)
        ctx.settings = len(index), kind, beta, temperature
        return each

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator hides the names of parameters
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        n, kind, beta, temperature = ctx.settings
        student, teacher, own, *rest = ctx.saved_tensors
        index, ids = tuple(rest[:n]), rest[n:]
        scale, result = gradients[0] / temperature, torch.zeros_like(student)

        def work(part: slice) -> None:
            log_p = _log_softmax(student, part, index, ids[0], temperature)
            log_q = _log_softmax(teacher, part, index, ids[1], temperature)
            if kind == "forward_kl":
                slope = log_p.exp_().sub_(log_q.exp_())
            else:
                p = log_p.exp()
                other, weight = (
                    (log_q, 1.0) if kind == "reverse_kl" else (_log_mixture(p, log_q.exp_(), beta), 1 - beta)
                )
                slope = log_p.sub_(other).sub_(own[part, None]).mul_(p).mul_(weight).masked_fill_(p == 0, 0.0)
            slope = slope.mul_(scale[part, None]).to(student.dtype)
            rows = tuple(axis[part] for axis in index)
            if ids[0] is None:
                result[rows] = slope
            else:
                result[rows] = slope.new_zeros(len(slope), student.shape[-1]).index_copy_(-1, ids[0], slope)

        threads.each(work, _parts(student, index), student.device)
        return result, None, None, None, None, None, None


def _parts(student: Tensor, index: tuple[Tensor, ...]) -> list[slice]:
    at_once = chunking.ROW_ELEMENTS if student.device.type == "cpu" else chunking.CHUNK_ELEMENTS
    return chunking.parts_of(len(index[0]), student.shape[-1], at_once)


def _log_softmax(
    logits: Tensor, part: slice, index: tuple[Tensor, ...], ids: Tensor | None, temperature: float
) -> Tensor:
    scores = logits[tuple(axis[part] for axis in index)]
    if ids is not None:
        scores = scores.index_select(-1, ids)
    scores = scores.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.log_softmax(scores if temperature == 1.0 else scores / temperature, -1)


def _log_mixture(p: Tensor, q: Tensor, beta: float) -> Tensor:
    return torch.lerp(p, q, beta).clamp_(min=_LEAST).log_()


def _kl(log_first: Tensor, first: Tensor, log_second: Tensor) -> Tensor:
    # `overlap.core.divergence.kl_terms` in three passes instead of five, because excluded tokens are rare.
    terms = torch.sub(log_first, log_second).mul_(first)
    total = terms.sum(-1)
    if total.isnan().any():  # a token to which the first gives 0: its term is 0 · ∞
        total = terms.masked_fill_(first == 0, 0.0).sum(-1)
    return total
