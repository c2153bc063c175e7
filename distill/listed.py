"""Student against a served teacher on the same transcripts: what its lists decide, and bounds of what they do not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

import overlap

from .comparison import account, refuse_undefined
from .data import Batch
from .models import Transcripts
from .pair import Pair
from .recipe import Support
from .teacher import ServedTeacher
from .timing import Stopwatch

UNDECIDED = tuple(name for name in overlap.BOUNDED_STATISTICS if name not in overlap.DECIDED_BY_TOP_K)
"""Statistics of which a list of the teacher's best tokens gives bounds alone."""

STUDENTS_OWN = ("student_entropy", "student_logprob")
"""Statistics in which the teacher has no part."""


@dataclass(frozen=True, eq=False)
class ListedComparison:
    """The student's logits and the teacher's lists at the student's positions.

    Attributes:
        pair: The two models.
        transcripts: In the student's ids.
        student_logits: [batch, length, student's vocabulary].
        teacher_ids: [batch, length, m] listed tokens in the teacher's ids, −1 in empty slots.
        teacher_logprobs: [batch, length, m], over the teacher's whole vocabulary at temperature 1.
        student_support: The student's top-k set.
        teacher_support: The teacher's, in the student's ids, without tokens that the student lacks; smaller than it is
            where blocked tokens leave fewer than k listed ones.
        used: [batch, length] bool, positions that count.
        funnel: Where the others went.
        support: k; the temperature is 1.
    """

    pair: Pair
    transcripts: Transcripts
    student_logits: Tensor
    teacher_ids: Tensor
    teacher_logprobs: Tensor
    student_support: overlap.Support
    teacher_support: overlap.Support
    used: Tensor
    funnel: overlap.Funnel
    support: Support

    @property
    def union(self) -> overlap.Support:
        """Of both sets, as far as the lists show the teacher's."""
        return overlap.union(self.student_support, self.teacher_support)

    def bounds(self) -> overlap.OverlapBounds:
        """Lower and upper ends of every statistic that has some, at the used positions."""
        pair = self.pair
        return overlap.measure_bounds(
            self.student_logits.detach(),
            self.teacher_ids,
            self.teacher_logprobs,
            k=self.support.k,
            mask=self.used,
            vocabulary=pair.vocabulary,
            blocked=pair.blocked,
            teacher_blocked=pair.teacher_blocked,
        )

    def students_own(self) -> dict[str, Tensor]:
        """Values [batch, length] of the statistics in which the teacher has no part."""
        logits = self.student_logits.detach()
        alone = overlap.measure(
            logits, logits, k=1, mask=self.used, tokens=self.transcripts.ids, blocked=self.pair.blocked
        )
        return {name: getattr(alone, name) for name in STUDENTS_OWN}

    def sums(self) -> overlap.GroupSums:
        """Sums and counts over the used positions of this batch, as one group; undecided statistics by their ends."""
        found = self.bounds()
        ends = {f"{name}.{end}": values[name] for end, values in _ends(found) for name in UNDECIDED}
        group = torch.zeros(len(self.used), dtype=torch.long)
        return overlap.GroupSums.from_values({**found.decided(), **ends}, group, mask=self.used)


def compare_lists(
    pair: Pair,
    batch: Batch,
    transcripts: Transcripts,
    support: Support,
    *,
    gradients: bool = False,
    drop_empty: bool = False,
    drop_truncated: bool = False,
    clock: Stopwatch | None = None,
) -> ListedComparison:
    """Score the same transcripts with the student and a served teacher, and account for every position.

    For the arguments see `compare`.

    Raises:
        LogitsError: The student's logits hold NaN or +inf.
        ServerError: The server did not answer, or not with what was asked for.
    """
    clock, student, teacher = clock or Stopwatch(), pair.student, pair.teacher
    assert isinstance(teacher, ServedTeacher)
    with clock("teacher"), torch.no_grad():
        view = pair.view(transcripts)
        ids, logprobs = teacher.lists(batch.prompt(teacher), view.texts, view.transcripts)
    with clock("student"), nullcontext() if gradients else torch.no_grad():
        student_logits = student.score(batch.prompt(student), transcripts)
    with clock("measure"), torch.no_grad():
        refuse_undefined(student_logits, "student", student, batch, transcripts)
        assert view.alignment is not None
        misaligned = view.alignment.misaligned
        ids = view.at_student(ids).to(student_logits.device)
        logprobs = view.at_student(logprobs).to(student_logits.device)
        ids = ids.masked_fill(~(transcripts.mask & ~misaligned)[..., None], -1)
        aligned = transcripts.mask & ~misaligned
        ours = overlap.top_k(student_logits.detach(), support.k, blocked=pair.blocked, mask=aligned)
        ours = ours if pair.vocabulary is None else pair.vocabulary.student_support(ours)
        theirs = listed_support(pair, ids, support.k)
        union = overlap.union(ours, theirs)
        funnel, used = account(
            pair, transcripts, misaligned, union, drop_empty=drop_empty, drop_truncated=drop_truncated
        )
    return ListedComparison(pair, transcripts, student_logits, ids, logprobs, ours, theirs, used, funnel, support)


def listed_support(pair: Pair, ids: Tensor, k: int) -> overlap.Support:
    """The k best listed tokens that are not blocked, in the student's ids, without those that the student lacks.

    Args:
        pair: The two models.
        ids: [..., m] in the teacher's ids, best first, −1 in empty slots.
        k: Size of the set; it is smaller where so many are not listed.
    """
    given = ids >= 0
    allowed = given & ~pair.teacher_blocked.to(ids.device)[ids.clamp_min(0)]
    best = allowed & (allowed.cumsum(-1) <= k)
    chosen = overlap.Support(ids.masked_fill(~best, 0), best)
    chosen = chosen if pair.vocabulary is None else pair.vocabulary.teacher_support(chosen)
    return chosen.keep(~pair.blocked[chosen.ids])


def _ends(found: overlap.OverlapBounds) -> tuple[tuple[str, dict[str, Tensor]], ...]:
    return ("lower", found.lower), ("upper", found.upper)
