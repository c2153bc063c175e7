"""Rules that weight single positions, each from the formula of its source; `overlap.weights.registry` lists them.

All take ``[B, L]`` tensors and a bool mask and return ``[B, L]`` float64 without gradient: NaN outside the mask, and
at positions of the mask where an input is undefined. An undefined position adds nothing to a sum over a rollout. Of the
papers only abstracts, summaries and notes were at hand; where a docstring says "ours", the number is not the paper's.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor

from overlap.errors import UserError
from overlap.weights.inputs import check_mask, check_values

PRUNE_THRESHOLD = 0.7
"""τ of Prune-OPD; 0.9 is in use as well."""
PRUNE_DECREMENT = 0.02
"""d of Prune-OPD; from 0.01."""
REFERENCE_LENGTH = 100
"""Median length of rollouts for which `scaled_decrement` gives d itself; ours."""
SELECTKD_REJECTED = 0.01
"""Weight that SelecTKD gives to a rejected token."""
TIP_KEEP = 0.5
"""Share of positions that TIP keeps."""
IW_GAMMA = 0.5
"""γ of IW-OPD, as in TRL 1.16."""
IW_EPSILON = 1e-8
"""Least total |A| of a rollout that IW-OPD divides by, as in TRL 1.16."""
SEAD_CERTAIN = 0.1
"""Entropy in nats below which SEAD takes a model as certain; ours."""


@torch.no_grad()
def prune(
    overlap_ratio: Tensor,
    mask: Tensor,
    *,
    outside_nucleus: Tensor | None = None,
    threshold: float = PRUNE_THRESHOLD,
    decrement: float = PRUNE_DECREMENT,
) -> Tensor:
    """Prune-OPD (after arXiv 2605.07804): w_t = clamp(1 − d Σ_{i ≤ t} bad_i, 0, 1), bad_i = [o_i < τ].

    o is the ratio of the overlap of both top-16 sets. In the second version a position is bad only if also the written
    token is outside the teacher's nucleus. The paper also ends a rollout early, which a weight does not.

    Args:
        overlap_ratio: o, between 0 and 1.
        mask: positions.
        outside_nucleus: 1 where the token is outside, else 0; None is the first version.
        threshold: τ.
        decrement: d.

    Returns:
        Weights in [0, 1] that never rise along a rollout.

    Raises:
        UserError: wrong shapes or types, or a negative decrement.
    """
    there = _defined(mask, overlap_ratio=overlap_ratio)
    if outside_nucleus is not None:
        there = there & _defined(mask, outside_nucleus=outside_nucleus)
    if not decrement >= 0:
        raise UserError(f"decrement: expected at least 0, received {decrement!r}")
    bad = there & (overlap_ratio < threshold)
    if outside_nucleus is not None:
        bad &= outside_nucleus > 0.5
    return _placed((1 - decrement * bad.cumsum(-1).double()).clamp(0, 1), there)


def scaled_decrement(mask: Tensor, *, decrement: float = PRUNE_DECREMENT, reference: float = REFERENCE_LENGTH) -> float:
    """d of Prune-OPD for rollouts of another length: d · reference / median length; ours.

    d itself was chosen for rollouts of thousands of tokens and takes 50 bad positions to reach 0: an utterance of 14
    never gets there. Scaled, a rollout of median length gets there when half of its positions are bad.

    Args:
        mask: ``[B, L]`` positions; rollouts without any are left out of the median.
        decrement: d.
        reference: median length at which d is used as it is.
    """
    check_mask(mask)
    lengths = mask.sum(-1)[mask.any(-1)].double()
    return decrement * reference / float(lengths.quantile(0.5)) if len(lengths) else decrement


@torch.no_grad()
def selectkd(best_in_teachers: Tensor, mask: Tensor, *, rejected: float = SELECTKD_REJECTED) -> Tensor:
    """SelecTKD, greedy (arXiv 2510.24021): 1 if argmax p is among the 5 best tokens of q, else 0.01.

    Args:
        best_in_teachers: 1 where it is, else 0.
        mask: positions.
        rejected: weight where it is not.

    Returns:
        Weights in {rejected, 1}.

    Raises:
        UserError: wrong shapes or types.
    """
    there = _defined(mask, best_in_teachers=best_in_teachers)
    weights = torch.full_like(best_in_teachers, rejected, dtype=torch.float64)
    return _placed(weights.masked_fill(best_in_teachers > 0.5, 1.0), there)


@torch.no_grad()
def tip(student_entropy: Tensor, reverse_kl: Tensor, mask: Tensor, *, keep: float = TIP_KEEP) -> Tensor:
    """TIP (after arXiv 2604.14084): 1 at the share of positions with the highest s = ĥ + δ̂ − ĥ δ̂, else 0.

    ĥ is the student's entropy and δ̂ is KL(p‖q), each scaled over all positions given from its least (0) to its largest
    (1); 0 where all are equal. An infinite δ̂ is 1, and the others are scaled among themselves. Positions with the same
    s as the last one kept are kept too (ours), so that the order of rollouts does not matter: more than the share then.

    Args:
        student_entropy: in nats.
        reverse_kl: in nats.
        mask: positions.
        keep: the share.

    Returns:
        Weights in {0, 1}. They depend on which rollouts are given together.

    Raises:
        UserError: wrong shapes or types, or a share outside (0, 1].
    """
    there = _defined(mask, student_entropy=student_entropy, reverse_kl=reverse_kl)
    if not 0 < keep <= 1:
        raise UserError(f"keep: expected a share within (0, 1], received {keep!r}")
    result = _placed(torch.zeros_like(mask, dtype=torch.float64), there)
    if there.any():
        h, delta = (_scaled(value[there].double()) for value in (student_entropy, reverse_kl))
        score = h + delta - h * delta
        least = score.sort(descending=True).values[math.ceil(keep * len(score)) - 1]
        result[there] = (score >= least).double()
    return result


@torch.no_grad()
def iw(
    student_logprob: Tensor,
    teacher_logprob: Tensor,
    mask: Tensor,
    *,
    gamma: float = IW_GAMMA,
    epsilon: float = IW_EPSILON,
) -> Tensor:
    """IW-OPD (arXiv 2606.22600) as TRL 1.16 computes it: w_t = 1 + γ (1 − Σ_{i<t} |A_i| / max(Σ_i |A_i|, ε)).

    A = log q(y) − log p(y). Early positions weigh up to 1 + γ, late ones 1: nothing is ever left out. Where A is 0
    throughout, all weigh 1 + γ. TRL refuses an infinite A; here it has no weight and is left out of the sums.

    Args:
        student_logprob: log p(y), in nats.
        teacher_logprob: log q(y), in nats.
        mask: positions.
        gamma: γ.
        epsilon: ε.

    Returns:
        Weights in [1, 1 + γ] that never rise along a rollout.

    Raises:
        UserError: wrong shapes or types, a negative γ or an ε that is not positive.
    """
    there = _defined(mask, student_logprob=student_logprob, teacher_logprob=teacher_logprob)
    if not (gamma >= 0 and epsilon > 0):
        raise UserError(f"gamma, epsilon: expected at least 0 and more than 0, received {gamma!r} and {epsilon!r}")
    away = (teacher_logprob.double() - student_logprob.double()).abs()
    there = there & away.isfinite()
    away = away.masked_fill(~there, 0.0)
    sums = torch.nn.functional.pad(away.cumsum(-1), (1, 0))  # added in one order, whatever the padding
    share = sums[:, :-1] / sums[:, -1:].clamp_min(epsilon)
    return _placed(1 + gamma * (1 - share), there)


@torch.no_grad()
def tropd(student_logprob: Tensor, teacher_logprob: Tensor, mask: Tensor) -> Tensor:
    """TrOPD's measure of trust (after arXiv 2606.01249) as a weight: w = min(q(y) / p(y), 1).

    The paper compares this ratio with a threshold, trains on the reverse KL where it is above, and clips, masks or
    takes the forward KL where it is not, with guidance by the teacher's prefixes. The ratio as a weight is ours.

    Args:
        student_logprob: log p(y), in nats.
        teacher_logprob: log q(y), in nats.
        mask: positions.

    Returns:
        Weights in [0, 1].

    Raises:
        UserError: wrong shapes or types.
    """
    there = _defined(mask, student_logprob=student_logprob, teacher_logprob=teacher_logprob)
    ratio = (teacher_logprob.double() - student_logprob.double()).clamp_max(0).exp()
    return _placed(ratio, there & ~ratio.isnan())  # NaN where both are −∞


class SeadChoice(IntEnum):
    """What SEAD trains on at a position."""

    skip = 0
    reverse_kl = 1
    forward_kl = 2


@torch.no_grad()
def sead(student_entropy: Tensor, teacher_entropy: Tensor, mask: Tensor, *, certain: float = SEAD_CERTAIN) -> Tensor:
    """SEAD's choice of a divergence (after arXiv 2606.28562): it is not a weight.

    `SeadChoice.skip` where both models are certain, `reverse_kl` where only the teacher is, `forward_kl` where the
    teacher is not. A model is certain where its entropy is below a limit, which is ours, as is a limit in nats at all.
    The paper's annealing between the divergences and its curriculum are left out.

    Args:
        student_entropy: in nats.
        teacher_entropy: in nats.
        mask: positions.
        certain: the limit, in nats.

    Returns:
        Numbers of `SeadChoice`, as floats.

    Raises:
        UserError: wrong shapes or types.
    """
    there = _defined(mask, student_entropy=student_entropy, teacher_entropy=teacher_entropy)
    by_student = torch.where(student_entropy < certain, float(SeadChoice.skip), float(SeadChoice.reverse_kl))
    return _placed(torch.where(teacher_entropy < certain, by_student, float(SeadChoice.forward_kl)), there)


def _defined(mask: Tensor, **values: Tensor) -> Tensor:
    """Positions of the mask at which no value is NaN, once all have been checked."""
    check_mask(mask)
    there = mask
    for name, value in values.items():
        check_values(name, value, mask)
        there = there & ~value.isnan()
    return there


def _placed(weights: Tensor, there: Tensor) -> Tensor:
    return weights.double().masked_fill(~there, torch.nan)


def _scaled(values: Tensor) -> Tensor:
    """From the least value, 0, to the largest finite one, 1; infinite ones are 1, and all are 0 if they are equal."""
    finite = values[values.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    scaled = (values - low) / (high - low) if high > low else torch.zeros_like(values)
    return torch.where(values.isposinf(), 1.0, scaled)
