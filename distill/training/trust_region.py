"""Rollouts of the policy nearest the teacher within a KL ball around the student, see
`overlap.soft_switches.trust_region`."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LogitsProcessor

from overlap.soft_switches.trust_region import blend

from ..data.batch import Batch
from ..models import Recognizer, Transcripts
from ..models.lockstep import Follower
from ..recipe import Rollout
from ..scoring.pair import Pair, PairError


def check_trust_region(pair: Pair, where: str) -> None:
    """Refuse a pair whose distributions over the next token cannot be blended.

    Args:
        pair: The two models.
        where: Key of the setting.

    Raises:
        PairError: The models have two vocabularies.
    """
    if pair.vocabulary is not None:
        raise PairError(
            f"{where}: the policy is a mean of both models' probabilities of each token, and student "
            f"{pair.student.name!r} and teacher {pair.teacher.name!r} have different vocabularies; remove it, choose a "
            "teacher with the student's vocabulary, or let the teacher write some transcripts alone (off_policy)"
        )


def blended_rollout(
    pair: Pair, batch: Batch, rollout: Rollout, radius: float, teachers_batch: Batch | None = None
) -> tuple[Transcripts, Tensor]:
    """Write transcripts with the blended policy.

    Both models' probabilities are those at the rollout's temperature, over the tokens that both may write.

    Args:
        pair: Two local models with one vocabulary.
        batch: The student's audio.
        rollout: How transcripts are written.
        radius: Of the ball, in nats, above 0.
        teachers_batch: The teacher's audio, if it differs.

    Returns:
        The transcripts, and [tokens, 2] the teacher's weight β and the KL from the student, in nats, at each.
    """
    student, teacher = pair.student, pair.teacher
    assert isinstance(teacher, Recognizer)
    prompts = batch.prompt(student), (teachers_batch or batch).prompt(teacher)
    rooms = (model.room(prompt) for model, prompt in zip((student, teacher), prompts, strict=True))
    longest = min([rollout.limit, *(room for room in rooms if room is not None)])
    with Follower(teacher, prompts[1], longest) as follower:
        blending = _Blending(follower, student, rollout.temperature if rollout.sample else 1.0, radius)
        transcripts = student.rollout(
            prompts[0],
            max_new_tokens=longest,
            sample=rollout.sample,
            temperature=rollout.temperature,
            logits_processor=blending,
        )
    return transcripts, torch.cat(blending.measured) if blending.measured else torch.empty(0, 2)


class _Blending(LogitsProcessor):
    """Replaces the student's logits by those of the policy.

    Attributes:
        measured: For each token, [rows that still write, 2] β and KL from the student.
    """

    def __init__(self, follower: Follower, student: Recognizer, temperature: float, radius: float) -> None:
        self._follower, self._tokens = follower, student.tokens
        self._temperature, self._radius = temperature, radius
        self._ended: Tensor | None = None
        self.measured: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen = None if self._ended is None else input_ids[:, -1]
        before = torch.zeros_like(input_ids[:, -1], dtype=torch.bool) if self._ended is None else self._ended
        self._ended = before if chosen is None else before | (chosen == self._tokens.end_of_text)
        size = self._tokens.size
        student = scores[:, :size].double() / self._temperature
        teacher = self._follower.scores(chosen)[:, :size].to(scores.device).double() / self._temperature
        neither = ~(student.isfinite() & teacher.isfinite())
        student, teacher = (side.masked_fill(neither, -torch.inf) for side in (student, teacher))
        found = blend(student, teacher, self._radius)
        self.measured.append(torch.stack([found.beta, found.divergence], -1)[~self._ended].cpu())
        blended = torch.full_like(scores, -torch.inf)
        blended[:, :size] = found.logprobs * self._temperature  # generation divides by it again
        return blended
