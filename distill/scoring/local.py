"""Scores of a local teacher: all its logits at the student's positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

import overlap
from overlap.core.topk import Support
from overlap.definitions import Ranges
from overlap.statistics.with_sets import measure_with_sets

from ..data.batch import Batch
from ..models import Prompt, Recognizer, Transcripts
from ..recipe import DivergenceObjective, Objective
from .pair import TeacherView
from .positions import Positions
from .scores import LogitsError, Scores, logprobs_of, on_set, refuse_undefined


@dataclass(frozen=True, eq=False)
class LogitsScores(Scores):
    """Both models' logits at the student's positions: every statistic and every objective is exact.

    Attributes:
        teacher_logits: [batch, length, teacher's vocabulary].
        teacher_log_partition: [batch, length] float64, as the student's.
        measured: Statistics of the positions that may count.
    """

    teacher_logits: Tensor
    teacher_log_partition: Tensor
    measured: overlap.TokenStatistics

    @classmethod
    def ask(cls, teacher: Recognizer, prompt: Prompt, view: TeacherView) -> tuple[Tensor, ...]:
        """Return logits [batch, teacher's length, teacher's vocabulary]."""
        return (teacher.score(prompt, view.transcripts),)

    @classmethod
    def check_answer(cls, teacher: Recognizer, batch: Batch, view: TeacherView, answer: Sequence[Tensor]) -> None:
        """Refuse logits that are not numbers; see `Scores`."""
        refuse_undefined(answer[0], "teacher", teacher, batch, view.transcripts)

    @classmethod
    def from_answer(cls, positions: Positions, answer: Sequence[Tensor]) -> Self:
        """Rank and measure both models' logits, in one pass."""
        (teacher_logits,), pair, support = answer, positions.pair, positions.support
        student_logits, transcripts = positions.student_logits, positions.transcripts
        found = measure_with_sets(
            student_logits.detach(),
            teacher_logits,
            pair.settings(support),
            mask=positions.eligible,
            tokens=transcripts.ids,
        )
        student = positions.sets_at_aligned(found.student, student_logits.detach(), pair.blocked)
        teacher = positions.sets_at_aligned(found.teacher, teacher_logits, pair.teacher_blocked)
        sets = pair.shared_sets(student, teacher)
        union = overlap.union(*sets)
        funnel, used = positions.account(union)
        return cls(
            pair,
            transcripts,
            student_logits,
            found.student_log_partition,
            sets,
            union,
            used,
            funnel,
            support,
            teacher_logits,
            found.teacher_log_partition,
            found.statistics,
        )

    @classmethod
    def own_logprobs(
        cls, teacher: Recognizer, batch: Batch, written: Transcripts, texts: Sequence[str]
    ) -> list[float | None]:
        """Uses the tokens as they were written; see `Scores`."""
        means = mean_logprobs(teacher.score(batch.prompt(teacher), written), written, teacher.tokens.blocked)
        if wrong := [u.id for u, mean in zip(batch.utterances, means, strict=True) if math.isnan(mean)]:
            raise LogitsError(
                f"teacher {teacher.name!r}: NaN or infinite logits at its own transcript of utterance {wrong[0]!r}. "
                "Check its weights and dtype (float16 overflows where bfloat16 does not)."
            )
        return [*means]

    @property
    def ranges(self) -> Ranges:
        """Possible values of the statistics."""
        return self.measured.ranges

    def statistics(self) -> dict[str, Tensor]:
        """Return every token statistic; see `Scores`."""
        return {name: value.masked_fill(~self.used, torch.nan) for name, value in self.measured.values().items()}

    def bounds(self) -> None:
        """Return None: every statistic is exact."""

    def teacher_logprobs(self, ids: Tensor) -> Tensor:
        """Return the teacher's log-probabilities of [batch, length, m] tokens in the student's ids."""
        pair = self.pair
        return logprobs_of(self.teacher_logits, pair.teacher_ids(ids), pair.teacher_blocked, self.support.temperature)

    def check_objective(self, objective: Objective) -> None:
        """Accept every objective, because logits suffice for each."""

    def teacher_on_set(self, chosen: Support, *, tail: bool) -> tuple[Tensor, Tensor]:
        """Return the teacher's log-probabilities on a set and its mass; see `Scores`."""
        return on_set(
            self.teacher_logits[self.used],
            Support(self.pair.teacher_ids(chosen.ids), chosen.valid),
            tail=tail,
            temperature=self.support.temperature,
            blocked=self.pair.teacher_blocked,
            log_partition=self.teacher_log_partition[self.used],
        )

    def full_vocabulary_divergence(self, objective: DivergenceObjective) -> Tensor:
        """Return [n] the divergence on all tokens that both models have, in few passes over the logits."""
        pair, exists, ids = self.pair, self.pair.shared_tokens, None
        if not bool(exists.all()) or pair.vocabulary is not None:
            chosen = exists.nonzero().squeeze(-1)
            ids = chosen, pair.teacher_ids(chosen)
        return overlap.full_vocabulary_divergence(
            self.student_logits,
            self.teacher_logits,
            self.used,
            kind=objective.divergence,
            beta=objective.beta,
            temperature=self.support.temperature,
            ids=ids,
        )


def mean_logprobs(logits: Tensor, written: Transcripts, blocked: Tensor) -> list[float]:
    """Return the mean log-probability of each transcript's tokens, in nats.

    Args:
        logits: [batch, length, vocabulary] of the model that wrote them.
        written: The transcripts.
        blocked: [vocabulary] bool, tokens that no transcript contains: their probability is 0, as in decoding.

    Returns:
        One number a transcript; NaN for one without a token, and where a score is NaN or +inf.
    """
    means = []
    for row, ids, mask in zip(logits, written.ids, written.mask, strict=True):  # one at a time: vocabularies are large
        scores = row[mask].float().masked_fill(blocked, -torch.inf).log_softmax(-1)
        means.append(float(scores.gather(-1, ids[mask].unsqueeze(-1)).double().mean()))
    return means
