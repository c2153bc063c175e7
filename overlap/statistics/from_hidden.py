"""Overlap from hidden states: logits are computed in chunks and not kept."""

import functools
from collections.abc import Iterator
from typing import Unpack

import torch
from torch import Tensor, nn

from overlap.core import chunking
from overlap.core.buffers import Scratch
from overlap.core.checks import TensorLike, as_tensor, check_leading
from overlap.core.lm_head import Head
from overlap.statistics.measure import TokenStatistics
from overlap.statistics.plan import Measurement, Rows
from overlap.vocab.settings import ComparisonKeywords, ComparisonSettings


def measure_hidden(
    student_hidden: TensorLike,
    student_head: Head | nn.Module | Tensor,
    teacher_hidden: TensorLike,
    teacher_head: Head | nn.Module | Tensor,
    *,
    mask: TensorLike | None = None,
    tokens: TensorLike | None = None,
    **settings: Unpack[ComparisonKeywords],
) -> TokenStatistics:
    """Return the result of `overlap.measure` on both models' logits, without keeping more than a chunk of them.

    A chunk is `overlap.core.chunking.HEAD_ELEMENTS` logits of each model.

    Args:
        student_hidden: ``[..., H]`` the input of the student's output layer (after the last norm).
        student_head: the model (scale and cap of its logits follow from its class and configuration); its output layer
            or weight ``[V, H]``, if the model does not change the logits afterwards; or an `overlap.Head`.
        teacher_hidden: ``[..., H_teacher]`` at the same positions.
        teacher_head: the teacher's.
        mask: ``[...]`` bool, True where a position counts; other positions are not read.
        tokens: ``[...]`` long, the generated ids in the student's vocabulary, negative where there is none.
        settings: ``k``, ``temperature`` and the others of `overlap.measure`.

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
    sizes, points = (student.vocabulary, teacher.vocabulary), [ComparisonSettings(**settings)]
    measurement = Measurement.from_settings(
        sizes, student_hidden.shape[:-1], student_hidden.device, points, mask, tokens
    )
    student_rows = student_hidden.detach().reshape(-1, student.size)
    teacher_rows = teacher_hidden.detach().reshape(-1, teacher.size)
    scratch, teacher_scratch = Scratch(student.weight.device), Scratch(teacher.weight.device)

    def portions() -> Iterator[tuple[Tensor, Rows]]:
        where = measurement.where
        width = max(student.vocabulary, teacher.vocabulary)
        for part in chunking.parts_of(where.numel(), width, chunking.HEAD_ELEMENTS):
            here = where[part]
            logits = (
                student.logits(student_rows[here], scratch),
                teacher.logits(teacher_rows[here.to(teacher_rows.device)], teacher_scratch),
            )
            yield here, functools.partial(_rows, logits, here)

    (statistics,) = TokenStatistics.from_measurement(measurement, portions()).values()
    return statistics


def _rows(logits: tuple[Tensor, Tensor], here: Tensor, chunk: Tensor, _: Scratch) -> tuple[Tensor, Tensor]:
    """Return rows of some of the positions of these logits; the requested positions are consecutive."""
    first = int(torch.searchsorted(here, chunk[0]))
    return logits[0][first : first + chunk.numel()], logits[1][first : first + chunk.numel()]
