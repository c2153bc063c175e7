"""The rollout policy nearest the teacher within a KL ball around the student; after arXiv 2605.31159, constants ours.

The closed form is that paper's (Trust-Region Behavior Blending): among all policies within the ball, the one with the
smallest KL from the teacher is a geometric mean of the two models. Root search and tolerances are ours.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from overlap.errors import UserError

RELATIVE_TOLERANCE = 1e-9
"""How far below the radius, as a share of it, the search may leave the divergence."""
SMALLEST_BRACKET = 1e-12
"""Width of the bracket around β at which the search ends in any case."""
MOST_ITERATIONS = 100
"""More than bisection alone needs for that bracket."""


class Blend(NamedTuple):
    """A policy between student and teacher at each position.

    Attributes:
        beta: [...] float64 weight of the teacher, 0 is the student and 1 the teacher.
        logprobs: [..., vocabulary] float64, in nats.
        divergence: [...] float64, its KL from the student, in nats.
    """

    beta: Tensor
    logprobs: Tensor
    divergence: Tensor


def blend(student: Tensor, teacher: Tensor, radius: float) -> Blend:
    """Return π ∝ p^(1−β) q^β with the largest β in [0, 1] for which KL(π‖p) ≤ `radius`.

    KL(π‖p) rises with β: its derivative is β times the variance of log q − log p under π. So β is 1 where the teacher
    is inside the ball, and otherwise the root of KL(π‖p) = `radius`, found in float64 by Newton's method within a
    bisection's bracket. The divergence never exceeds the radius.

    A token to which one of the models gives probability 0 has probability 0 for every β > 0, and at β = 1 as well: the
    teacher is then renormalized on the student's tokens, which is the limit β → 1. Where the tokens of the teacher
    leave out more of the student's probability than the radius allows, β is 0.

    Args:
        student: [..., vocabulary] logits or log-probabilities, −inf for tokens that cannot be written.
        teacher: Likewise, of the same shape.
        radius: Of the ball, in nats, at least 0.

    Raises:
        UserError: The shapes differ, the radius is not a finite number of at least 0, or scores are not numbers.
    """
    if student.shape != teacher.shape:
        raise UserError(f"blend: expected scores of one shape, received {[*student.shape]} and {[*teacher.shape]}")
    if not (math.isfinite(radius) and radius >= 0):
        raise UserError(f"radius: expected a finite number of nats of at least 0, received {radius!r}")
    p, q = student.double().log_softmax(-1), teacher.double().log_softmax(-1)
    for side, scores in (("student", p), ("teacher", q)):
        if bool(scores.isnan().any()):
            raise UserError(f"blend: the {side}'s scores at a position are NaN or +inf, or rule out every token")
    shared = p.isfinite() & q.isfinite()
    base, ratio = p.masked_fill(~shared, -math.inf), (q - p).masked_fill(~shared, 0.0)
    beta = torch.ones(p.shape[:-1], dtype=p.dtype, device=p.device)
    outside = _divergence(base, ratio, beta)[0] > radius
    if bool(outside.any()):
        beta[outside] = _largest(base[outside], ratio[outside], radius)
    divergence = torch.where(beta > 0, _divergence(base, ratio, beta)[0], 0.0)
    scores = base + beta[..., None] * ratio
    return Blend(beta, torch.where(beta[..., None] > 0, scores - scores.logsumexp(-1, keepdim=True), p), divergence)


def _divergence(base: Tensor, ratio: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Return KL(π‖p) and its derivative by β, for β > 0; infinite without a shared token."""
    scores = base + beta[..., None] * ratio
    log_partition = scores.logsumexp(-1)
    weights = (scores - log_partition[..., None]).exp()
    mean = (weights * ratio).sum(-1)
    divergence = (beta * mean - log_partition).clamp_min(0.0)
    slope = beta * ((weights * ratio.square()).sum(-1) - mean.square())
    return divergence.nan_to_num(nan=math.inf, posinf=math.inf), slope


def _largest(base: Tensor, ratio: Tensor, radius: float) -> Tensor:
    """Return [n] the largest β below 1 with a divergence within the radius, for rows whose teacher is outside."""
    low, high = base.new_zeros(len(base)), base.new_ones(len(base))
    if radius == 0:
        return low
    done = torch.zeros_like(low, dtype=torch.bool)
    aim, enough = radius * (1 - RELATIVE_TOLERANCE), radius * (1 - 2 * RELATIVE_TOLERANCE)
    beta = (low + high) / 2
    for _ in range(MOST_ITERATIONS):
        divergence, slope = _divergence(base, ratio, beta)
        within = divergence <= radius
        low, high = torch.where(within & ~done, beta, low), torch.where(within | done, high, beta)
        done |= (within & (divergence >= enough)) | (high - low <= SMALLEST_BRACKET)
        if bool(done.all()):
            break
        newton = beta - (divergence - aim) / slope
        beta = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
    return low
