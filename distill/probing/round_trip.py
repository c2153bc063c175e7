"""Whether a model's own transcripts, decoded to text and encoded again by its tokenizer, have the same tokens.

If not, the text is encoded to tokens that the model would not write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import overlap
from overlap.plain_json import plain

from ..data.batch import AudioSource
from ..data.manifest import Utterance
from ..evaluation.transcribe import Progress, write
from ..limits import with_token_limit
from ..models import Transcriber
from ..models.retokenization import is_recut
from ..recipe import Decoding

LIMIT = 32
"""Enough utterances to detect a wrong tokenizer: one missing merge affects half of them."""


@dataclass(frozen=True)
class RoundTrip:
    """Counts of a model's transcripts that its tokenizer encodes to other tokens.

    Attributes:
        n: Transcripts written.
        n_judged: Transcripts with known tokens that do not end inside a character.
        share: Share of the judged ones with other tokens, with its interval over transcripts; NaN if there are none.
        example: The first one: utterance, and the first different token as written and as encoded.
        texts: The transcripts, by utterance id.
    """

    n: int
    n_judged: int
    share: overlap.Estimate
    example: tuple[str, str, str] | None
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_recut(self) -> int:
        """Transcripts that are encoded to other tokens."""
        return round(self.share.value * self.n_judged) if self.n_judged else 0

    @property
    def line(self) -> str:
        """The result in words."""
        if not self.n_judged:
            return f"the tokens of its {self.n} own transcripts are not known"
        said = f"{self.n_recut} of {self.n_judged} of its own transcripts are encoded to other tokens by its tokenizer"
        if self.example is None:
            return said
        utterance, written, encoded = self.example
        ends = "" if math.isnan(self.share.low) else f" [{self.share.low:.0%}, {self.share.high:.0%}]"
        return f"{said} ({self.share.value:.0%}{ends}), first of {utterance!r}: {written!r} as {encoded!r}"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a tree that JSON can hold."""
        ends = {"share": self.share.value, "low": self.share.low, "high": self.share.high}
        counts = {"n": self.n, "n_judged": self.n_judged, "n_recut": self.n_recut}
        return plain(counts | ends | {"example": self.example})


def round_trip(
    writer: Transcriber,
    source: AudioSource,
    utterances: Sequence[Utterance],
    decoding: Decoding,
    *,
    batch_size: int = LIMIT,
    progress: Progress | None = None,
) -> RoundTrip:
    """Let a model transcribe the first `LIMIT` utterances and encode the transcripts again.

    Args:
        writer: The model.
        source: Reads the audio.
        utterances: At least one.
        decoding: Settings of its decoding.
        batch_size: Utterances at once.
        progress: Called after each batch.

    Raises:
        ServerError: No answer, or not what was asked for.
    """
    values: list[float] = []
    written_texts: dict[str, str] = {}
    example = None
    chosen, decoding = utterances[:LIMIT], with_token_limit(decoding, utterances)
    for batch in source.batches(chosen, batch_size):
        written = write(writer, batch, decoding)
        texts = writer.decode(written)
        written_texts.update(zip((utterance.id for utterance in batch.utterances), texts, strict=True))
        again = writer.encode(texts)
        rows = zip(batch.utterances, texts, written.text_ids, again.text_ids, written.finished.tolist(), strict=True)
        for utterance, text, ids, encoded, finished in rows:
            recut = None if written.is_encoded else is_recut(writer, text, ids, encoded, finished)
            values.append(math.nan if recut is None else float(recut))
            if example is None and values[-1] == 1.0:
                example = (utterance.id, *_differing(ids, encoded, writer.tokens.strings))
        if progress:
            progress(len(values), len(chosen))
    share = overlap.utterance_estimates({"recut": values})["recut"]
    return RoundTrip(len(values), sum(not math.isnan(value) for value in values), share, example, written_texts)


def _differing(ids: Sequence[int], encoded: Sequence[int], strings: Sequence[str]) -> tuple[str, str]:
    """Return the first tokens that differ; empty where a side has ended."""
    at = next((i for i, (a, b) in enumerate(zip(ids, encoded, strict=False)) if a != b), min(len(ids), len(encoded)))
    one, other = (strings[side[at]] if at < len(side) else "" for side in (ids, encoded))
    return one, other
