"""Divergence on a set of tokens, with all tokens outside it as one more token."""

from collections.abc import Sequence

import torch
from torch import Tensor

from overlap.core import chunking
from overlap.core.divergence import kl_divergence
from overlap.core.nearly_equal import NEAR
from overlap.vocab.vocab_pair import Side

_ROUNDING = 1e-7
"""Of the partition function."""
_ROUNDING_OF_REST = 2e-6
"""Of the sum of all tokens but the best, which lie tens of nats below it where that sum is small: float32 holds such
differences of scores to 1e-7 of themselves, and exponentials to that many more."""
_TOLERATED = 1e-4
"""Allowed rounding error, as a share of the divergence."""
_LEAST = 1e-6
"""Allowed absolute error of smaller divergences, in nats."""


def kl_with_tail(
    scores: tuple[Tensor, Tensor],
    ids: tuple[Tensor, Tensor],
    valid: Tensor,
    log_p: tuple[Tensor, Tensor],
    best: tuple[Tensor, Tensor],
    log_z: tuple[Tensor, Tensor],
    sides: tuple[Side, Side],
    temperature: float,
) -> Tensor:
    """Return KL(q‖p) over the members of a set and over the rest as one token, from both models' own probabilities.

    The rest is 1 minus the set's probability. If this leaves too few digits, it is summed over the tokens outside.

    Args:
        scores: the student's and the teacher's raw scores, ``[n, V]`` of any floating type.
        ids: ``[n, m]`` the set in each model's ids.
        valid: ``[n, m]`` bool, slots that hold a member; members are admissible and distinct.
        log_p: of each, ``[n, m]`` float64 log-probabilities of the members.
        best: of each, ``[n]`` the best score.
        log_z: of each, ``[n]`` float64, the logarithm of the partition function at the temperature.
        sides: both vocabularies.
        temperature: divides the scores.

    Returns:
        ``[n]`` float64 in nats; +inf where the student gives 0 to a token and the teacher does not.
    """
    none = [valid.sum(-1) == side.n_admissible for side in sides]
    outside = [1.0 - torch.where(valid, log.exp(), 0.0).sum(-1) for log in log_p]
    tails = [
        torch.where(nothing, -torch.inf, left.clamp_min(0.0).log()) for nothing, left in zip(none, outside, strict=True)
    ]
    kl = _kl(log_p, tails, valid)
    lost = []
    for top, z in zip(best, log_z, strict=True):
        rest = -torch.expm1(top.double() / temperature - z)
        lost.append(
            torch.where(rest < NEAR, _ROUNDING_OF_REST * rest, _ROUNDING)
            + 4 * torch.finfo(torch.float64).eps * (1.0 + z.abs())
        )
    # An error of log z does not change that members and rest add up to 1: it affects the KL only by their differences.
    ratio = tails[1] - tails[0]
    moved = lost[0] * ratio.expm1().abs() + lost[1] * ratio.abs()
    doubtful = (~(moved <= _TOLERATED * (kl + _LEAST)) | kl.isinf()) & ~(none[0] & none[1])
    for part in chunking.parts_of(int(doubtful.sum()), max(side.size for side in sides), chunking.ROW_ELEMENTS):
        rows = doubtful.nonzero()[:, 0][part]
        logs, rests = [], []
        for s, i, side, log, z in zip(scores, ids, sides, log_p, log_z, strict=True):
            rest = _outside(s[rows], i[rows], valid[rows], side, temperature) - z[rows]
            inside = log[rows].masked_fill(~valid[rows], -torch.inf)
            # The rest has a rounding error that log z lacks: divided by their own sum, members and rest add up to 1
            # again.
            total = torch.logaddexp(inside.logsumexp(-1), rest)
            logs.append(inside - total[:, None])
            rests.append(rest - total)
        kl[rows] = _kl(logs, rests, valid[rows])
    return kl


def _kl(log_p: Sequence[Tensor], tails: Sequence[Tensor], valid: Tensor) -> Tensor:
    student, teacher = (torch.cat([log, tail[:, None]], -1) for log, tail in zip(log_p, tails, strict=True))
    return kl_divergence(teacher, student, torch.nn.functional.pad(valid, (0, 1), value=True))


def _outside(scores: Tensor, ids: Tensor, valid: Tensor, side: Side, temperature: float) -> Tensor:
    """Return log Σ exp(z / τ) over the admissible tokens that are not in a set, ``[n]`` float64."""
    n, spare = len(scores), side.size  # a column for slots that hold no member
    left = torch.nn.functional.pad(scores.float(), (0, 1))
    left[:, side.blocked] = -torch.inf
    left.scatter_(-1, ids.masked_fill(~valid, spare), -torch.inf)
    left = left[:, :spare]
    peak = left.amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    return ((left - peak) / temperature).logsumexp(-1).double() + (peak.double() / temperature).view(n)
