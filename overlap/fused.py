"""The sums of `overlap.whole_vocabulary` as one pure function that compilers can fuse, for accelerators.

On a CPU the passes over scratch memory there are faster, even than this compiled; they are the reference.
"""

import functools
import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor

from overlap.pair import Pair

FLOOR = -90.0
"""In bits: 2^−90 = 1e-27 of the best token's mass, far below float32's 1e-7, far above its subnormal numbers. A token
there or below counts as zero, not as that: times a score of −1e30, as masks have them, even 1e-27 would be too much."""


def sums(
    p_scores: Tensor,
    q_scores: Tensor,
    maxima: tuple[Tensor, Tensor],
    pair: Pair,
    temperature: float,
    *,
    kernel: Callable[..., Tensor] | None = None,
) -> Tensor:
    """What `overlap.whole_vocabulary` sums over the vocabulary, ``[10, n]``; see `steps`.

    Args:
        p_scores: ``[n, V]`` the student's scores, of any floating type.
        q_scores: the teacher's.
        maxima: ``[n, blocks]`` the best scores of either, see `overlap.selection.block_maxima`.
        pair: both vocabularies.
        temperature: divides the scores.
        kernel: what computes them; by default compiled where Triton is there to compile for, else step by step.
    """
    kernel = kernel or _kernel()
    scale = 1 / (temperature * math.log(2.0))
    peaks = (best.amax(-1, keepdim=True) for best in maxima)
    admissible = pair.student.admissible, pair.teacher.admissible
    return kernel(p_scores, q_scores, *peaks, scale, *admissible, *(pair.shared or (None, None)))


@functools.cache
def _kernel() -> Callable[..., Tensor]:
    return torch.compile(steps, dynamic=True) if importlib.util.find_spec("triton") else steps


def steps(
    p_scores: Tensor,
    q_scores: Tensor,
    p_peak: Tensor,
    q_peak: Tensor,
    scale: float,
    p_admissible: Tensor | None,
    q_admissible: Tensor | None,
    p_shared: Tensor | None,
    q_shared: Tensor | None,
) -> Tensor:
    """The sums, written out on whole tensors, ``[10, n]``.

    Of the student's 2^bits, ``bits`` being the scores' distance from the best one over ln 2 (0 at `FLOOR` and below),
    the sum, and that of 2^bits · bits; of the teacher's the same; of the student's and of the teacher's, the sum over
    the shared ids; then what `closely` gives.
    """
    p_bits, p = _powers(p_scores, p_peak, scale, p_admissible)
    q_bits, q = _powers(q_scores, q_peak, scale, q_admissible)
    z_p, z_q = _sum(p_bits, p), _sum(q_bits, q)
    whole = torch.stack([z_p, (p * p_bits).sum(-1).double(), z_q, (q * q_bits).sum(-1).double()])
    if p_shared is not None and q_shared is not None:
        p_bits, p, q_bits, q = p_bits[:, p_shared], p[:, p_shared], q_bits[:, q_shared], q[:, q_shared]
        z_p, z_q = p.sum(-1).double(), q.sum(-1).double()
    ratio = (z_p / z_q)[:, None]
    divergences = closely(p, q * ratio.float(), p_bits - q_bits - ratio.log2().float())
    return torch.cat([whole, torch.stack([z_p, z_q]), divergences.double()])


def closely(p: Tensor, q: Tensor, d: Tensor) -> Tensor:
    """Reverse and forward KL, Jensen-Shannon and total variation, to a few digits however close p and q are.

    With x = |log p − log q|, M = max(p, q) and v = exp(−x) − 1, so that min(p, q) = M (1 + v), what a token adds is
    M (x + v) to the KL of the larger one, −M ((1 + v) x + v) to the KL of the smaller one, which is
    Σ p log(p/q) − p + q token by token: the differences p − q add up to 0, and no term is rounded by more than a part
    of itself. Likewise Jensen-Shannon is −½ M ((2 + v) log(1 + v/2) + (1 + v) x), total variation −½ M v.

    Args:
        p: ``[n, m]``, of any sum, which the results are multiples of.
        q: ``[n, m]`` with the same sum, but for rounding.
        d: ``[n, m]`` log₂ p − log₂ q, better than p and q tell it.

    Returns:
        ``[4, n]`` in nats.
    """
    largest, minus = torch.maximum(p, q), d.abs() * -math.log(2.0)
    v = torch.expm1(minus)
    weighed = torch.addcmul(minus, minus, v)
    larger, smaller = (v - minus) * largest, (weighed - v) * largest
    more = d > 0
    half = v / 2
    middle = (weighed / 2 - torch.addcmul(half.log1p(), half.log1p(), half)) * largest
    return torch.stack(
        [
            torch.where(more, larger, smaller).sum(-1),
            torch.where(more, smaller, larger).sum(-1),
            middle.sum(-1),
            (v * largest).sum(-1) / -2,
        ]
    )


def _sum(bits: Tensor, values: Tensor) -> Tensor:
    """The sum of the values in float64, the best tokens apart, whose 1 would cost the others their digits."""
    best = bits == 0
    return torch.where(best, 0.0, values).sum(-1).double() + best.sum(-1)


def _powers(scores: Tensor, peak: Tensor, scale: float, admissible: Tensor | None) -> tuple[Tensor, Tensor]:
    bits = (scores.float() - peak) * scale
    if admissible is not None:
        bits = torch.where(admissible, bits, FLOOR)
    return bits, torch.where(bits <= FLOOR, -torch.inf, bits).exp2()
