"""The student's side of a comparison: its logits, and the position funnel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import overlap
from overlap.core.topk import Support

from ..models import Transcripts
from ..recipe import SupportSettings
from .pair import Pair


@dataclass(frozen=True, eq=False)
class Positions:
    """The student's side of a comparison: its logits, and which positions may count.

    Attributes:
        pair: The two models.
        transcripts: In the student's ids.
        student_logits: [batch, length, student's vocabulary], with a graph in training.
        misaligned: [batch, length] bool, positions where the teacher has no token boundary.
        support: k and temperature.
        drop_empty: The only position of an empty rollout does not count.
        drop_truncated: Positions of rollouts that did not end do not count.
        refused: [batch] bool, rollouts whose positions do not count; None refuses none.
        traced: Whether the sets at positions that do not count may be asked for, by a trace.
    """

    pair: Pair
    transcripts: Transcripts
    student_logits: Tensor
    misaligned: Tensor
    support: SupportSettings
    drop_empty: bool = False
    drop_truncated: bool = False
    refused: Tensor | None = None
    traced: bool = True

    @property
    def aligned(self) -> Tensor:
        """[batch, length] bool, positions where both models predict the same token."""
        return self.transcripts.mask & ~self.misaligned

    @property
    def eligible(self) -> Tensor:
        """[batch, length] bool, positions that count unless the union of their supports is too small."""
        kept = self.transcripts.mask
        for reason in self._reasons().values():
            kept = kept & ~reason
        return kept

    def account(self, union: Support) -> tuple[overlap.Funnel, Tensor]:
        """Return the position funnel, and [batch, length] bool, the used positions: those with two tokens in the
        union."""
        reasons = self._reasons() | {"low_support": union.size < 2}
        unfinished = ~self.transcripts.finished.unsqueeze(-1)
        return overlap.account(self.transcripts.mask, reasons, unfinished=unfinished)

    def sets_at_aligned(self, ranked: Support, logits: Tensor, blocked: Tensor) -> Support:
        """Return a model's supports at all aligned positions; if nothing is traced, at the eligible ones alone.

        Args:
            ranked: Those at the eligible positions; those at other positions are computed here for traces. No loss,
                statistic or bin of the funnel depends on them.
            logits: [batch, length, vocabulary] of the model.
            blocked: [vocabulary] bool.
        """
        others = self.aligned & ~self.eligible
        if not self.traced or not others.any():
            return ranked
        more = overlap.top_k(logits, self.support.k, blocked=blocked, mask=others)
        return Support(torch.where(others[..., None], more.ids, ranked.ids), ranked.valid | more.valid)

    def _reasons(self) -> dict[str, Tensor]:
        transcripts = self.transcripts
        empty = (transcripts.lengths == 0) & transcripts.finished
        never = torch.zeros_like(empty)
        return {
            "empty_rollout": (empty if self.drop_empty else never).unsqueeze(-1),
            "blocked": self.pair.blocked[transcripts.ids],
            "misaligned": self.misaligned,
            "truncated": (~transcripts.finished if self.drop_truncated else never).unsqueeze(-1),
            "refused": (never if self.refused is None else self.refused.to(never.device)).unsqueeze(-1),
        }
