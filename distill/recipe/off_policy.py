"""Steps of an on-policy stage that are not taken on the student's rollouts, by a share or because it refuses them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from overlap.soft_switches import ShareRule

from .decoding import Transcription
from .filters import Filters, Limit
from .section import Positive, Section
from .shares import Fraction, ShareSection


class OffPolicy(Section):
    """Steps on transcripts that the student did not write, like GKD's 1 − λ (arXiv 2306.13649)."""

    fraction: Fraction
    """Probability of such a step, drawn for each step (for each micro-batch, if there are any): a number, or a table by
    which it falls over steps or with an overlap reading, as an alternative to a gate."""
    states: Literal["reference", "teacher"]
    """Whose transcripts: the manifest's, or the teacher's, written once before the stage begins."""
    transcription: Transcription = Transcription()
    """How the teacher writes them."""
    filters: Filters = Filters()
    """Which transcripts are left out, with their audio."""

    @property
    def rule(self) -> ShareRule | None:
        """The rule by which the share changes; None if it is constant."""
        return self.fraction.build() if isinstance(self.fraction, ShareSection) else None


class Reject(Section):
    """Which rollouts an on-policy step refuses to train on. Loops agree with the teacher, so no overlap statistic of
    the step shows them, and the next probe may be many steps away. After X-AuT's rule, with constants of our own."""

    unfinished: bool = True
    """Refuse rollouts that reached the limit on their length."""
    repetition: Limit[Positive] = 3.0
    """Refuse rollouts whose text repeats itself more, see `repetition` in `overlap/STATISTICS.md`, or "off"."""
    tokens_per_second: Limit[Positive] = None
    """Refuse rollouts with more tokens for each second of audio, or "off"."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """A step that refuses this share of its rollouts or more is not taken on them but on the teacher's transcripts, by
    cross-entropy. These are the stage's own (`off_policy`) or those of an earlier stage of type td with the same
    manifest; where there are none, the step is skipped."""
    patience: PositiveInt = 3
    """After so many such steps in a row, the stage's gate reads at once. Steps without rollouts, those of `off_policy`,
    are passed over."""
