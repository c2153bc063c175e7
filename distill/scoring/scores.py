"""One interface for a teacher's scores of the student's transcripts, local or behind a server.

A local teacher gives all its logits (`distill.scoring.local`), a server only top-k log-probabilities
(`distill.scoring.served`). `distill.scoring.local_or_served` decides which of the two a teacher gets. Training, probes
and traces use statistics, sums, log-probabilities and loss terms of this interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

import overlap
from overlap.core import chunking
from overlap.core.topk import Support
from overlap.definitions import Ranges
from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums
from overlap.losses.divergence_on_set import set_mass

from ..data.batch import Batch
from ..models import Prompt, Recognizer, Transcripts
from ..recipe import DivergenceObjective, Objective, SupportSettings
from ..recipe.gate_statistics import ENDS, UNDECIDED
from ..timing import Stopwatch
from .pair import Pair, TeacherView
from .positions import Positions


class LogitsError(UserError):
    """A model whose scores are not numbers."""


@dataclass(frozen=True, eq=False)
class Scores(ABC):
    """Both models' scores of the same transcripts, with every position accounted for.

    Attributes:
        pair: The two models.
        transcripts: In the student's ids.
        student_logits: [batch, length, student's vocabulary], with a graph in training.
        student_log_partition: [batch, length] float64, log Σ exp(z/τ) over the student's tokens that are not blocked,
            at positions that may count.
        sets: The student's and the teacher's supports in the student's ids, without tokens that the other lacks.
        union: Of the two.
        used: [batch, length] bool, positions that count, n of them.
        funnel: Position funnel.
        support: k and temperature.
    """

    pair: Pair
    transcripts: Transcripts
    student_logits: Tensor
    student_log_partition: Tensor
    sets: tuple[Support, Support]
    union: Support
    used: Tensor
    funnel: overlap.Funnel
    support: SupportSettings

    @classmethod
    @abstractmethod
    def ask(cls, teacher: Any, prompt: Prompt, view: TeacherView) -> tuple[Tensor, ...]:
        """Return a teacher's scores of the transcripts at its own positions: [batch, teacher's length, ...] each.

        Raises:
            ServerError: A server did not answer, or not with what was asked for.
        """

    @classmethod
    @abstractmethod
    def from_answer(cls, positions: Positions, answer: Sequence[Tensor]) -> Self:
        """Return the comparison, from the teacher's scores at the student's positions, [batch, length, ...]."""

    @classmethod
    @abstractmethod
    def check_answer(cls, teacher: Any, batch: Batch, view: TeacherView, answer: Sequence[Tensor]) -> None:
        """Refuse scores that are not finite.

        Raises:
            LogitsError: Names the model, the utterance and the position.
        """

    @classmethod
    @abstractmethod
    def own_logprobs(cls, teacher: Any, batch: Batch, written: Transcripts, texts: Sequence[str]) -> list[float | None]:
        """Return the mean log-probability, in nats, of the tokens of transcripts that the teacher wrote itself.

        Args:
            teacher: Of this kind.
            batch: The utterances.
            written: The transcripts, in its tokens.
            texts: The same as text.

        Returns:
            One number a transcript; None where it is not known.

        Raises:
            LogitsError: The teacher's scores are not numbers.
            ServerError: No answer, or not what was asked for.
        """

    @property
    @abstractmethod
    def ranges(self) -> Ranges:
        """Possible values of the statistics."""

    @abstractmethod
    def statistics(self) -> dict[str, Tensor]:
        """Return values [batch, length] of every token statistic that is known exactly, NaN where a position is not
        used."""

    @abstractmethod
    def bounds(self) -> overlap.OverlapBounds | None:
        """Return the lower and upper bounds of the statistics that are not exact; None if all are."""

    @abstractmethod
    def teacher_logprobs(self, ids: Tensor) -> Tensor:
        """Return the teacher's log-probabilities of [batch, length, m] tokens in the student's ids, NaN where not
        known."""

    @abstractmethod
    def check_objective(self, objective: Objective) -> None:
        """Refuse an objective that these scores do not support.

        Raises:
            UserError: Names the objectives that they support.
        """

    @abstractmethod
    def teacher_on_set(self, chosen: Support, *, tail: bool) -> tuple[Tensor, Tensor]:
        """Return the teacher's log-probabilities on a set at the used positions, as `overlap.set_logprobs`, and its
        mass.

        Args:
            chosen: [n, m] in the student's ids.
            tail: Keep the teacher's own probabilities, and append that of everything outside the set.

        Returns:
            [n, m], or [n, m + 1] with a tail, and [n].
        """

    @abstractmethod
    def full_vocabulary_divergence(self, objective: DivergenceObjective) -> Tensor:
        """Return [n] the divergence of an objective on all tokens that both models have, in nats, without the factor
        τ²."""

    def student_on_set(self, chosen: Support, *, tail: bool) -> tuple[Tensor, Tensor]:
        """Return the result of `teacher_on_set` of the student, with its graph."""
        return on_set(
            self.student_logits[self.used],
            chosen,
            tail=tail,
            temperature=self.support.temperature,
            blocked=self.pair.blocked,
            log_partition=self.student_log_partition[self.used],
        )

    def student_logprobs(self, ids: Tensor) -> Tensor:
        """Return the student's log-probabilities of [batch, length, m] tokens."""
        return logprobs_of(self.student_logits, ids, self.pair.blocked, self.support.temperature)

    def values(self) -> dict[str, Tensor]:
        """Return `statistics`, and both bounds of each inexact one: `forward_kl.lower`, `forward_kl.upper`."""
        return self.statistics() | self._ends()

    def sums(self) -> GroupSums:
        """Sums and counts over the used positions, as one group; for inexact statistics, of their bounds."""
        group = torch.zeros(len(self.used), dtype=torch.long)
        return GroupSums.from_values(self.readable(), group, mask=self.used)

    def readable(self) -> dict[str, Tensor]:
        """`statistics`, and both ends of the inexact ones, [batch, length] each: what gates read."""
        ends = {name: value for name, value in self._ends().items() if name.rsplit(".", 1)[0] in UNDECIDED}
        return self.statistics() | ends

    def _ends(self) -> dict[str, Tensor]:
        found = self.bounds()
        sides = () if found is None else zip(ENDS, (found.lower, found.upper), strict=True)
        return {f"{name}.{end}": value for end, values in sides for name, value in values.items()}


Kind = TypeVar("Kind", bound=Scores)


def score(
    kind: type[Kind],
    pair: Pair,
    batch: Batch,
    transcripts: Transcripts,
    support: SupportSettings,
    *,
    gradients: bool = False,
    drop_empty: bool = False,
    drop_truncated: bool = False,
    refused: Tensor | None = None,
    teachers_batch: Batch | None = None,
    clock: Stopwatch | None = None,
) -> Kind:
    """Score the same transcripts with both models and account for every position.

    Args:
        kind: The implementation for the teacher.
        pair: The two models; transcripts are in the student's ids.
        batch: Utterances and their audio.
        transcripts: Tokens at whose positions the models are compared.
        support: k and temperature.
        gradients: Keep the student's graph; the sets then hold no tokens at positions that do not count.
        drop_empty: Put the only position of an empty rollout in its own bin instead of using it.
        drop_truncated: Likewise the positions of rollouts that did not end.
        refused: [batch] bool, rollouts whose positions are put in a bin of their own; None refuses none.
        teachers_batch: The same utterances with the teacher's audio, if it differs.
        clock: Takes the seconds of the phases `teacher`, `student` and `measure`.

    Raises:
        LogitsError: A model's logits hold NaN or +inf; names the model, the utterance and the position.
        ServerError: A server did not answer, or not with what was asked for.
    """
    clock, student = clock or Stopwatch(), pair.student
    with clock("teacher"), torch.no_grad():
        view = pair.view(transcripts)
        answer = kind.ask(pair.teacher, (teachers_batch or batch).prompt(pair.teacher), view)
        answer = [part.to(transcripts.ids.device) for part in answer]
    with clock("student"), nullcontext() if gradients else torch.no_grad():
        student_logits = student.score(batch.prompt(student), transcripts)
    with clock("measure"), torch.no_grad():
        refuse_undefined(student_logits, "student", student, batch, transcripts)
        kind.check_answer(pair.teacher, batch, view, answer)
        aligned = view.alignment
        misaligned = torch.zeros_like(transcripts.mask) if aligned is None else aligned.misaligned
        positions = Positions(
            pair,
            transcripts,
            student_logits,
            misaligned,
            support,
            drop_empty,
            drop_truncated,
            refused,
            traced=not gradients,
        )
        return kind.from_answer(positions, [view.at_student(part) for part in answer])


def on_set(
    logits: Tensor, chosen: Support, *, tail: bool, temperature: float, blocked: Tensor, log_partition: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a model's log-probabilities on a set, see `overlap.set_logprobs`, and its mass on the set.

    Args:
        logits: [n, vocabulary].
        chosen: [n, m] in the model's ids.
        tail: As for `overlap.set_logprobs`.
        temperature: τ.
        blocked: [vocabulary] bool.
        log_partition: [n] log Σ exp(z/τ) over the tokens that are not blocked.
    """
    known = {"temperature": temperature, "admissible": ~blocked}
    logprobs = overlap.set_logprobs(logits, chosen.ids, chosen.valid, tail=tail, **known)
    if tail:  # its own probabilities
        return logprobs, torch.where(chosen.valid, logprobs.detach()[:, :-1].exp(), 0.0).sum(-1)
    return logprobs, set_mass(logits, chosen.ids, chosen.valid, log_partition=log_partition, **known)


def logprobs_of(logits: Tensor, ids: Tensor, blocked: Tensor, temperature: float) -> Tensor:
    """Return a model's log-probabilities of [batch, length, m] tokens in its own ids, at every position."""
    lowest, rows, wanted = torch.finfo(torch.float32).min, logits.detach().flatten(0, 1), ids.flatten(0, 1)
    found = torch.empty(wanted.shape, device=rows.device)
    for part in chunking.parts_of(len(rows), rows.shape[-1], chunking.CHUNK_ELEMENTS):
        scores = (rows[part].float() / temperature).masked_fill(blocked, lowest)
        found[part] = torch.log_softmax(scores, dim=-1).gather(-1, wanted[part])
    return found.view(ids.shape)


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
