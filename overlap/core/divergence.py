"""Divergences between token distributions, from log-probabilities, in nats.

`kl_terms`, `jensen_shannon_terms` and `total_variation_terms` are what one token adds. Statistics, losses and bounds
sum these. Exceptions are `overlap.core.nearly_equal`, for distributions that nearly agree, and the kernels over the
full vocabulary in `overlap.losses.full_vocabulary` and `overlap.statistics.full_vocabulary`, fused by hand.

The divergences are over the last axis. ``admissible`` is a bool mask of tokens, broadcastable to the log-probabilities;
other tokens contribute nothing. Identical inputs give exactly zero. A token whose weight is zero contributes zero. KL
is +inf where the second distribution gives zero to a token to which the first does not. Results are clamped to their
mathematical range, because rounding may exceed it by an ulp.
"""

import math

import torch
from torch import Tensor


def log_softmax(logits: Tensor, admissible: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
    """Return log-probabilities of logits, normalized over the admissible tokens.

    On a subset of the vocabulary the partition function cancels, so gathered raw logits give the renormalized
    distribution.

    Args:
        logits: ``[..., n]`` raw scores.
        admissible: bool mask.
        temperature: divides the logits.

    Returns:
        ``[..., n]`` float32 (float64 for such logits); an inadmissible token gets a very large negative but finite
        number, because differences of infinities would be NaN. Where nothing is admissible the values are meaningless:
        mask the position.
    """
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature != 1.0:
        # Shifting first keeps the precision of differences: a small temperature makes the scores large.
        scores = (scores - _peak(scores, admissible)) / temperature
    if admissible is not None:
        scores = torch.where(admissible, scores, torch.finfo(scores.dtype).min)
    return torch.log_softmax(scores, dim=-1)


def _peak(scores: Tensor, admissible: Tensor | None) -> Tensor:
    visible = scores if admissible is None else torch.where(admissible, scores, torch.finfo(scores.dtype).min)
    return visible.detach().amax(-1, keepdim=True)


def entropy(log_p: Tensor, admissible: Tensor | None = None) -> Tensor:
    """Return Shannon entropy H(p) = −Σ p log p, ``[..., n]`` → ``[...]``."""
    p = _probabilities(log_p, admissible)
    return (0.0 - (p * torch.where(p > 0, log_p, 0.0)).sum(-1)).clamp_min(0.0)


def kl_terms(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return what each token adds to KL(p‖q), p (log p − log q): 0 where p is 0, +inf where q is 0 and p is not.

    Differentiable in all three, without NaN in the gradient where p is 0.
    """
    # The difference is replaced, not the product: p times a difference of infinities would be NaN in p's gradient.
    return p * torch.where(p > 0, log_p - log_q, 0.0)


def jensen_shannon_terms(p: Tensor, q: Tensor) -> Tensor:
    """Return what each token adds to the Jensen-Shannon divergence, ½ p log(p/m) + ½ q log(q/m), m = (p + q) / 2."""
    # The ratio to the mixture is exactly 1 where p = q, which a difference of logarithms would miss. Half of the
    # smallest positive number is 0, so the mixture may vanish where p does not.
    mixture = (p + q) / 2
    mixture = torch.where(mixture > 0, mixture, 1.0)
    return (torch.xlogy(p, p / mixture) + torch.xlogy(q, q / mixture)) / 2


def total_variation_terms(p: Tensor, q: Tensor) -> Tensor:
    """Return what each token adds to the total variation distance, ½ |p − q|."""
    return (p - q).abs() / 2


def kl_divergence(log_p: Tensor, log_q: Tensor, admissible: Tensor | None = None) -> Tensor:
    """Return Kullback-Leibler divergence KL(p‖q) = Σ p (log p − log q), ``[..., n]`` → ``[...]``.

    With the teacher first this is the forward KL of distillation, with the student first the reverse KL. It is +inf if
    q is 0 for a token for which p is not, however small p is there.
    """
    p = _probabilities(log_p, admissible)
    excluded = (log_q == -torch.inf) & (log_p > -torch.inf)
    if admissible is not None:
        excluded = excluded & admissible
    kl = kl_terms(p, log_p, log_q).sum(-1).clamp_min(0.0)
    return kl.masked_fill(excluded.any(-1), torch.inf)


def renormalized_kl(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Return KL of the softmaxes of two rows of scores on a set of tokens.

    The partition function over all tokens cancels, so gathered raw logits give it.

    Args:
        first: ``[..., m]`` scores; −inf means probability zero.
        second: ``[..., m]`` scores of the same tokens.
        valid: ``[..., m]`` bool, slots of the set.

    Returns:
        ``[...]`` in nats; NaN where the set is empty or the first is 0 on all of it, +inf where the second is 0 for a
        token and the first is not.
    """
    nothing, excluded = (~(valid & (scores > -torch.inf)).any(-1) for scores in (first, second))
    # `log_softmax` shifts by the best score before it subtracts; `logsumexp` would lose digits of scores in the
    # hundreds.
    log_p, log_q = log_softmax(first, valid), log_softmax(second, valid).masked_fill(excluded[..., None], -torch.inf)
    return kl_divergence(log_p, log_q, valid).masked_fill(nothing, torch.nan)


def jensen_shannon(log_p: Tensor, log_q: Tensor, admissible: Tensor | None = None) -> Tensor:
    """Return Jensen-Shannon divergence ½ KL(p‖m) + ½ KL(q‖m), m = (p + q) / 2, ``[..., n]`` → ``[...]``, from 0 to ln
    2."""
    p, q = _probabilities(log_p, admissible), _probabilities(log_q, admissible)
    return jensen_shannon_terms(p, q).sum(-1).clamp(0.0, math.log(2.0))


def total_variation(log_p: Tensor, log_q: Tensor, admissible: Tensor | None = None) -> Tensor:
    """Return total variation distance ½ Σ |p − q|, ``[..., n]`` → ``[...]``, from 0 to 1."""
    p, q = _probabilities(log_p, admissible), _probabilities(log_q, admissible)
    return total_variation_terms(p, q).sum(-1).clamp_max(1.0)


def _probabilities(log_p: Tensor, admissible: Tensor | None) -> Tensor:
    p = log_p.exp()
    return p if admissible is None else torch.where(admissible, p, 0.0)
