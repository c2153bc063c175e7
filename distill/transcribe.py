"""Transcripts by a model over utterances: texts for scoring, and texts with their confidence for teacher data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .comparison import LogitsError
from .data import AudioSource, Batch
from .manifest import Utterance
from .models import Recogniser, Transcriber, Transcripts
from .recipe import Decoding

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""


@dataclass(frozen=True)
class Transcript:
    """What a model wrote for one utterance.

    Attributes:
        text: The text.
        logprob: Mean log-probability of its tokens in nats, end of text included where it was written, of the
            distribution without blocked tokens at temperature 1.
        n_tokens: Tokens of text, end of text not counted.
        finished: Whether it ended by itself, not by the limit on its length.
    """

    text: str
    logprob: float
    n_tokens: int
    finished: bool


def transcribe(
    recogniser: Transcriber,
    source: AudioSource,
    utterances: Sequence[Utterance],
    decoding: Decoding,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Texts by utterance id, in the order given."""
    texts: dict[str, str] = {}
    for batch in source.batches(utterances, batch_size):
        written = _write(recogniser, batch, decoding)
        texts.update(zip((u.id for u in batch.utterances), recogniser.decode(written), strict=True))
        if progress:
            progress(len(texts), len(utterances))
    return texts


@torch.no_grad()
def transcripts(recogniser: Recogniser, batch: Batch, decoding: Decoding) -> list[Transcript]:
    """Transcripts of a batch with their confidence, which costs one forward pass.

    Raises:
        LogitsError: The model's scores are not numbers.
    """
    written = _write(recogniser, batch, decoding)
    means = mean_logprobs(recogniser.score(batch.prompt(recogniser), written), written, recogniser.tokens.blocked)
    if wrong := [u.id for u, mean in zip(batch.utterances, means, strict=True) if math.isnan(mean)]:
        raise LogitsError(
            f"teacher {recogniser.name!r}: NaN or infinite logits at its own transcript of utterance {wrong[0]!r}. "
            "Check its weights and dtype (float16 overflows where bfloat16 does not)."
        )
    texts, lengths, finished = recogniser.decode(written), written.lengths.tolist(), written.finished.tolist()
    return [Transcript(*row) for row in zip(texts, means, lengths, finished, strict=True)]


def mean_logprobs(logits: Tensor, written: Transcripts, blocked: Tensor) -> list[float]:
    """Mean log-probability of each transcript's tokens, in nats.

    Args:
        logits: [batch, length, vocabulary] of the model that wrote them.
        written: The transcripts.
        blocked: [vocabulary] bool, tokens that no transcript contains: they have no probability, as when writing.

    Returns:
        One number a transcript; NaN for one without a token, and where a score is NaN or +inf.
    """
    means = []
    for row, ids, mask in zip(logits, written.ids, written.mask, strict=True):  # one at a time: vocabularies are large
        scores = row[mask].float().masked_fill(blocked, -torch.inf).log_softmax(-1)
        means.append(float(scores.gather(-1, ids[mask].unsqueeze(-1)).double().mean()))
    return means


def _write(recogniser: Transcriber, batch: Batch, decoding: Decoding) -> Transcripts:
    return recogniser.rollout(
        batch.prompt(recogniser),
        max_new_tokens=decoding.max_new_tokens,
        sample=decoding.sample,
        temperature=decoding.temperature,
    )
