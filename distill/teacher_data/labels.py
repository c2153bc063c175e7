"""What a student learns of a line: the tokens that a teacher wrote where the line has them, else its text, encoded.

Decoding and encoding again is not the way back: a model may write a text in other tokens than its tokenizer would.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..data.manifest import Utterance
from ..models import Recognizer, Transcripts
from ..models.base import pack
from ..models.vocabulary import Tokens

TRANSCRIPT = "transcript"
"""The further field of teacher data: what is known of the teacher's text."""

Source = Literal["text", "written", "no ids", "other vocabulary", "changed text", "control tokens"]
"""Where a label comes from: a `text` that no model wrote, the ids as `written`, or why those are not used."""

WORDS: dict[Source, str] = {
    "no ids": "the line holds no token_ids",
    "other vocabulary": "they were written in another vocabulary",
    "changed text": "the text was changed since",
    "control tokens": "they hold what is no text",
}


@dataclass(frozen=True)
class LabelCounts:
    """How many lines of a set are labeled from where."""

    counts: Mapping[Source, int]

    @property
    def n_written(self) -> int:
        """Lines whose label is the very tokens that a teacher wrote."""
        return self.counts.get("written", 0)

    @property
    def n_encoded(self) -> int:
        """Lines of a teacher whose text is encoded instead."""
        return sum(self.counts.get(source, 0) for source in WORDS)

    @property
    def line(self) -> str:
        """All of it in one line; empty where no teacher wrote."""
        if not self.n_written + self.n_encoded:
            return ""
        why = ", ".join(f"{self.counts[source]:,}: {words}" for source, words in WORDS.items() if source in self.counts)
        encoded = f", {self.n_encoded:,} by their text encoded again ({why})" if why else ""
        return f"{self.n_written:,} labels by the tokens that the teacher wrote{encoded}"


def described(text: str, token_ids: Sequence[int] | None, tokens: Tokens) -> dict[str, Any]:
    """The fields of a line of teacher data by which its tokens can be used later.

    Args:
        text: What the teacher wrote.
        token_ids: In which tokens, end of text not among them; None where that is not known.
        tokens: The teacher's.
    """
    if token_ids is None:
        return {}
    return {"token_ids": list(token_ids), "tokenizer": tokens.digest, "text_hash": _hash(text)}


def label(utterance: Utterance, tokens: Tokens) -> tuple[list[int] | None, Source]:
    """The tokens that a teacher wrote for an utterance, in a student's ids; None where its text is to be encoded.

    Args:
        utterance: A line of a manifest.
        tokens: The student's.

    Returns:
        The ids, end of text not among them, and where the label comes from.
    """
    about = utterance.extra.get(TRANSCRIPT)
    if not isinstance(about, Mapping):
        return None, "text"
    ids = about.get("token_ids")
    if ids is None:
        return None, "no ids"
    if about.get("text_hash") != _hash(utterance.text or ""):
        return None, "changed text"
    if about.get("tokenizer") != tokens.digest:
        return None, "other vocabulary"
    return (ids, "written") if _writable(ids, tokens) else (None, "control tokens")


def labels(student: Recognizer, utterances: Sequence[Utterance]) -> Transcripts:
    """The labels of a batch in the student's tokens, each closed by the end of text unless its teacher was cut off."""
    known = [label(utterance, student.tokens) for utterance in utterances]
    encoded = student.encode([utterance.text or "" for utterance in utterances])
    end, rows = student.tokens.end_of_text, []
    for utterance, (ids, source), plain in zip(utterances, known, encoded.text_ids, strict=True):
        text = plain if ids is None else ids
        # Who changed a text has finished it.
        cut_off = source not in ("text", "changed text") and utterance.extra[TRANSCRIPT].get("finished") is False
        rows.append(text if cut_off and text else [*text, end])
    return pack(rows, end, encoded.ids.device)


def label_counts(utterances: Iterable[Utterance], tokens: Tokens) -> LabelCounts:
    """Count where the labels of a set come from, for a student with these tokens."""
    return LabelCounts(Counter(label(utterance, tokens)[1] for utterance in utterances))


def _writable(ids: Any, tokens: Tokens) -> bool:
    """Whether these are ids that a transcript can hold."""
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < tokens.size for i in ids):
        return False
    return tokens.end_of_text not in ids and not bool(tokens.blocked[ids].any()) if ids else True


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
