"""Student against a served teacher on the same transcripts: what its lists decide, and bounds of what they do not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

import overlap
from overlap.core.topk import Support
from overlap.estimates.group_sums import GroupSums

from ..data.batch import Batch
from ..models import Transcripts
from ..recipe import SupportSettings
from ..recipe.readings import ENDS, UNDECIDED
from ..teacher import ServedTeacher
from ..timing import Stopwatch
from .local import account, refuse_undefined
from .pair import Pair


@dataclass(frozen=True, eq=False)
class ListedComparison:
    """The student's logits and the teacher's lists at the student's positions.

    Attributes:
        pair: The two models.
        transcripts: In the student's ids.
        student_logits: [batch, length, student's vocabulary].
        teacher_ids: [batch, length, m] listed tokens in the teacher's ids, −1 in empty slots.
        teacher_logprobs: [batch, length, m], over the teacher's whole vocabulary at temperature 1.
        sets: The student's and the teacher's top-k sets, in the student's ids, without tokens that the other lacks; the
            teacher's is smaller than it is where blocked tokens leave fewer than k listed ones.
        union: Of the two.
        used: [batch, length] bool, positions that count.
        funnel: Where the others went.
        support: k; the temperature is 1.
    """

    pair: Pair
    transcripts: Transcripts
    student_logits: Tensor
    teacher_ids: Tensor
    teacher_logprobs: Tensor
    sets: tuple[Support, Support]
    union: Support
    used: Tensor
    funnel: overlap.Funnel
    support: SupportSettings

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

    def own_statistics(self) -> dict[str, Tensor]:
        """Values [batch, length] of the further statistics that the lists decide or the student alone."""
        logits = self.student_logits.detach()
        alone = overlap.measure(
            logits, logits, k=1, mask=self.used, tokens=self.transcripts.ids, blocked=self.pair.blocked
        )
        ids = self.teacher_ids
        known = ((ids >= 0) & ~self.pair.teacher_blocked[ids.clamp_min(0)]).sum(-1) >= self.support.k
        sizes = [chosen.size.double() for chosen in self.sets]
        values = {"student_size": sizes[0], "teacher_size": sizes[1].masked_fill(~known, torch.nan)}
        return values | {name: getattr(alone, name).double() for name in ("student_entropy", "student_logprob")}

    def teacher_logprobs_of(self, ids: Tensor) -> Tensor:
        """The teacher's log-probabilities of [batch, length, n] tokens in the student's ids, NaN where not listed."""
        wanted = self.pair.teacher_ids(ids)
        found = (self.teacher_ids[..., None, :] == wanted[..., :, None]).double()  # at most one a token
        logprobs = (found * self.teacher_logprobs[..., None, :]).sum(-1)
        return torch.where(found.any(-1), logprobs, torch.nan)

    def sums(self) -> GroupSums:
        """Sums and counts over the used positions of this batch, as one group; undecided statistics by their ends."""
        found = self.bounds()
        sides = zip(ENDS, (found.lower, found.upper), strict=True)
        ends = {f"{name}.{end}": values[name] for end, values in sides for name in UNDECIDED}
        group = torch.zeros(len(self.used), dtype=torch.long)
        return GroupSums.from_values({**found.decided(), **ends}, group, mask=self.used)


def compare_lists(
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
        ids, logprobs = teacher.lists((teachers_batch or batch).prompt(teacher), view.texts, view.transcripts)
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
    sets = (ours, theirs)
    return ListedComparison(pair, transcripts, student_logits, ids, logprobs, sets, union, used, funnel, support)


def listed_support(pair: Pair, ids: Tensor, k: int) -> Support:
    """The k best listed tokens that are not blocked, in the student's ids, without those that the student lacks.

    Args:
        pair: The two models.
        ids: [..., m] in the teacher's ids, best first, −1 in empty slots.
        k: Size of the set; it is smaller where so many are not listed.
    """
    given = ids >= 0
    allowed = given & ~pair.teacher_blocked[ids.clamp_min(0)]
    best = allowed & (allowed.cumsum(-1) <= k)
    chosen = Support(ids.masked_fill(~best, 0), best)
    chosen = chosen if pair.vocabulary is None else pair.vocabulary.teacher_support(chosen)
    return chosen.keep(~pair.blocked[chosen.ids])
