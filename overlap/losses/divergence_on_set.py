"""Objectives of on-policy distillation at a position: a divergence on a set of tokens, or an estimate from one sampled
token.

There are two ways to normalize on a set. Renormalized on the set, as in arXiv 2605.28139, the loss ignores mass
outside: it can fall while the student's probability leaves the set. With a tail, all tokens outside count as one more
token: probabilities are the models' own, and mass that leaves the set is penalized.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from overlap.core import chunking
from overlap.core.divergence import kl_terms
from overlap.core.nearly_equal import near_divergence, near_rows
from overlap.errors import UserError

Divergence = Literal["forward_kl", "reverse_kl", "jensen_shannon"]
Estimator = Literal["k1", "k3"]


def set_logprobs(
    logits: Tensor,
    ids: Tensor,
    valid: Tensor,
    *,
    tail: bool,
    temperature: float = 1.0,
    admissible: Tensor | None = None,
) -> Tensor:
    """Return log-probabilities of a model on a set of tokens at every position, differentiable.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0, 0.0]])
    >>> ids, valid = torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool)
    >>> set_logprobs(logits, ids, valid, tail=False).exp()
    tensor([[0.7311, 0.2689]])
    >>> set_logprobs(logits, ids, valid, tail=True).exp()
    tensor([[0.6103, 0.2245, 0.1652]])

    Args:
        logits: ``[n, V]`` raw scores.
        ids: ``[n, m]`` the set's tokens; any id in slots that are not valid.
        valid: ``[n, m]`` bool, True in slots of the set, where ids are distinct.
        tail: normalize over all admissible tokens and append the log of the mass outside the set; otherwise
            renormalize on the set.
        temperature: τ, divides the scores.
        admissible: ``[V]`` bool, the tokens that exist; None for all. Those of the set must be admissible.

    Returns:
        ``[n, m]``, or ``[n, m + 1]`` with a tail, in nats, float32 (float64 for such logits). Slots that are not valid,
        and a tail without tokens, hold the lowest finite number. With a tail, backward allocates only the gradient at
        the size of the logits.
    """
    if tail:
        return _WithTail.apply(logits, ids, valid, temperature, admissible)  # pyright: ignore[reportReturnType]
    return _log_softmax(logits.gather(-1, ids), valid, temperature)


@torch.no_grad()
def set_mass(
    logits: Tensor,
    ids: Tensor,
    valid: Tensor,
    *,
    temperature: float = 1.0,
    admissible: Tensor | None = None,
    log_partition: Tensor | None = None,
) -> Tensor:
    """Return the probability of a set of tokens under a model: the share that an objective on that set covers.

    Args:
        logits: ``[n, V]`` raw scores.
        ids: ``[n, m]`` the set's tokens.
        valid: ``[n, m]`` bool, True in slots of the set.
        temperature: τ, divides the scores.
        admissible: ``[V]`` bool, the tokens that exist; None for all.
        log_partition: ``[n]`` log Σ exp(z/τ) over the admissible tokens, if already known.

    Returns:
        ``[n]`` probability, float32 (float64 for such logits).
    """
    if log_partition is None:
        parts = [_scores(logits[part], temperature, admissible).logsumexp(-1) for part in _parts(logits)]
        log_partition = torch.cat(parts)
    inside = _scores(logits.gather(-1, ids), temperature, None).masked_fill(~valid, -torch.inf)
    return (inside - log_partition[:, None]).exp().sum(-1).to(inside.dtype)


def set_divergence(
    student: Tensor, teacher: Tensor, valid: Tensor, *, kind: Divergence = "forward_kl", beta: float = 0.5
) -> Tensor:
    """Return the divergence of two models on a set, from log-probabilities that are normalized there (`set_logprobs`).

    ``forward_kl`` is KL(q‖p), teacher against student; ``reverse_kl`` KL(p‖q). ``jensen_shannon`` is the generalized
    one of Agarwal et al. (GKD, arXiv 2306.13649), β KL(q‖m) + (1 − β) KL(p‖m) with m = β q + (1 − β) p: near β = 0 it
    is about β times the forward KL, near 1 about 1 − β times the reverse KL.

    Args:
        student: ``[n, m]`` log p, with the student's graph.
        teacher: ``[n, m]`` log q.
        valid: ``[n, m]`` bool, slots that count; a tail is one of them.
        kind: which.
        beta: β of `jensen_shannon`, within (0, 1).

    Returns:
        ``[n]`` in nats; +inf where the second distribution gives 0 to a token and the first does not. From 1e-6 on, the
        relative error is below 1e-3 for the given float32 scores. Gradients reach the student only.

    Raises:
        UserError: an unknown kind, or β out of range.
    """
    check_divergence(kind, beta)
    each = _divergence(student, teacher.detach(), valid, kind, beta)
    with torch.no_grad():
        near = near_divergence(student.masked_fill(~valid, 0.0), teacher.masked_fill(~valid, 0.0), kind, beta)
        better = torch.where(near_rows(each), near - each, 0.0)
    return each + better  # the gradient is that of the plain sum


def check_divergence(kind: str, beta: float) -> None:
    """Refuse an unknown kind of divergence, and a β outside the range of `jensen_shannon`.

    Raises:
        UserError: naming what was received.
    """
    if kind not in get_args(Divergence):
        raise UserError(f'kind: expected "forward_kl", "reverse_kl" or "jensen_shannon", received {kind!r}')
    if kind == "jensen_shannon" and not 0 < beta < 1:
        raise UserError(f"beta: expected a number within (0, 1), received {beta!r}; its ends are the two KLs")


def sampled_reverse_kl(student: Tensor, teacher: Tensor, *, estimator: Estimator = "k1") -> Tensor:
    """Return reverse KL of the next token, estimated at the token that the student sampled, with its policy gradient.

    With r = q/p at that token, ``k1`` = −log r and ``k3`` = r − 1 − log r (Schulman 2020, "Approximating KL
    divergence"); both have the expectation KL(p‖q). The gradient is that of the expectation under p, estimated at the
    token: the score function of k1, whose own gradient has the expectation 0, and for k3 the score function and the
    gradient of k3 itself. Either part alone would be the gradient of another quantity.

    Args:
        student: log p of the sampled tokens, any shape, with a graph. They must be sampled from p itself.
        teacher: log q of the same tokens.
        estimator: which.

    Returns:
        Estimates of the same shape in nats; single values of k1 may be negative.

    Raises:
        UserError: an unknown estimator.
    """
    log_r = teacher.detach() - student
    if estimator == "k1":
        return _with_gradient(-log_r, -log_r.detach() * student)
    if estimator == "k3":
        k3 = log_r.exp() - 1 - log_r
        return _with_gradient(k3, k3.detach() * student + k3)
    raise UserError(f'estimator: expected "k1" or "k3", received {estimator!r}')


def support_kl(
    student_scores: Tensor,
    teacher_scores: Tensor,
    valid: Tensor,
    *,
    temperature: float = 1.0,
    tails: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return τ² KL(softmax(z_T/τ) ‖ softmax(z_S/τ)) on a set of tokens, Eq. 1 of arXiv 2605.28139.

    Args:
        student_scores: ``[..., m]`` raw logits of the set's tokens.
        teacher_scores: ``[..., m]`` the teacher's, of the same tokens.
        valid: ``[..., m]`` bool, False in slots that are not in the set.
        temperature: τ.
        tails: log Σ exp(z/τ) of the student and of the teacher over the tokens outside, ``[...]`` each, counted as one
            more token; None renormalizes on the set.

    Returns:
        ``[...]`` in nats, float32 (float64 for such scores); 0 where the set has fewer than 2 tokens, +inf where the
        student gives 0 to a token and the teacher does not. Gradients reach the student only.
    """
    if tails is None:
        log_p, log_q = (_log_softmax(scores, valid, temperature) for scores in (student_scores, teacher_scores))
        return temperature**2 * set_divergence(log_p, log_q, valid)
    enough = valid.sum(-1, keepdim=True) >= 2
    counts = torch.cat([valid & enough, enough], -1)
    log_p, log_q = (
        torch.log_softmax(torch.cat([_masked(scores, valid, temperature), tail.unsqueeze(-1)], -1), -1)
        for scores, tail in zip((student_scores, teacher_scores), tails, strict=True)
    )
    return temperature**2 * set_divergence(log_p, log_q, counts)


class _WithTail(torch.autograd.Function):
    """[n, m + 1] log-probabilities of a set and of everything outside it, from [n, V] logits."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, ids: Tensor, valid: Tensor, temperature: float, admissible: Tensor | None
    ) -> Tensor:
        inside = _scores(logits.gather(-1, ids), temperature, None)
        # Tokens outside are summed relative to the set: adding numbers as large as the scores would lose digits.
        own = inside.double().masked_fill(~valid, -torch.inf).logsumexp(-1)
        anchor = own.masked_fill(~own.isfinite(), 0.0).to(inside.dtype)
        outside, slots = torch.empty_like(anchor), _slots(ids, valid, logits.shape[-1])
        for part in _parts(logits):
            scores = _scores(logits[part], temperature, admissible).sub_(anchor[part, None])
            outside[part] = _scattered(scores, slots[part], -torch.inf).logsumexp(-1)
        total = torch.logaddexp(own - anchor, outside.double())
        log_tail, exact = (outside - total).to(inside.dtype), anchor + total
        ctx.save_for_backward(logits, ids, valid, admissible, exact, log_tail)
        ctx.temperature = temperature
        absent = torch.cat([~valid, log_tail[:, None] == -torch.inf], -1)
        logprobs = torch.cat([(inside - exact[:, None]).to(inside.dtype), log_tail[:, None]], -1)
        return logprobs.masked_fill(absent, torch.finfo(logprobs.dtype).min)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator hides the names of parameters
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        logits, ids, valid, admissible, exact, log_tail = ctx.saved_tensors
        none_outside = log_tail == -torch.inf
        of_set = gradient[:, :-1].masked_fill(~valid, 0.0)
        of_tail = gradient[:, -1].masked_fill(none_outside, 0.0)
        # The factor of the exponential corrects for the rounding of the total.
        total = exact.to(gradient.dtype)
        factor = (total - exact).exp().to(gradient.dtype)
        everything, of_tail = (of_set.sum(-1) + of_tail) * factor, of_tail * factor
        log_tail = log_tail.masked_fill(none_outside, torch.inf)
        slots, result = _slots(ids, valid, logits.shape[-1]), torch.empty_like(logits)
        for part in _parts(logits):
            scores = _scores(logits[part], ctx.temperature, admissible).sub_(total[part, None])
            share = scores.exp() * everything[part, None]
            at_set = of_set[part] - share.gather(-1, ids[part])
            share = scores.sub_(log_tail[part, None]).exp_().mul_(of_tail[part, None]).sub_(share)
            result[part] = (_scattered(share, slots[part], at_set) / ctx.temperature).to(logits.dtype)
        return result, None, None, None, None


def _scores(logits: Tensor, temperature: float, admissible: Tensor | None) -> Tensor:
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    return scores if admissible is None else scores.masked_fill(~admissible, -torch.inf)


def _slots(ids: Tensor, valid: Tensor, vocabulary: int) -> Tensor:
    """Return ids to write to; slots that are not valid go to a column past the vocabulary."""
    return ids.masked_fill(~valid, vocabulary)


def _scattered(rows: Tensor, slots: Tensor, values: Tensor | float) -> Tensor:
    wider = torch.cat([rows, rows.new_full((len(rows), 1), -torch.inf)], -1)
    written = wider.scatter_(-1, slots, values)
    return written[:, :-1]


def _parts(logits: Tensor) -> list[slice]:
    return chunking.parts_of(len(logits), logits.shape[-1], chunking.CHUNK_ELEMENTS) or [slice(0)]


def _divergence(student: Tensor, teacher: Tensor, valid: Tensor, kind: Divergence, beta: float) -> Tensor:
    if kind == "forward_kl":
        return _kl(teacher, student, valid)
    if kind == "reverse_kl":
        return _kl(student, teacher, valid)
    weights = torch.tensor([beta, 1 - beta], dtype=student.dtype, device=student.device).log()
    mixture = torch.logaddexp(teacher + weights[0], student + weights[1])
    return beta * _kl(teacher, mixture, valid) + (1 - beta) * _kl(student, mixture, valid)


def _kl(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    # Not `kl_divergence`: its clamp at 0 would remove the gradient of a row that rounding made negative.
    first = first.masked_fill(~valid, -torch.inf)
    return kl_terms(first.exp(), first, second).sum(-1)


def _with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    return value.detach() + surrogate - surrogate.detach()


def _log_softmax(scores: Tensor, valid: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(_masked(scores, valid, temperature), dim=-1)


def _masked(scores: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Return scores over τ; slots that are not valid get a very large negative but finite number."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) / temperature
    return scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
