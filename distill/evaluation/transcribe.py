"""Transcripts by a model over utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..data.batch import AudioSource, Batch
from ..data.manifest import Utterance
from ..limits import with_token_limit
from ..models import Transcriber, Transcripts
from ..recipe import Decoding

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""


class Transcribed(NamedTuple):
    """What a model wrote for an utterance.

    Attributes:
        text: The transcript.
        finished: Whether it ends by itself, not at the limit on its length.
    """

    text: str
    finished: bool


def transcribe(
    recognizer: Transcriber,
    source: AudioSource,
    utterances: Sequence[Utterance],
    decoding: Decoding,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> dict[str, Transcribed]:
    """Return transcripts by utterance id, in the order given."""
    found: dict[str, Transcribed] = {}
    decoding = with_token_limit(decoding, utterances)
    for batch in source.batches(utterances, batch_size):
        written = write(recognizer, batch, decoding)
        texts, finished = recognizer.decode(written), written.finished.cpu().tolist()
        found.update(zip((u.id for u in batch.utterances), map(Transcribed, texts, finished), strict=True))
        if progress:
            progress(len(found), len(utterances))
    return found


def write(recognizer: Transcriber, batch: Batch, decoding: Decoding) -> Transcripts:
    """Return the transcripts of a batch, in the recognizer's tokens; the decoding says how long they may be."""
    return recognizer.rollout(
        batch.prompt(recognizer),
        max_new_tokens=decoding.limit,
        sample=decoding.sample,
        temperature=decoding.temperature,
    )
