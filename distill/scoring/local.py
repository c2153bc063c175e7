"""Student and teacher on the same transcripts: both models' logits, the positions that count, and where others went."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

import overlap
from overlap.core.topk import Support
from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums

from ..data.batch import Batch
from ..models import Recognizer, Transcripts
from ..recipe import SupportSettings
from ..teacher import ServedTeacher
from ..timing import Stopwatch
from .pair import Pair


class LogitsError(UserError):
    """A model whose scores are not numbers."""


@dataclass(frozen=True)
class Comparison:
    """Both models at the student's positions.

    Attributes:
        pair: The two models.
        transcripts: In the student's ids.
        student_logits: [batch, length, student's vocabulary].
        teacher_logits: [batch, length, teacher's vocabulary].
        sets: The student's and the teacher's top-k sets, in the student's ids.
        union: Of the two.
        used: [batch, length] bool, positions that count.
        funnel: Where the others went.
        support: k and temperature.
    """

    pair: Pair
    transcripts: Transcripts
    student_logits: Tensor
    teacher_logits: Tensor
    sets: tuple[Support, Support]
    union: Support
    used: Tensor
    funnel: overlap.Funnel
    support: SupportSettings

    def statistics(self) -> overlap.TokenStatistics:
        """Every token statistic at the used positions, without gradients."""
        return overlap.measure(
            self.student_logits.detach(),
            self.teacher_logits,
            k=self.support.k,
            temperature=self.support.temperature,
            mask=self.used,
            tokens=self.transcripts.ids,
            blocked=self.pair.blocked,
            teacher_blocked=self.pair.teacher_blocked,
            vocabulary=self.pair.vocabulary,
        )

    def sums(self) -> GroupSums:
        """Sums and counts over the used positions of this batch, as one group."""
        return GroupSums.from_values(
            self.statistics().values(), torch.zeros(len(self.used), dtype=torch.long), mask=self.used
        )


def compare(
    pair: Pair,
    batch: Batch,
    transcripts: Transcripts,
    support: SupportSettings,
    *,
    gradients: bool = False,
    drop_empty: bool = False,
    drop_truncated: bool = False,
    teachers_batch: Batch | None = None,
    clock: Stopwatch | None = None,
) -> Comparison:
    """Score the same transcripts with both models and account for every position.

    Args:
        pair: The two recognizers; transcripts are in the student's ids.
        batch: Utterances and their audio.
        transcripts: Tokens at whose positions the models are compared.
        support: k and temperature.
        gradients: Keep the student's graph.
        drop_empty: Put the only position of an empty rollout in its own bin instead of using it.
        drop_truncated: Likewise the positions of rollouts that did not end.
        teachers_batch: The same utterances as the teacher hears them, where it hears them otherwise.
        clock: Takes the seconds of the phases `teacher`, `student` and `measure`.

    Raises:
        LogitsError: A model's logits hold NaN or +inf; names the model, the utterance and the position.
    """
    clock, student, teacher = clock or Stopwatch(), pair.student, pair.teacher
    if isinstance(teacher, ServedTeacher):
        raise TypeError(f"{teacher.name} shows no logits; compare with distill.scoring.served.compare_lists")
    with clock("teacher"), torch.no_grad():
        view = pair.view(transcripts)
        heard = (teachers_batch or batch).prompt(teacher)
        scored = teacher.score(heard, view.transcripts).to(transcripts.ids.device)
    with clock("student"), nullcontext() if gradients else torch.no_grad():
        student_logits = student.score(batch.prompt(student), transcripts)
    with clock("measure"), torch.no_grad():
        refuse_undefined(student_logits, "student", student, batch, transcripts)
        refuse_undefined(scored, "teacher", teacher, batch, view.transcripts)
        teacher_logits, mask = view.at_student(scored), transcripts.mask
        misaligned = torch.zeros_like(mask) if view.alignment is None else view.alignment.misaligned
        sets = _top_k(pair, student_logits, teacher_logits, support.k, mask & ~misaligned)
        union = overlap.union(*sets)
        funnel, used = account(
            pair, transcripts, misaligned, union, drop_empty=drop_empty, drop_truncated=drop_truncated
        )
    return Comparison(pair, transcripts, student_logits, teacher_logits, sets, union, used, funnel, support)


def _top_k(pair: Pair, student_logits: Tensor, teacher_logits: Tensor, k: int, mask: Tensor) -> tuple[Support, Support]:
    """Both models' top-k sets in the student's ids, without the tokens that the other does not have."""
    own = overlap.top_k(student_logits.detach(), k, blocked=pair.blocked, mask=mask)
    other = overlap.top_k(teacher_logits, k, blocked=pair.teacher_blocked, mask=mask)
    if pair.vocabulary is None:
        return own, other
    return pair.vocabulary.student_support(own), pair.vocabulary.teacher_support(other)


def account(
    pair: Pair,
    transcripts: Transcripts,
    misaligned: Tensor,
    support: Support,
    *,
    drop_empty: bool,
    drop_truncated: bool,
) -> tuple[overlap.Funnel, Tensor]:
    """Where every position goes, and [batch, length] bool, which are used: those with two tokens of the support."""
    empty = (transcripts.lengths == 0) & transcripts.finished
    reasons = {
        "empty_rollout": (empty if drop_empty else torch.zeros_like(empty)).unsqueeze(-1),
        "blocked": pair.blocked[transcripts.ids],
        "misaligned": misaligned,
        "truncated": (~transcripts.finished if drop_truncated else torch.zeros_like(empty)).unsqueeze(-1),
        "thin_support": support.valid.sum(-1) < 2,
    }
    return overlap.account(transcripts.mask, reasons, unfinished=~transcripts.finished.unsqueeze(-1))


def refuse_undefined(logits: Tensor, role: str, recognizer: Recognizer, batch: Batch, transcripts: Transcripts) -> None:
    """Raise where a model's logits at real positions are not numbers.

    Raises:
        LogitsError: Names the model, the utterance and the position.
    """
    largest = logits.detach().amax(-1)  # NaN where there is one
    wrong = ((largest.isnan() | largest.isposinf()) & transcripts.mask.to(largest.device)).nonzero()
    if len(wrong):
        row, position = wrong[0].tolist()
        raise LogitsError(
            f"{role} {recognizer.name!r}: NaN or infinite logits at {len(wrong)} of {int(transcripts.mask.sum())} "
            f"positions, first at position {position} of utterance {batch.utterances[row].id!r}. Check its weights and "
            "dtype (float16 overflows where bfloat16 does not), or lower the learning rate if it was just trained."
        )
