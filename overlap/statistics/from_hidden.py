"""Overlap from hidden states: the logits exist a chunk at a time and are never kept."""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from overlap.core import chunking
from overlap.core.buffers import Scratch
from overlap.core.checks import TensorLike, as_tensor, check_leading
from overlap.core.lm_head import Head
from overlap.statistics.measure import TOP_P, TokenStatistics
from overlap.statistics.plan import Measurement, Rows
from overlap.vocab.vocabulary_map import VocabularyMap


def measure_hidden(
    student_hidden: TensorLike,
    student_head: Head | nn.Module | Tensor,
    teacher_hidden: TensorLike,
    teacher_head: Head | nn.Module | Tensor,
    *,
    k: int = 32,
    mask: TensorLike | None = None,
    vocabulary: VocabularyMap | None = None,
    tokens: TensorLike | None = None,
    temperature: float = 1.0,
    blocked: Tensor | Sequence[int] | None = None,
    teacher_blocked: Tensor | Sequence[int] | None = None,
    top_p: float = TOP_P,
) -> TokenStatistics:
    """What `overlap.measure` gives on both models' logits, without ever holding more than a chunk of either.

    A chunk is `overlap.core.chunking.HEAD_ELEMENTS` logits of each model.

    Args:
        student_hidden: ``[..., H]`` what the student's output layer takes (after the last norm).
        student_head: the model, whose class and configuration say what it does to its logits; or its output layer or
            the weight ``[V, H]`` of one that does nothing to them; or `overlap.Head` with what it does.
        teacher_hidden: ``[..., H_teacher]`` at the same positions.
        teacher_head: the teacher's.
        k: size of the top-k sets.
        mask: ``[...]`` bool, True where a position counts; elsewhere nothing is looked at.
        vocabulary: the map between the two vocabularies; None when ids agree.
        tokens: ``[...]`` long, the generated ids in the student's vocabulary, negative where there is none.
        temperature: divides both sides' logits in every probability.
        blocked: the student's ids to take out, or a ``[V]`` bool mask of them.
        teacher_blocked: the teacher's ids to take out; needed for those that no student id maps to.
        top_p: mass of the sets of ``nucleus_overlap``.

    Returns:
        Statistics on the student's device, without gradient.

    Raises:
        UserError: on arguments that do not fit each other, and where logits at a position that counts are NaN, +inf
            or all −inf.

    Example:
        >>> import torch
        >>> student, teacher = torch.nn.Linear(8, 50), torch.nn.Linear(16, 50)
        >>> statistics = measure_hidden(torch.randn(2, 5, 8), student, torch.randn(2, 5, 16), teacher, k=4)
        >>> statistics.union_size.shape
        torch.Size([2, 5])
    """
    student, teacher = Head.from_layer(student_head, "student_head"), Head.from_layer(teacher_head, "teacher_head")
    student_hidden = as_tensor(student_hidden, "student_hidden")
    teacher_hidden = as_tensor(teacher_hidden, "teacher_hidden")
    student.check(student_hidden, "student_hidden")
    teacher.check(teacher_hidden, "teacher_hidden")
    check_leading(teacher_hidden, "teacher_hidden", student_hidden.shape[:-1])
    measurement = Measurement.from_arguments(
        (student.vocabulary, teacher.vocabulary),
        student_hidden.shape[:-1],
        student_hidden.device,
        ks=(k,),
        temperatures=(temperature,),
        mask=mask,
        vocabulary=vocabulary,
        tokens=tokens,
        blocked=blocked,
        teacher_blocked=teacher_blocked,
        top_p=top_p,
    )
    own = student_hidden.detach().reshape(-1, student.size)
    other = teacher_hidden.detach().reshape(-1, teacher.size)
    mine, theirs = Scratch(student.weight.device), Scratch(teacher.weight.device)

    def portions() -> Iterator[tuple[Tensor, Rows]]:
        where = measurement.where
        width = max(student.vocabulary, teacher.vocabulary)
        for part in chunking.parts_of(where.numel(), width, chunking.HEAD_ELEMENTS):
            here = where[part]
            logits = (
                student.logits(own[here], mine),
                teacher.logits(other[here.to(other.device)], theirs),
            )
            yield here, functools.partial(_rows, logits, here)

    return TokenStatistics.from_measurement(measurement, portions())[k, float(temperature)]


def _rows(logits: tuple[Tensor, Tensor], here: Tensor, chunk: Tensor, _: Scratch) -> tuple[Tensor, Tensor]:
    """The rows of some of the positions that these are the logits of; the ones asked for lie one behind the other."""
    first = int(torch.searchsorted(here, chunk[0]))
    return logits[0][first : first + chunk.numel()], logits[1][first : first + chunk.numel()]
