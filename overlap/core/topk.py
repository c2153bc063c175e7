"""Supports: the sets of tokens on which teacher and student are compared.

Sets are chosen from raw logits in float32, so temperature does not change them. They are deterministic (of equal
scores, the lower id is chosen) and never contain a blocked token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.core.checks import admissible_ids, as_tensor, check_k, check_logits, check_mask, refuse_undefined
from overlap.core.chunking import chunks
from overlap.core.topk_kernel import NONE, block_maxima, ranked, touched_blocks
from overlap.errors import UserError


@dataclass(frozen=True, eq=False)
class Support:
    """A set of tokens at every position, padded to one width.

    Attributes:
        ids: ``[..., k]`` long. The valid ids of a position are distinct; an invalid slot holds 0, so that
            ``logits.gather(-1, ids)`` is always safe.
        valid: ``[..., k]`` bool, True where the slot holds a member of the set.
        boundary_tie: ``[...]`` bool, True where the k-th and (k+1)-th admissible scores are equal and only the tie rule
            decided; None when the scores beyond the k-th are unknown.
    """

    ids: Tensor
    valid: Tensor
    boundary_tie: Tensor | None = None

    def __post_init__(self) -> None:
        if self.ids.dtype != torch.long or self.valid.dtype != torch.bool or self.ids.shape != self.valid.shape:
            raise UserError(
                "Support: expected ids [..., k] of torch.int64 and valid [..., k] of torch.bool, received "
                f"{list(self.ids.shape)} of {self.ids.dtype} and {list(self.valid.shape)} of {self.valid.dtype}"
            )

    @property
    def size(self) -> Tensor:
        """``[...]`` long, the number of tokens in the set."""
        return self.valid.sum(-1)

    def keep(self, condition: Tensor) -> "Support":
        """Drop the members where ``condition`` ``[..., k]`` is False."""
        valid = self.valid & condition
        return Support(self.ids.masked_fill(~valid, 0), valid, self.boundary_tie)


def top_k(
    logits: Tensor, k: int, *, blocked: Tensor | Sequence[int] | None = None, mask: Tensor | None = None
) -> Support:
    """Return the k best-scored admissible tokens at every position, best first, equal scores by ascending id.

    Args:
        logits: ``[..., V]`` raw scores of any floating dtype, compared in float32. A score of −inf means probability
            zero: such a token is in no set.
        k: set size.
        blocked: ids removed before the choice, or a ``[V]`` bool mask of them.
        mask: ``[...]`` bool; a masked position is not read and gets an empty set.

    Returns:
        A support of width k on the logits' device, without gradient.

    Raises:
        UserError: on malformed arguments, k above the number of admissible tokens, or NaN, +inf or only −inf at an
        unmasked position.
    """
    logits = as_tensor(logits, "logits")
    check_logits(logits, "logits")
    shape, vocabulary, device = logits.shape[:-1], logits.shape[-1], logits.device
    admissible = admissible_ids(blocked, vocabulary, device)
    k = check_k(k, vocabulary if admissible is None else int(admissible.sum()), "the logits")
    mask = check_mask(mask, shape, device).reshape(shape or (1,))
    logits = logits.detach().reshape(*mask.shape, vocabulary)

    ids = torch.zeros(*mask.shape, k, dtype=torch.long, device=device)
    valid = torch.zeros(*mask.shape, k, dtype=torch.bool, device=device)
    tie = torch.zeros(mask.shape, dtype=torch.bool, device=device)
    peaks = []
    for index in chunks(mask, vocabulary):
        chosen, peak = select(logits[index], k, admissible)
        ids[index], valid[index] = chosen.ids, chosen.valid
        if chosen.boundary_tie is not None:
            tie[index] = chosen.boundary_tie
        peaks.append(peak)
    if peaks:
        refuse_undefined(torch.cat(peaks), mask.nonzero(as_tuple=True), "logits")
    return Support(ids.reshape(*shape, k), valid.reshape(*shape, k), tie.reshape(shape))


def select(scores: Tensor, k: int, admissible: Tensor | None) -> tuple[Support, Tensor]:
    """Return the result of `top_k` of one chunk.

    Args:
        scores: ``[n, V]`` floating point.
        k: set size, at most the number of admissible tokens.
        admissible: ``[V]`` bool, or None when nothing is blocked.

    Returns:
        The support and the largest admissible score ``[n]`` (not finite where the position has no softmax).
    """
    scores = scores.float()
    maxima = block_maxima(scores, admissible, touched_blocks(admissible))
    values, ids = ranked(scores, maxima, min(k + 1, scores.shape[-1]), admissible)
    return prefix(values, ids, k), values[:, 0]


def prefix(values: Tensor, ids: Tensor, k: int) -> Support:
    """Return the first k of ranked tokens.

    Args:
        values: ``[n, m]`` scores, best first, m > k unless the vocabulary has no more.
        ids: ``[n, m]`` their ids.
        k: set size.
    """
    best, ids = values[:, :k], ids[:, :k]
    valid = best > NONE
    tie = torch.zeros(values.shape[0], dtype=torch.bool, device=values.device)
    if values.shape[-1] > k:
        tie = (values[:, k] == values[:, k - 1]) & (values[:, k] > NONE)
    return Support(ids.masked_fill(~valid, 0), valid, tie)


def union(student: Support, teacher: Support) -> Support:
    """Return S ∪ T: the student's slots, then the teacher's, invalid where the student already has the token.

    Args:
        student: width k_S.
        teacher: of the same leading shape and in the same ids (see `VocabularyMap.teacher_support`), width k_T.

    Returns:
        Width k_S + k_T.

    Raises:
        UserError: if the leading shapes differ.
    """
    ids, valid = _joined(student, teacher)
    return Support(ids, valid, _combine_boundary_ties(student, teacher)).keep(~_mark_repeated(ids, valid))


def intersection(student: Support, teacher: Support) -> Support:
    """Return S ∩ T: the student's slots, valid where the teacher has the token too.

    Args:
        student: width k_S.
        teacher: of the same leading shape and in the same ids, any width.

    Returns:
        Width k_S, in the student's order.

    Raises:
        UserError: if the leading shapes differ.
    """
    shared = _mark_repeated(*_joined(teacher, student))[..., teacher.ids.shape[-1] :]
    return Support(student.ids, student.valid, _combine_boundary_ties(student, teacher)).keep(shared)


def _joined(first: Support, second: Support) -> tuple[Tensor, Tensor]:
    if first.ids.shape[:-1] != second.ids.shape[:-1]:
        raise UserError(
            f"supports: expected one leading shape, received {list(first.ids.shape[:-1])} and "
            f"{list(second.ids.shape[:-1])}; take both at the same positions"
        )
    return torch.cat([first.ids, second.ids], -1), torch.cat([first.valid, second.valid], -1)


def _mark_repeated(ids: Tensor, valid: Tensor) -> Tensor:
    """Mark each valid slot whose id stands in an earlier valid slot; memory is linear in the width."""
    ordered, order = ids.masked_fill(~valid, -1).sort(dim=-1, stable=True)
    same = torch.zeros_like(valid)
    same[..., 1:] = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)
    return torch.zeros_like(valid).scatter(-1, order, same)


def _combine_boundary_ties(student: Support, teacher: Support) -> Tensor | None:
    if student.boundary_tie is None or teacher.boundary_tie is None:
        return None
    return student.boundary_tie | teacher.boundary_tie
