"""Evaluation of a recogniser: let it transcribe a labelled set, and score what it wrote."""

from __future__ import annotations

from collections.abc import Sequence

from .data import AudioSource
from .manifest import Utterance, require_text
from .models import Transcriber
from .recipe import Decoding
from .scoring import TranscriptScore, score_transcripts
from .transcribe import Progress, transcribe


def evaluate(
    recogniser: Transcriber,
    source: AudioSource,
    utterances: Sequence[Utterance],
    *,
    normaliser: str,
    decoding: Decoding,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> TranscriptScore:
    """Corpus word and character error rates of a recogniser, with intervals from a bootstrap over utterances.

    Args:
        recogniser: Who writes.
        source: Reads the audio.
        utterances: The set; each has a reference, which may be empty.
        normaliser: Name of the normaliser applied to both sides.
        decoding: How the recogniser writes.
        batch_size: Utterances at once.
        progress: Called after each batch.

    Raises:
        ManifestError: An utterance without reference text.
        ValueError: An unknown normaliser, or no utterances.
    """
    require_text(utterances, "evaluation")
    references = {utterance.id: utterance.text or "" for utterance in utterances}
    texts = transcribe(recogniser, source, utterances, decoding, batch_size=batch_size, progress=progress)
    return score_transcripts(references, texts, normaliser=normaliser)
