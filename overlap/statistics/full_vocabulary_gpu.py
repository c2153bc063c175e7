"""The sums of `overlap.statistics.full_vocabulary` as one pure function that compilers can fuse, for accelerators.

On a CPU the passes over scratch memory there are faster, even if this function is compiled; they are the reference.
"""

import functools
import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor

from overlap.core.nearly_equal import near_divergences
from overlap.vocab.vocab_pair import VocabularyPair

FLOOR = -90.0
"""In bits: 2^−90 = 1e-27 of the best token's mass, far below float32's 1e-7, far above its subnormal numbers. A token
at the floor or below counts as exactly zero: multiplied by a masked score of −1e30, even 1e-27 would be too large."""


def sums(
    p_scores: Tensor,
    q_scores: Tensor,
    maxima: tuple[Tensor, Tensor],
    pair: VocabularyPair,
    temperature: float,
    *,
    kernel: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Return the sums of `overlap.statistics.full_vocabulary` over the vocabulary, ``[10, n]``; see `steps`.

    Args:
        p_scores: ``[n, V]`` the student's scores, of any floating type.
        q_scores: the teacher's.
        maxima: ``[n, blocks]`` the best scores of either, see `overlap.core.topk_kernel.block_maxima`.
        pair: both vocabularies.
        temperature: divides the scores.
        kernel: the function that computes them; by default compiled if Triton is available, otherwise eager.
    """
    kernel = kernel or _kernel()
    scale = 1 / (temperature * math.log(2.0))
    peaks = (best.amax(-1, keepdim=True) for best in maxima)
    admissible = pair.student.admissible, pair.teacher.admissible
    return kernel(p_scores, q_scores, *peaks, scale, *admissible, *(pair.shared or (None, None)))


@functools.cache
def _kernel() -> Callable[..., Tensor]:
    # Calls differ in the number of rows; without dynamic shapes each number would compile its own kernel.
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
    """Return the sums, written out on full tensors, ``[10, n]``.

    ``bits`` is a score's distance from the best one over ln 2; 2^bits is 0 at `FLOOR` and below. The rows are Σ 2^bits
    and Σ 2^bits · bits of the student, the same two of the teacher, Σ 2^bits over the shared ids of the student and of
    the teacher, and the four divergences of `overlap.core.nearly_equal.near_divergences`.
    """
    p_bits, p = _powers(p_scores, p_peak, scale, p_admissible)
    q_bits, q = _powers(q_scores, q_peak, scale, q_admissible)
    z_p, z_q = _sum(p_bits, p), _sum(q_bits, q)
    own = torch.stack([z_p, (p * p_bits).sum(-1).double(), z_q, (q * q_bits).sum(-1).double()])
    # Shared tokens are gathered after the exponentials: a model's own sum and its shared sum need the same
    # exponentials.
    if p_shared is not None and q_shared is not None:
        p_bits, p, q_bits, q = p_bits[:, p_shared], p[:, p_shared], q_bits[:, q_shared], q[:, q_shared]
        z_p, z_q = p.sum(-1).double(), q.sum(-1).double()
    # Always by the formulas for distributions that nearly agree. They are valid for others too, and on a GPU arithmetic
    # is hidden behind memory reads; selecting rows, as on a CPU, would synchronize with the host.
    ratio = (z_p / z_q)[:, None]
    divergences = near_divergences(p, q * ratio.float(), p_bits - q_bits - ratio.log2().float())
    return torch.cat([own, torch.stack([z_p, z_q]), divergences.double()])


def _sum(bits: Tensor, values: Tensor) -> Tensor:
    """Return the sum of the values in float64, with the best tokens (1) added separately, because beside them the
    others lose digits."""
    best = bits == 0
    return torch.where(best, 0.0, values).sum(-1).double() + best.sum(-1)


def _powers(scores: Tensor, peak: Tensor, scale: float, admissible: Tensor | None) -> tuple[Tensor, Tensor]:
    bits = (scores.float() - peak) * scale
    if admissible is not None:
        bits = torch.where(admissible, bits, FLOOR)  # not −inf, which times 0 would be NaN in the weighted sum
    return bits, torch.where(bits <= FLOOR, -torch.inf, bits).exp2()
