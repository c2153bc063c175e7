"""How models write transcripts."""

from __future__ import annotations

from pydantic import PositiveInt

from .filters import Limit
from .section import Positive, Section, Seed


class Decoding(Section):
    """How a model writes a transcript."""

    sample: bool = False
    """Draw from the distribution instead of taking the likeliest token."""
    temperature: Positive = 1.0
    """Temperature of the draw."""
    max_new_tokens: PositiveInt | None = None
    """Longest transcript, in tokens; None computes it from the longest audio of the manifest, 20 tokens a second."""

    @property
    def limit(self) -> int:
        """Longest transcript, once it has been settled what the audio says (`distill.limits.with_token_limit`)."""
        assert self.max_new_tokens is not None
        return self.max_new_tokens


class Transcription(Decoding):
    """How a teacher writes transcripts: its decoding, and the batches, which affect their last bits."""

    seed: Seed = 0
    """Seed of the draws."""
    batch_size: PositiveInt = 32
    """Largest number of utterances in a batch."""
    batch_seconds: Limit[Positive] = 120.0
    """Most seconds of audio in a batch, padding included, or "off"."""


class TrustRegion(Section):
    """Write rollouts with the policy nearest the teacher within a KL ball around the student, whose radius falls
    linearly to 0. At each token it is π ∝ p^(1−β) q^β with the largest β for which KL(π‖p) ≤ radius (p student, q
    teacher). After TRB (arXiv 2605.31159), constants ours. The teacher must be local and have the student's vocabulary;
    writing takes a second forward pass, the teacher's."""

    radius: Positive
    """Radius in the stage's first step, in nats at each token."""
    steps: PositiveInt | None = None
    """Steps until the radius is 0; from then on the student writes alone. None takes the stage's."""


class Rollout(Decoding):
    """How the transcripts of an on-policy step are written."""

    trust_region: TrustRegion | None = None
    """Let the teacher help to write, less and less; None lets the student write alone."""
