"""Divergences of distributions that nearly agree, from log-probabilities rounded to float32.

Rounding makes the sum of each distribution differ from 1, and the plain KL contains this error in full; the divergence
itself may be smaller. Here each token's term p log(p/q) gets q − p added. The sum of these is 0 if both distributions
sum to 1. The error of the sums then enters only by its square, and the rounding error of each term is small relative to
the term.

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
"""Limit for the smaller KL, in nats: below it, float32 rounding of probabilities may exceed 1e-4 of the KL."""

_FARTHEST = 1e37
"""Nats, in place of an infinite distance: a divergence with an infinite distance is infinite or not near."""


def near_rows(values: Tensor) -> Tensor:
    """Return divergences ``[n]`` that are small enough to be affected by float32 rounding, as bool ``[n]``."""
    return values < NEAR if values.dtype == torch.float32 else torch.zeros_like(values, dtype=torch.bool)


def near_divergence(log_p: Tensor, log_q: Tensor, kind: str, beta: float) -> Tensor:
    """Return a divergence of q, the teacher's, and p; for the kinds see
    `overlap.losses.divergence_on_set.set_divergence`.

    Args:
        log_p: ``[n, m]`` log-probabilities; a token for which both are equal adds nothing.
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
    is_larger = torch.gt(d, 0.0, out=d)  # multiplied as a number: selecting by a mask costs more than all the rest
    if kind == "jensen_shannon":
        weight = is_larger.mul_(1 - 2 * beta).add_(beta)  # in the mixture, of the smaller of the two
        terms = _shannon(v, weighed, weight)
    else:
        smaller = _of_smaller(v, weighed)
        terms = _of_larger(minus, v).sub_(smaller).mul_(is_larger).add_(smaller)
    return terms.mul_(largest).sum(-1)


def near_divergences(p: Tensor, q: Tensor, d: Tensor) -> Tensor:
    """Return reverse and forward KL, Jensen-Shannon and total variation, with a few correct digits however close p and
    q are.

    Args:
        p: ``[n, m]``, with any sum; the results are proportional to it.
        q: ``[n, m]`` with the same sum, up to rounding.
        d: ``[n, m]`` log₂ p − log₂ q, more exact than computed from p and q.

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
    """Return v = exp(−x) − 1 and −x (1 + v), from −x."""
    v = torch.expm1(minus)
    return v, torch.addcmul(minus, minus, v)


def _of_larger(minus: Tensor, v: Tensor) -> Tensor:
    return v - minus


def _of_smaller(v: Tensor, weighed: Tensor) -> Tensor:
    return weighed - v


def _shannon(v: Tensor, weighed: Tensor, weight: Tensor | float) -> Tensor:
    inner = v * weight
    return weighed * weight - inner.log1p().mul_(inner + 1)
