"""Labels of a line: the teacher's own tokens if the line has them, else its text, encoded.

Decoding and encoding again may not restore the tokens: a model may write a text in other tokens than its tokenizer.
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
"""Extra field of teacher data that describes the teacher's text."""

Source = Literal["text", "written", "no ids", "other vocabulary", "changed text", "control tokens"]
"""Source of a label: a `text` that no model wrote, the teacher's ids (`written`), or why those are not used."""

WORDS: dict[Source, str] = {
    "no ids": "the line holds no token_ids",
    "other vocabulary": "they were written in another vocabulary",
    "changed text": "the text was changed since",
    "control tokens": "they contain control tokens",
}


@dataclass(frozen=True)
class LabelCounts:
    """Number of labels of a set by source."""

    counts: Mapping[Source, int]

    @property
    def n_written(self) -> int:
        """Lines whose label has the teacher's own tokens."""
        return self.counts.get("written", 0)

    @property
    def n_encoded(self) -> int:
        """Lines of a teacher whose text is encoded instead."""
        return sum(self.counts.get(source, 0) for source in WORDS)

    @property
    def line(self) -> str:
        """The counts in one line; empty without a teacher."""
        if not self.n_written + self.n_encoded:
            return ""
        why = ", ".join(f"{self.counts[source]:,}: {words}" for source, words in WORDS.items() if source in self.counts)
        encoded = f", {self.n_encoded:,} by their text encoded again ({why})" if why else ""
        return f"{self.n_written:,} labels by the tokens that the teacher wrote{encoded}"


def described(text: str, token_ids: Sequence[int] | None, tokens: Tokens) -> dict[str, Any]:
    """Return the fields of a line of teacher data by which its tokens can be used later.

    Args:
        text: The teacher's text.
        token_ids: Its tokens without end of text; None if not known.
        tokens: Vocabulary of the teacher.
    """
    if token_ids is None:
        return {}
    return {"token_ids": list(token_ids), "tokenizer": tokens.digest, "text_hash": _hash(text)}


def label(utterance: Utterance, tokens: Tokens) -> tuple[list[int] | None, Source]:
    """Return the teacher's own tokens of an utterance, in a student's ids; None if its text must be encoded.

    Args:
        utterance: A line of a manifest.
        tokens: The student's.

    Returns:
        The ids without end of text, and the source of the label.
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
    """Return the labels of a batch in the student's tokens, each with the end of text unless the teacher's transcript
    was truncated."""
    known = [label(utterance, student.tokens) for utterance in utterances]
    encoded = student.encode([utterance.text or "" for utterance in utterances])
    end, rows = student.tokens.end_of_text, []
    for utterance, (ids, source), plain in zip(utterances, known, encoded.text_ids, strict=True):
        text = plain if ids is None else ids
        # A changed text counts as complete.
        cut_off = source not in ("text", "changed text") and utterance.extra[TRANSCRIPT].get("finished") is False
        rows.append(text if cut_off and text else [*text, end])
    return pack(rows, end, encoded.ids.device)


def label_counts(utterances: Iterable[Utterance], tokens: Tokens) -> LabelCounts:
    """Count the labels of a set by source, for a student with these tokens."""
    return LabelCounts(Counter(label(utterance, tokens)[1] for utterance in utterances))


def _writable(ids: Any, tokens: Tokens) -> bool:
    """Return whether a transcript can contain these ids."""
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < tokens.size for i in ids):
        return False
    return tokens.end_of_text not in ids and not bool(tokens.blocked[ids].any()) if ids else True


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
