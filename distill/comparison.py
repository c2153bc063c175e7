"""Student and teacher on the same transcripts: both models' logits, the positions that count, and where others went."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

import overlap

from .data import Batch
from .models import Recogniser, Transcripts
from .recipe import Support
from .timing import Stopwatch


class LogitsError(ValueError):
    """A model whose scores are not numbers."""


@dataclass(frozen=True)
class Comparison:
    """Attributes: logits are [batch, length, vocabulary] in the student's ids; `used` is [batch, length] bool."""

    transcripts: Transcripts
    student_logits: Tensor
    teacher_logits: Tensor
    union: overlap.Support
    used: Tensor
    funnel: overlap.Funnel
    blocked: Tensor
    support: Support

    def statistics(self) -> overlap.TokenStatistics:
        """Every token statistic at the used positions, without gradients."""
        return overlap.measure(
            self.student_logits.detach(),
            self.teacher_logits,
            k=self.support.k,
            temperature=self.support.temperature,
            mask=self.used,
            tokens=self.transcripts.ids,
            blocked=self.blocked,
        )

    def sums(self) -> overlap.GroupSums:
        """Sums and counts over the used positions of this batch, as one group."""
        return overlap.GroupSums.from_values(
            self.statistics().values(), torch.zeros(len(self.used), dtype=torch.long), mask=self.used
        )


def compare(
    student: Recogniser,
    teacher: Recogniser,
    batch: Batch,
    transcripts: Transcripts,
    support: Support,
    *,
    gradients: bool = False,
    drop_empty: bool = False,
    drop_truncated: bool = False,
    clock: Stopwatch | None = None,
) -> Comparison:
    """Score the same transcripts with both models and account for every position.

    Args:
        student: Recogniser whose ids the transcripts are in.
        teacher: Recogniser with the same vocabulary.
        batch: Utterances and their audio.
        transcripts: Tokens at whose positions the models are compared.
        support: k and temperature.
        gradients: Keep the student's graph.
        drop_empty: Put the only position of an empty rollout in its own bin instead of using it.
        drop_truncated: Likewise the positions of rollouts that did not end.
        clock: Takes the seconds of the phases `teacher`, `student` and `measure`.

    Raises:
        LogitsError: A model's logits hold NaN or +inf; names the model, the utterance and the position.
    """
    clock = clock or Stopwatch()
    with clock("teacher"), torch.no_grad():
        teacher_logits = teacher.score(batch.prompt(teacher), transcripts)
    with clock("student"), nullcontext() if gradients else torch.no_grad():
        student_logits = student.score(batch.prompt(student), transcripts)
    with clock("measure"), torch.no_grad():
        _refuse_undefined(student_logits, "student", student, batch, transcripts)
        _refuse_undefined(teacher_logits, "teacher", teacher, batch, transcripts)
        blocked, mask = student.blocked | teacher.blocked, transcripts.mask
        union = overlap.union(
            overlap.top_k(student_logits.detach(), support.k, blocked=blocked, mask=mask),
            overlap.top_k(teacher_logits, support.k, blocked=blocked, mask=mask),
        )
        empty = (transcripts.lengths == 0) & transcripts.finished
        reasons = {
            "empty_rollout": (empty if drop_empty else torch.zeros_like(empty)).unsqueeze(-1),
            "blocked": blocked[transcripts.ids],
            "truncated": (~transcripts.finished if drop_truncated else torch.zeros_like(empty)).unsqueeze(-1),
            "thin_support": union.valid.sum(-1) < 2,
        }
        funnel, used = overlap.account(transcripts.mask, reasons)
    return Comparison(transcripts, student_logits, teacher_logits, union, used, funnel, blocked, support)


def _refuse_undefined(
    logits: Tensor, role: str, recogniser: Recogniser, batch: Batch, transcripts: Transcripts
) -> None:
    wrong = ((logits.isnan() | logits.isposinf()).any(-1) & transcripts.mask).nonzero()
    if len(wrong):
        row, position = wrong[0].tolist()
        raise LogitsError(
            f"{role} {recogniser.name!r}: NaN or infinite logits at {len(wrong)} of {int(transcripts.mask.sum())} "
            f"positions, first at position {position} of utterance {batch.utterances[row].id!r}. Check its weights and "
            "dtype (float16 overflows where bfloat16 does not), or lower the learning rate if it was just trained."
        )
