"""Transcripts with the teacher's confidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..data.batch import Batch
from ..evaluation.transcribe import write
from ..models import Recognizer
from ..recipe import Decoding
from ..scoring.local_or_served import kind_of
from ..teacher import ServedTeacher


@dataclass(frozen=True)
class Transcript:
    """A teacher's transcript of one utterance.

    Attributes:
        text: The text.
        logprob: Mean log-probability of its tokens in nats, including end of text if it was written, at temperature 1;
            None if not known.
        n_tokens: Tokens of text, end of text not counted.
        finished: Whether it ended by itself, not by the limit on its length.
        token_ids: Its own tokens, without end of text; None if they are not known: in rows of older journals, and
            from servers that return only text.
    """

    text: str
    logprob: float | None
    n_tokens: int
    finished: bool
    token_ids: list[int] | None = None


@torch.no_grad()
def transcripts(teacher: Recognizer | ServedTeacher, batch: Batch, decoding: Decoding) -> list[Transcript]:
    """Return transcripts of a batch with their confidence, which takes one forward pass, or one more request to a
    server.

    Raises:
        LogitsError: The teacher's scores are not numbers.
        ServerError: No answer, or not what was asked for.
    """
    written = write(teacher, batch, decoding)
    texts, lengths, finished = teacher.decode(written), written.lengths.tolist(), written.finished.tolist()
    logprobs = kind_of(teacher).own_logprobs(teacher, batch, written, texts)
    ids = [None] * len(texts) if written.is_encoded else written.text_ids
    return [Transcript(*row) for row in zip(texts, logprobs, lengths, finished, ids, strict=True)]
