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
"""In bits: 2^−90 = 1e-27 of the best token's mass, far below float32's 1e-7, far above its subnormal numbers."""


def sums(
    p_scores: Tensor,
    q_scores: Tensor,
    peaks: tuple[Tensor, Tensor],
    pair: Pair,
    temperature: float,
    *,
    kernel: Callable[..., Tensor] | None = None,
) -> Tensor:
    """What `overlap.whole_vocabulary` sums over the vocabulary, ``[11, n]``; see there.

    Args:
        p_scores: ``[n, V]`` the student's scores, of any floating type.
        q_scores: the teacher's.
        peaks: ``[n, 1]`` the best score of either.
        pair: both vocabularies.
        temperature: divides the scores.
        kernel: what computes them; by default compiled where Triton is there to compile for, else step by step.
    """
    kernel = kernel or _kernel()
    scale = 1 / (temperature * math.log(2.0))
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
    """The sums, written out on whole tensors."""
    p_bits, p = _powers(p_scores, p_peak, scale, p_admissible)
    q_bits, q = _powers(q_scores, q_peak, scale, q_admissible)
    whole = [p.sum(-1), q.sum(-1), (p * p_bits).sum(-1), (q * q_bits).sum(-1)]
    if p_shared is not None and q_shared is not None:
        p_bits, p, q_bits, q = p_bits[:, p_shared], p[:, p_shared], q_bits[:, q_shared], q[:, q_shared]
    z_p, z_q = p.sum(-1), q.sum(-1)
    ratio = (z_p / z_q)[:, None]
    q = q * ratio
    d = p_bits - q_bits - ratio.log2()
    largest, middle = torch.maximum(p, q), (p + q) / 2
    return torch.stack(
        [
            *whole,
            z_p,
            z_q,
            (p * d).sum(-1),
            (q * d).sum(-1),
            (torch.minimum(p, q) * d.abs()).sum(-1),
            largest.sum(-1),
            ((largest / middle).log2() * middle).sum(-1),
        ]
    )


def _powers(scores: Tensor, peak: Tensor, scale: float, admissible: Tensor | None) -> tuple[Tensor, Tensor]:
    bits = (scores.float() - peak) * scale
    if admissible is not None:
        bits = torch.where(admissible, bits, FLOOR)
    return bits, bits.clamp_min(FLOOR).exp2()
