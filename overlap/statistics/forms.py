"""Means of statistics over some of the positions; see `overlap.definitions.forms`."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from overlap.definitions import Ranges
from overlap.definitions.forms import FORMS, PAST_TEACHER
from overlap.definitions.names import statistic_of
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import Groups, GroupSums
from overlap.estimates.summary import estimate
from overlap.statistics.repeats import N, before_repeats, without_repeats


def form_masks(
    tokens: Tensor, mask: Tensor, finished: Tensor, *, teacher_lengths: Tensor | None = None, n: int = N
) -> dict[str, Tensor]:
    """Return the positions of each form.

    Args:
        tokens: ``[B, L]`` ids as written.
        mask: ``[B, L]`` bool, True at real positions; they are the first of each row.
        finished: ``[B]`` bool, True where the last real position is an end of text.
        teacher_lengths: ``[B]`` positions of the teacher's transcript of the same audio, its end included; negative
            where it did not end. Without them there is no form ``past_teacher``.
        n: tokens of a repeated sequence.

    Returns:
        ``[B, L]`` bool by form.

    Raises:
        UserError: if tokens and mask differ in shape, or n is below 1.
    """
    place = torch.arange(mask.shape[-1], device=mask.device)
    masks = {
        "before_repeats": before_repeats(tokens, mask, n),
        "without_repeats": without_repeats(tokens, mask, n),
        "at_end": mask & finished[:, None] & (place == mask.sum(-1, keepdim=True) - 1),
    }
    if teacher_lengths is not None:
        lengths = teacher_lengths.to(mask.device)[:, None]
        masks[PAST_TEACHER] = mask & (lengths >= 0) & (place >= lengths)
    return masks


def form_sums(
    values: Mapping[str, Tensor], masks: Mapping[str, Tensor], groups: Groups, *, used: Tensor
) -> dict[str, GroupSums]:
    """Return sums over the positions of each form, which add up over batches.

    Args:
        values: ``[B, L]`` statistics by name; those that a form does not have are left out.
        masks: ``[B, L]`` bool by form, from `form_masks`.
        groups: the utterance of each row.
        used: ``[B, L]`` bool, positions that count at all.

    Returns:
        Sums by form; their statistics are named with it, such as ``top1_agreement.without_repeats``.
    """
    found = {}
    for form, mask in masks.items():
        kept = {_named(name, form): value for name, value in values.items() if statistic_of(name) in FORMS[form]}
        found[form] = GroupSums.from_values(kept, groups, mask=used & mask)
    return found


def form_estimates(
    sums: Sequence[Mapping[str, GroupSums]], *, ranges: Ranges | None = None, draws: int = DRAWS, seed: int = 0
) -> dict[str, Estimate]:
    """Return means over the positions of each form, NaN without positions.

    Args:
        sums: of every batch, from `form_sums`.
        ranges: limits of the statistics.
        draws: bootstrap resamples of utterances.
        seed: of the resampling.
    """
    found: dict[str, Estimate] = {}
    for form in dict.fromkeys(name for part in sums for name in part):
        merged = GroupSums.merged([part[form] for part in sums if form in part])
        if not merged.keys:
            nothing = Estimate(np.nan, np.nan, np.nan, np.nan, 0, 0, 0)
            found |= dict.fromkeys(merged.names, nothing)
        else:
            found |= estimate(merged, ranges=ranges, draws=draws, seed=seed)
    return found


def _named(name: str, form: str) -> str:
    """Return the name with a form: behind the statistic, before the end of a bound."""
    base, dot, end = name.partition(".")
    return f"{base}.{form}{dot}{end}"
