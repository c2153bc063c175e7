"""Transcripts with their confidence: how probable a teacher finds what it wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.batch import Batch
from ..evaluation.transcribe import write
from ..models import Recognizer, Transcripts
from ..recipe import Decoding
from ..scoring.local import LogitsError
from ..teacher import ServedTeacher


@dataclass(frozen=True)
class Transcript:
    """What a teacher wrote for one utterance.

    Attributes:
        text: The text.
        logprob: Mean log-probability of its tokens in nats, end of text included where it was written, at
            temperature 1; None where it is not known.
        n_tokens: Tokens of text, end of text not counted.
        finished: Whether it ended by itself, not by the limit on its length.
        token_ids: What it wrote, in its own tokens, end of text not among them; None where that is not known: rows of
            older journals, and servers that return text alone.
    """

    text: str
    logprob: float | None
    n_tokens: int
    finished: bool
    token_ids: list[int] | None = None


@torch.no_grad()
def transcripts(teacher: Recognizer | ServedTeacher, batch: Batch, decoding: Decoding) -> list[Transcript]:
    """Transcripts of a batch with their confidence, which costs one forward pass, or one more question to a server.

    Raises:
        LogitsError: The teacher's scores are not numbers.
        ServerError: No answer, or not what was asked for.
    """
    written = write(teacher, batch, decoding)
    texts, lengths, finished = teacher.decode(written), written.lengths.tolist(), written.finished.tolist()
    if isinstance(teacher, ServedTeacher):
        logprobs = listed_logprobs(teacher, batch, texts, finished)
    else:
        scores = teacher.score(batch.prompt(teacher), written)
        logprobs = mean_logprobs(scores, written, teacher.tokens.blocked)
        if wrong := [u.id for u, mean in zip(batch.utterances, logprobs, strict=True) if math.isnan(mean)]:
            raise LogitsError(
                f"teacher {teacher.name!r}: NaN or infinite logits at its own transcript of utterance {wrong[0]!r}. "
                "Check its weights and dtype (float16 overflows where bfloat16 does not)."
            )
    ids = [None] * len(texts) if written.is_encoded else written.text_ids
    return [Transcript(*row) for row in zip(texts, logprobs, lengths, finished, ids, strict=True)]


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


def listed_logprobs(
    teacher: ServedTeacher, batch: Batch, texts: Sequence[str], finished: Sequence[bool]
) -> list[float | None]:
    """The same of a server's teacher, of the tokens that the texts are made of, over its whole vocabulary.

    Returns:
        None for a transcript with a token that is not among the server's best, or without any.
    """
    read = teacher.encode(texts)
    ids, logprobs = teacher.lists(batch.prompt(teacher), texts, read)
    found = ids == read.ids.unsqueeze(-1)
    counted = read.mask.clone()
    counted.scatter_(1, counted.sum(-1, keepdim=True) - 1, torch.tensor(finished)[:, None])
    own = logprobs.masked_fill(~found, 0.0).sum(-1)
    known = (found.any(-1) | ~counted).all(-1) & counted.any(-1)
    return [float(row[keep].mean()) if ok else None for row, keep, ok in zip(own, counted, known, strict=True)]
