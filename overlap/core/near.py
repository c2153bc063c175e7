"""Divergences of distributions that nearly agree, from log-probabilities that carry float32's rounding.

A divergence may then be smaller than what rounding takes from 1 in the sum of either distribution, and that enters the
plain KL in full. To what a token adds, p log(p/q), this adds q − p, whose sum is 0 where both sum to 1: what the sums
are wrong by is then felt by its square alone, and no term is rounded by more than a part of itself.

With x = |log p − log q|, M = max(p, q) and v = exp(−x) − 1, so that min(p, q) = M (1 + v), a token adds

* M (x + v) to the KL of the larger one,
* −M ((1 + v) x + v) to the KL of the smaller one,
* −M ((1 + w v) log(1 + w v) + w (1 + v) x) to Jensen-Shannon, w being the smaller one's weight in the mixture,
* −½ M v to total variation.
"""

import math

import torch
from torch import Tensor

NEAR = 2e-3
"""Of the smaller KL, in nats: below it the rounding of float32 probabilities may be more than 1e-4 of it."""

_FARTHEST = 1e37
"""Nats: an infinite distance stands for itself only in divergences that are infinite, which are not near."""


def near_rows(values: Tensor) -> Tensor:
    """Which divergences ``[n]`` are so small that float32's rounding may show in them; bool ``[n]``."""
    return values < NEAR if values.dtype == torch.float32 else torch.zeros_like(values, dtype=torch.bool)


def near_divergence(log_p: Tensor, log_q: Tensor, kind: str, beta: float) -> Tensor:
    """A divergence of q, the teacher's, and p; for the kinds see `overlap.losses.divergence_on_set.set_divergence`.

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
    v, weighed = _parts(minus)
    is_larger = torch.gt(d, 0.0, out=d)  # as a number: to choose by a mask costs more than all the rest
    if kind == "jensen_shannon":
        weight = is_larger.mul_(1 - 2 * beta).add_(beta)  # in the mixture, of the smaller of the two
        terms = _shannon(v, weighed, weight)
    else:
        smaller = _of_smaller(v, weighed)
        terms = _of_larger(minus, v).sub_(smaller).mul_(is_larger).add_(smaller)
    return terms.mul_(largest).sum(-1)


def near_divergences(p: Tensor, q: Tensor, d: Tensor) -> Tensor:
    """Reverse and forward KL, Jensen-Shannon and total variation, to a few digits however close p and q are.

    Args:
        p: ``[n, m]``, of any sum, which the results are multiples of.
        q: ``[n, m]`` with the same sum, but for rounding.
        d: ``[n, m]`` log₂ p − log₂ q, better than p and q tell it.

    Returns:
        ``[4, n]`` in nats.
    """
    largest, minus = torch.maximum(p, q), d.abs() * -math.log(2.0)
    v, weighed = _parts(minus)
    larger, smaller = _of_larger(minus, v) * largest, _of_smaller(v, weighed) * largest
    more = d > 0
    return torch.stack(
        [
            torch.where(more, larger, smaller).sum(-1),
            torch.where(more, smaller, larger).sum(-1),
            (_shannon(v, weighed, 0.5) * largest).sum(-1),
            (v * largest).sum(-1) / -2,
        ]
    )


def _parts(minus: Tensor) -> tuple[Tensor, Tensor]:
    """From −x: v = exp(−x) − 1, and −x (1 + v)."""
    v = torch.expm1(minus)
    return v, torch.addcmul(minus, minus, v)


def _of_larger(minus: Tensor, v: Tensor) -> Tensor:
    return v - minus


def _of_smaller(v: Tensor, weighed: Tensor) -> Tensor:
    return weighed - v


def _shannon(v: Tensor, weighed: Tensor, weight: Tensor | float) -> Tensor:
    inner = v * weight
    return weighed * weight - inner.log1p().mul_(inner + 1)
