"""The training objective from hidden states: KL between teacher and student on the union of their supports.

On a subset of the vocabulary the partition function cancels: the raw logits of both models at the tokens of the union
determine the loss exactly. All logits are therefore needed only to choose the sets, without gradients and in chunks;
value and gradient need only the head's rows of the union.

For other trainers: `distill`, which has logits, takes `divergence_on_set` (in `distill.training.objectives`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from overlap.core import chunking
from overlap.core.buffers import Scratch
from overlap.core.checks import check_leading, check_mask, refuse_undefined
from overlap.core.layouts import plain
from overlap.core.lm_head import Head
from overlap.core.topk import Support, select, union
from overlap.errors import UserError
from overlap.losses.divergence_on_set import support_kl
from overlap.losses.tail import log_outside
from overlap.vocab.settings import ComparisonSettings
from overlap.vocab.vocab_pair import Side
from overlap.vocab.vocabulary_map import VocabularyMap


@dataclass(frozen=True, eq=False)
class UnionKL:
    """The loss and the positions and sets it was computed on.

    Attributes:
        loss: in nats, with the student's graph: a scalar, or ``[...]`` without reduction.
        n_used: positions with at least 2 union tokens; the mean is over these.
        union_size: ``[...]`` float32, valid tokens in the union; NaN where masked. Its mean over positions is VUSS.
    """

    loss: Tensor
    n_used: int
    union_size: Tensor


def union_kl(
    student_hidden: Tensor,
    student_head: Head | nn.Module | Tensor,
    teacher_hidden: Tensor,
    teacher_head: Head | nn.Module | Tensor,
    *,
    k: int = 32,
    mask: Tensor | None = None,
    vocabulary: VocabularyMap | None = None,
    temperature: float = 1.0,
    blocked: Tensor | Sequence[int] | None = None,
    teacher_blocked: Tensor | Sequence[int] | None = None,
    tail: bool = False,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> UnionKL:
    """Return τ² KL(teacher ‖ student) on the union of both supports, from hidden states, differentiable.

    Neither forward nor backward holds ``[positions × V]``: forward computes chunks of
    `overlap.core.chunking.SET_ELEMENTS` logits of one model at a time, to choose the sets; backward computes none and
    uses only the rows of the head that are in a set. The sets are those of `overlap.measure` on the models' logits;
    scores on them are float32 sums also for half-precision models. Gradients reach the student's hidden states, weight
    and bias.

    A loss renormalized on the union ignores mass outside it. In a large vocabulary the student's mass then leaves the
    union. With a tail, all tokens outside the union count as one more token; forward and backward then each compute the
    student's logits once more, in chunks.

    >>> student, teacher = torch.nn.Linear(8, 50), torch.nn.Linear(16, 50)
    >>> result = union_kl(torch.randn(2, 5, 8), student, torch.randn(2, 5, 16), teacher, k=4)
    >>> result.loss.backward()
    >>> result.n_used, result.union_size.shape, student.weight.grad.shape
    (10, torch.Size([2, 5]), torch.Size([50, 8]))

    Args:
        student_hidden: ``[..., H]`` the input of the student's output layer (after the last norm).
        student_head: the model (scale and cap of its logits follow from its class and configuration); its output layer
            or weight ``[V, H]``, if the model does not change the logits afterwards; or an `overlap.Head`.
        teacher_hidden: ``[..., H_teacher]`` at the same positions.
        teacher_head: the teacher's.
        k: size of the supports.
        mask: ``[...]`` bool, True where a position counts; other positions are not read.
        vocabulary: the map between the two vocabularies; None when ids agree.
        temperature: τ; the sets do not depend on it.
        blocked: the student's ids to take out of both models' sets, or a ``[V]`` bool mask of them.
        teacher_blocked: the teacher's ids to take out of both; needed for ids without a student id.
        tail: keep the models' own probabilities, and count all tokens outside the union as one.
        reduction: ``"mean"`` over the positions with at least 2 union tokens; ``"sum"``, for means over several
            processes or batches; ``"none"``, for your own weights: ``[...]`` with 0 where a position is not used.

    Returns:
        The loss (0 with a graph if no position is used), and the positions and sets it was computed on.

    Raises:
        UserError: on arguments that do not fit each other, and where logits at a position that counts are NaN, +inf
        or all −inf.
    """
    student, teacher = Head.from_layer(student_head, "student_head"), Head.from_layer(teacher_head, "teacher_head")
    student.check(student_hidden, "student_hidden")
    teacher.check(teacher_hidden, "teacher_hidden")
    student_hidden, teacher_hidden = plain(student_hidden, "student_hidden"), plain(teacher_hidden, "teacher_hidden")
    shape, device = student_hidden.shape[:-1], student_hidden.device
    check_leading(teacher_hidden, "teacher_hidden", shape)
    if reduction not in ("mean", "sum", "none"):
        raise UserError(f'reduction: expected "mean", "sum" or "none", received {reduction!r}')
    settings = ComparisonSettings(
        k=k, temperature=temperature, vocabulary=vocabulary, blocked=blocked, teacher_blocked=teacher_blocked
    )
    pair = settings.pair(student.vocabulary, teacher.vocabulary, device)
    counted = check_mask(mask, shape, device)

    # Masked positions must not enter the arithmetic, not even multiplied by zero.
    grid = counted.reshape(shape or (1,))
    hidden = student_hidden.reshape(*grid.shape, student.size)[grid]
    there = grid.to(teacher_hidden.device)
    teacher_rows = teacher_hidden.detach().reshape(*there.shape, teacher.size)[there]
    with torch.no_grad():
        s = pair.student_support(_top_k(hidden, student, k, pair.student, grid, "student"))
        t = pair.teacher_support(_top_k(teacher_rows, teacher, k, pair.teacher, grid, "teacher"))
        u = union(s, t)
        in_teacher = Support(pair.to_teacher(u.ids), u.valid)
        teacher_scores = teacher.logits_at(teacher_rows, in_teacher.ids).to(device)
    student_scores = student.logits_at(hidden, u.ids)
    if tail:
        with torch.no_grad():
            beyond = _log_outside(teacher, teacher_rows, in_teacher, pair.teacher, temperature).to(device)
        rest = _log_outside(student, hidden, u, pair.student, temperature)
        each = support_kl(student_scores, teacher_scores, u.valid, temperature=temperature, tails=(rest, beyond))
    else:
        each = support_kl(student_scores, teacher_scores, u.valid, temperature=temperature)

    n_used = int((u.size >= 2).sum())
    size = torch.full(grid.shape, torch.nan, device=device)
    size[grid] = u.size.float()
    if reduction == "none":
        loss = each.new_zeros(grid.shape).index_put(grid.nonzero(as_tuple=True), each).reshape(shape)
    else:
        loss = each.sum() / max(n_used, 1) if reduction == "mean" else each.sum()
    return UnionKL(loss, n_used, size.reshape(shape))


def _log_outside(head: Head, hidden: Tensor, chosen: Support, side: Side, temperature: float) -> Tensor:
    device = head.weight.device
    admissible = None if side.admissible is None else side.admissible.to(device)
    ids, valid = chosen.ids.to(device), chosen.valid.to(device)
    return log_outside(head, hidden, ids, valid, temperature=temperature, admissible=admissible)


def _top_k(hidden: Tensor, head: Head, k: int, side: Side, grid: Tensor, name: str) -> Support:
    """Return the best tokens of every row of ``[n, H]``, on the grid's device; the grid gives the rows' positions."""
    ids = torch.empty(hidden.shape[0], k, dtype=torch.long, device=grid.device)
    valid = torch.empty_like(ids, dtype=torch.bool)
    peaks = torch.empty(hidden.shape[0], device=grid.device)
    admissible = None if side.admissible is None else side.admissible.to(hidden.device)
    scratch = Scratch(head.weight.device)
    for part in chunking.parts_of(hidden.shape[0], head.vocabulary, chunking.SET_ELEMENTS):
        chosen, peaks[part] = select(head.logits(hidden[part], scratch), k, admissible)
        ids[part], valid[part] = chosen.ids, chosen.valid
    refuse_undefined(peaks, grid.nonzero(as_tuple=True), f"logits of {name}_hidden through {name}_head")
    return Support(ids, valid)
