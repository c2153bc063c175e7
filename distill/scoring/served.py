"""Scores of a teacher behind a server: top-k log-probabilities, and bounds of inexact statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

import overlap
from overlap.bounds.measure import bounds_given_set
from overlap.core.topk import Support
from overlap.definitions import Ranges
from overlap.errors import UserError
from overlap.statistics.with_sets import measure_with_sets
from overlap.vocab.settings import ComparisonSettings

from ..data.batch import Batch
from ..models import Prompt, Transcripts
from ..recipe import DivergenceObjective, Objective
from ..recipe.gate_statistics import OWN_STATISTICS
from ..teacher import ServedTeacher
from .pair import Pair, TeacherView
from .positions import Positions
from .scores import Scores

ROUNDING = 1e-7
"""Smallest mass of a served teacher's tail: the error of float32 sums."""


@dataclass(frozen=True, eq=False)
class TopkScores(Scores):
    """The student's logits and the teacher's top-k log-probabilities at the student's positions, at temperature 1.

    The teacher's set is smaller than k where blocked tokens leave fewer than k of those that the server returned.

    Attributes:
        topk_ids: [batch, length, m] in the teacher's ids, best first, −1 in empty slots.
        topk_logprobs: [batch, length, m] float64, over the teacher's full vocabulary.
        student_set: The student's support, tokens that the teacher lacks included.
        student_statistics: The student compared with itself; used for its entropy and log-probabilities.
    """

    topk_ids: Tensor
    topk_logprobs: Tensor
    student_set: Support
    student_statistics: overlap.TokenStatistics

    @classmethod
    def ask(cls, teacher: ServedTeacher, prompt: Prompt, view: TeacherView) -> tuple[Tensor, ...]:
        """Return ids and top-k log-probabilities of the server, [batch, teacher's length, m] each."""
        return merged_ends(*teacher.topk_logprobs(prompt, view.texts, view.transcripts), teacher.tokens.ends)

    @classmethod
    def check_answer(cls, teacher: ServedTeacher, batch: Batch, view: TeacherView, answer: Sequence[Tensor]) -> None:
        """Do nothing, because a server's responses are checked on arrival."""

    @classmethod
    def from_answer(cls, positions: Positions, answer: Sequence[Tensor]) -> Self:
        """Rank and measure the student's logits, and choose the teacher's support among the server's tokens."""
        (ids, logprobs), pair, support = answer, positions.pair, positions.support
        logits, transcripts = positions.student_logits.detach(), positions.transcripts
        ids = ids.masked_fill(~positions.aligned[..., None], -1)
        settings = ComparisonSettings(k=support.k, blocked=pair.blocked, ends=pair.ends[:1])
        alone = measure_with_sets(logits, logits, settings, mask=positions.eligible, tokens=transcripts.ids)
        student = positions.sets_at_aligned(alone.student, logits, pair.blocked)
        sets = pair.shared_sets(student, topk_set(pair, ids, support.k))
        union = overlap.union(*sets)
        funnel, used = positions.account(union)
        return cls(
            pair,
            transcripts,
            positions.student_logits,
            alone.student_log_partition,
            sets,
            union,
            used,
            funnel,
            support,
            ids,
            logprobs,
            student,
            alone.statistics,
        )

    @classmethod
    def own_logprobs(
        cls, teacher: ServedTeacher, batch: Batch, written: Transcripts, texts: Sequence[str]
    ) -> list[float | None]:
        """Return the mean over the tokens of the texts, over the full vocabulary.

        None for a transcript with a token that is not among the server's best, or without any; see `Scores`.
        """
        return mean_topk_logprobs(teacher, batch, texts, written.finished.tolist())

    @property
    def ranges(self) -> Ranges:
        """Possible values of the statistics."""
        return self.bounds().ranges

    def statistics(self) -> dict[str, Tensor]:
        """Return the statistics that top-k log-probabilities or the student determine; see `Scores`."""
        ids = self.topk_ids
        known = ((ids >= 0) & ~self.pair.teacher_blocked[ids.clamp_min(0)]).sum(-1) >= self.support.k
        sizes = [chosen.size.double() for chosen in self.sets]
        values = self.bounds().decided()
        values |= {"student_size": sizes[0], "teacher_size": sizes[1].masked_fill(~known, torch.nan)}
        values |= {
            name: getattr(self.student_statistics, name).double() for name in OWN_STATISTICS if name not in values
        }
        return {name: value.masked_fill(~self.used, torch.nan) for name, value in values.items()}

    def bounds(self) -> overlap.OverlapBounds:
        """Return the lower and upper bounds of every statistic that has some, at the used positions."""
        return self._bounds

    @cached_property
    def _bounds(self) -> overlap.OverlapBounds:
        return bounds_given_set(
            self.student_logits.detach(),
            self.topk_ids,
            self.topk_logprobs,
            self.student_set,
            self.pair.settings(self.support),
            mask=self.used,
        )

    def teacher_logprobs(self, ids: Tensor) -> Tensor:
        """Return the teacher's log-probabilities of [batch, length, m] tokens, NaN where the server did not return
        them."""
        return _looked_up(self.pair.teacher_ids(ids), self.topk_ids, self.topk_logprobs)

    def check_objective(self, objective: Objective) -> None:
        """Refuse objectives on tokens other than the teacher's support, which are the only known ones.

        Raises:
            UserError: Names what the objective looks at.
        """
        looked_at = objective.support if isinstance(objective, DivergenceObjective) else "policy_gradient"
        if looked_at != "teacher":
            raise UserError(f"objective: a served teacher has no support {looked_at!r}, only its own (teacher)")

    def teacher_on_set(self, chosen: Support, *, tail: bool) -> tuple[Tensor, Tensor]:
        """Return the teacher's log-probabilities on its support and their mass; see `Scores`.

        Blocked tokens that the server returned have probability 0; other blocked tokens remain in the tail.
        """
        ids, logprobs = self.topk_ids[self.used], self.topk_logprobs[self.used]
        blocked = (ids >= 0) & self.pair.teacher_blocked[ids.clamp_min(0)]
        outside = torch.where(blocked, logprobs.exp(), 0.0).sum(-1, keepdim=True)
        own = _looked_up(self.pair.teacher_ids(chosen.ids), ids, logprobs) - torch.log1p(-outside)
        own = own.masked_fill(~chosen.valid, torch.finfo(torch.float32).min)
        mass = torch.where(chosen.valid, own.exp(), 0.0).sum(-1)
        if not tail:
            return own.log_softmax(-1), mass
        return torch.cat([own, (1 - mass).clamp_min(ROUNDING).log()[:, None]], -1), mass

    def full_vocabulary_divergence(self, objective: DivergenceObjective) -> Tensor:
        """Refuse: top-k log-probabilities do not cover the full vocabulary.

        Raises:
            UserError: Always.
        """
        self.check_objective(objective)
        raise UserError("objective: a served teacher has only top-k log-probabilities, not the full vocabulary")


def merged_ends(ids: Tensor, logprobs: Tensor, ends: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return a server's best tokens with all ends that it returned as one, the first; see `overlap.merge_ends`.

    Ends that it did not return are left out: none of them is more likely than the least likely token that it returned.

    Args:
        ids: [..., m] in the teacher's ids, best first, −1 in empty slots.
        logprobs: [..., m] float64.
        ends: Ids at which the teacher stops, the one of labels first.
    """
    if len(ends) < 2:
        return ids, logprobs
    here = torch.isin(ids, torch.tensor(list(ends), device=ids.device))
    together = logprobs.masked_fill(~here, -torch.inf).logsumexp(-1, keepdim=True)
    first = here & (here.cumsum(-1) == 1)
    ids = torch.where(first, ends[0], ids).masked_fill(here & ~first, -1)
    logprobs = torch.where(first, together, logprobs)
    order = logprobs.masked_fill(ids < 0, -torch.inf).sort(dim=-1, descending=True, stable=True).indices
    return ids.gather(-1, order), logprobs.gather(-1, order).masked_fill(ids.gather(-1, order) < 0, 0.0)


def topk_set(pair: Pair, ids: Tensor, k: int) -> Support:
    """Return the k best unblocked tokens of a server, in the teacher's ids.

    Args:
        pair: The two models.
        ids: [..., m] in the teacher's ids, best first, −1 in empty slots.
        k: Size of the set; it is smaller where fewer are known.
    """
    allowed = (ids >= 0) & ~pair.teacher_blocked[ids.clamp_min(0)]
    best = allowed & (allowed.cumsum(-1) <= k)
    return Support(ids.masked_fill(~best, 0), best)


def _looked_up(wanted: Tensor, ids: Tensor, logprobs: Tensor) -> Tensor:
    """Return log-probabilities [..., n] of [..., n] tokens, looked up among [..., m] known ones; NaN where not
    found."""
    found = (ids[..., None, :] == wanted[..., :, None]).double()  # at most one match per token
    return torch.where(found.any(-1), (found * logprobs[..., None, :]).sum(-1), torch.nan)


def mean_topk_logprobs(
    teacher: ServedTeacher, batch: Batch, texts: Sequence[str], finished: Sequence[bool]
) -> list[float | None]:
    """Return the mean log-probability, in nats, of the tokens of texts.

    Args:
        teacher: Behind its server.
        batch: The utterances.
        texts: One transcript for each utterance.
        finished: Whether its end of text counts.

    Returns:
        None for a transcript with a token that is not among the server's best, or without any.
    """
    read = teacher.encode(texts)
    ids, logprobs = teacher.topk_logprobs(batch.prompt(teacher), texts, read)
    found = ids == read.ids.unsqueeze(-1)
    counted = read.mask.clone()
    counted.scatter_(1, counted.sum(-1, keepdim=True) - 1, torch.tensor(finished)[:, None])
    own = logprobs.masked_fill(~found, 0.0).sum(-1)
    known = (found.any(-1) | ~counted).all(-1) & counted.any(-1)
    return [float(row[keep].mean()) if ok else None for row, keep, ok in zip(own, counted, known, strict=True)]
