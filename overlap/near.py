"""Divergences of distributions that nearly agree, from log-probabilities that carry float32's rounding.

A divergence may then be smaller than what rounding takes from 1 in the sum of either distribution, and that enters the
plain KL in full. To what a token adds, p log(p/q), this adds q − p, whose sum is 0 where both sum to 1: what the sums
are wrong by is then felt by its square alone. With x = |log p − log q|, M = max(p, q) and v = exp(−x) − 1, so that
min(p, q) = M (1 + v), a token adds M (x + v) to the KL of the larger one, −M ((1 + v) x + v) to that of the smaller
one, and −M ((1 + w v) log(1 + w v) + w (1 + v) x) to Jensen-Shannon, w being the smaller one's weight in the mixture.
"""

import torch
from torch import Tensor

from overlap.whole_vocabulary import NEAR

_FARTHEST = 1e37
"""Nats: an infinite distance stands for itself only in divergences that are infinite, which are not near."""


def near_divergence(log_p: Tensor, log_q: Tensor, kind: str, beta: float) -> Tensor:
    """A divergence of q, the teacher's, and p; for the kinds see `overlap.objectives.set_divergence`.

    Args:
        log_p: ``[n, m]`` log-probabilities; where both are equal, nothing is added, whatever they are.
        log_q: ``[n, m]``.
        kind: which divergence.
        beta: of ``jensen_shannon``.

    Returns:
        ``[n]`` in nats, without gradient; meaningless where the divergence is infinite.
    """
    first, second = (log_p, log_q) if kind == "reverse_kl" else (log_q, log_p)
    largest = torch.maximum(first, second).exp_()
    d = (first - second).nan_to_num_(nan=0.0, posinf=_FARTHEST, neginf=-_FARTHEST)  # NaN: −inf on both sides
    minus = d.abs().neg_()
    v = torch.expm1(minus)
    if_smaller = torch.addcmul(minus, minus, v)
    is_larger = torch.gt(d, 0.0, out=d)  # as a number: to choose by a mask costs more than all the rest
    if kind == "jensen_shannon":
        weight = is_larger.mul_(1 - 2 * beta).add_(beta)  # in the mixture, of the smaller of the two
        of_smaller = v.mul_(weight)
        terms = if_smaller.mul_(weight).sub_(of_smaller.log1p().mul_(of_smaller + 1))
    else:
        if_larger = torch.sub(v, minus, out=minus)
        if_smaller.sub_(v)
        terms = if_larger.sub_(if_smaller).mul_(is_larger).add_(if_smaller)
    return terms.mul_(largest).sum(-1)


def near_rows(values: Tensor) -> Tensor:
    """Which divergences ``[n]`` are so small that float32's rounding may show in them; bool ``[n]``."""
    return values < NEAR if values.dtype == torch.float32 else torch.zeros_like(values, dtype=torch.bool)
