"""Labels by whether the generated token is right, from an alignment of the transcript with its reference."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor

from overlap.errors import UserError
from overlap.extras import require
from overlap.strata.labels import NO_LABEL, Labels
from overlap.strata.spans import Pieces, Spans, rows_of

CORRECTNESS = ("correct", "substituted", "inserted", "near_deletion")
"""Levels of `correctness`."""

_OF_CHUNK = {"equal": "correct", "substitute": "substituted", "insert": "inserted"}
_PRECEDENCE = ("substituted", "inserted", "near_deletion", "correct")


class EditChunk(Protocol):
    """A run of one kind of edit, as jiwer's ``AlignmentChunk`` gives it: equal, substitute, insert or delete."""

    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def hyp_start_idx(self) -> int: ...  # noqa: D102
    @property
    def hyp_end_idx(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class EditAlignment:
    """A transcript aligned with its reference.

    Attributes:
        chunks: edits in order; their indices count the transcript's words (or characters).
        spans: ``[n, 2]`` the bytes, first and after last, of each of those words in the transcript's own bytes.
    """

    chunks: Sequence[EditChunk]
    spans: np.ndarray

    def __post_init__(self) -> None:
        unknown = sorted({chunk.type for chunk in self.chunks} - {*_OF_CHUNK, "delete"})
        if unknown:
            raise UserError(f"chunks: expected equal, substitute, insert or delete, received {unknown[0]!r}")
        counted = max((chunk.hyp_end_idx for chunk in self.chunks), default=0)
        if self.spans.shape != (counted, 2):
            raise UserError(
                f"spans: expected one (start, end) for each of the {counted} aligned units of the transcript, received "
                f"shape {list(self.spans.shape)}"
            )
        if (self.spans[:, 0] < 0).any() or (self.spans[:, 0] >= self.spans[:, 1]).any():
            raise UserError("spans: expected 0 <= start < end in every row, for each unit has bytes")


def align_to_reference(
    tokens: Tensor | np.ndarray,
    pieces: Pieces,
    references: Sequence[str | None],
    *,
    unit: Literal["word", "character"] = "word",
    normalize: Callable[[str], str] | None = None,
) -> list[EditAlignment | None]:
    """Align every transcript with its reference by jiwer, at minimum edit distance.

    Args:
        tokens: ``[..., L]`` ids, one utterance a row, negative where there is none.
        pieces: bytes by id; None where an id has no text.
        references: the reference transcript of each row; None where there is none.
        unit: what is aligned: words between white space, or characters other than white space.
        normalize: applied to transcript and reference before they are compared, as for scoring. Text that it keeps is
            traced back to the transcript's bytes by an alignment of characters; text that it drops belongs to no word.

    Raises:
        UserError: if there is not one reference a row, or the unit is not known.
        MissingExtraError: without jiwer.
    """
    if unit not in ("word", "character"):
        raise UserError(f"unit: expected 'word' or 'character', received {unit!r}")
    ids, rows = rows_of(tokens, pieces)
    if len(references) != len(ids):
        raise UserError(f"references: expected one for each of the {len(ids)} rows, received {len(references)}")
    return [
        None if reference is None else _align(spans, reference, unit, normalize)
        for (_, spans), reference in zip(rows, references, strict=True)
    ]


def correctness(
    tokens: Tensor | np.ndarray,
    pieces: Pieces,
    alignments: Sequence[EditAlignment | None],
    *,
    end_of_text: Collection[int] = (),
) -> Labels:
    """Return whether the generated token is correct; the first that applies counts:

    * ``substituted``, ``inserted``: has bytes of a substituted or inserted word (or character);
    * ``near_deletion``: the last token before, or the first after, a place where words of the reference are missing.
      After the last word, this is the end-of-text token, because it came too early;
    * ``correct``: has bytes of a correct word. An end-of-text token after which nothing is missing is correct as well.

    Other tokens (white space, control tokens, what a normalizer drops) and rows without an alignment have no label.

    Args:
        tokens: ``[..., L]`` ids, one utterance a row, negative where there is none.
        pieces: bytes by id; None where an id has no text.
        alignments: of each row, from `align_to_reference`, or made of jiwer's own output and the bytes of its words.
        end_of_text: ids that end a transcript.

    Returns:
        Labels of the tokens' shape, named ``correctness``.

    Raises:
        UserError: if there is not one alignment a row, or one reaches beyond the transcript.
    """
    ids, rows = rows_of(tokens, pieces)
    if len(alignments) != len(ids):
        raise UserError(f"alignments: expected one for each of the {len(ids)} rows, received {len(alignments)}")
    codes = np.full(ids.shape, NO_LABEL, dtype=np.int32)
    ends = frozenset(end_of_text)
    for number, ((row, spans), alignment) in enumerate(zip(rows, alignments, strict=True)):
        if alignment is None:
            continue
        if alignment.spans.size and alignment.spans.max() > spans.characters[-1]:
            raise UserError(
                f"alignments: row {number} has {spans.characters[-1]} bytes of text, its alignment reaches byte "
                f"{int(alignment.spans.max())}; align the transcript that these tokens spell"
            )
        for position, names in _labeled(row, spans, alignment, ends).items():
            codes[number, position] = CORRECTNESS.index(min(names, key=_PRECEDENCE.index))
    return Labels("correctness", CORRECTNESS, codes.reshape(tuple(tokens.shape)))


def _labeled(row: list[int], spans: Spans, alignment: EditAlignment, ends: frozenset[int]) -> dict[int, set[str]]:
    """Return all labels that apply to each token."""
    found: dict[int, set[str]] = {}
    spelled = np.flatnonzero(spans.ends > spans.starts)
    first = spelled[np.searchsorted(spans.ends[spelled], alignment.spans[:, 0], side="right")]
    last = spelled[np.searchsorted(spans.starts[spelled], alignment.spans[:, 1], side="left") - 1]
    closing = next((position for position, token in enumerate(row) if token in ends), None)
    if closing is not None:
        found[closing] = {"correct"}
    for chunk in alignment.chunks:
        if chunk.type == "delete":
            gap = chunk.hyp_start_idx
            before = last[gap - 1] if gap else None
            after = first[gap] if gap < len(first) else closing
            for position in (before, after):
                if position is not None:
                    found.setdefault(int(position), set()).add("near_deletion")
            continue
        for word in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
            for position in range(first[word], last[word] + 1):
                if spans.ends[position] > spans.starts[position]:
                    found.setdefault(position, set()).add(_OF_CHUNK[chunk.type])
    return found


def _align(spans: Spans, reference: str, unit: str, normalize: Callable[[str], str] | None) -> EditAlignment:
    text, kept = spans.text, np.stack([spans.characters[:-1], spans.characters[1:]], axis=-1)
    if normalize is not None:
        reference = normalize(reference)
        text = normalize(spans.text) if spans.text else ""  # text that a normalizer adds to an empty one has no bytes
        kept = kept[_sources(spans.text, text)]
    words = _words(text) if unit == "word" else [(i, i + 1) for i, c in enumerate(text) if not c.isspace()]
    own = [(kept[start:end, 0].min(), kept[start:end, 1].max()) for start, end in words]
    chunks = _chunks(
        [reference[start:end] for start, end in _words(reference)]
        if unit == "word"
        else [c for c in reference if not c.isspace()],
        [text[start:end] for start, end in words],
    )
    return EditAlignment(chunks, np.array(own, dtype=np.int64).reshape(-1, 2))


def _words(text: str) -> list[tuple[int, int]]:
    """Return where the words between white space lie."""
    found, end = [], 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        found.append((start, end))
    return found


def _sources(raw: str, text: str) -> np.ndarray:
    """Return, for each character of the normalized text, the character of the raw text that it comes from.

    A character that the normalizer added comes from its neighbor on the left, or else from the first character.
    """
    sources = np.zeros(len(text), dtype=np.int64)
    for chunk in _chunks(list(raw), list(text)):
        made = np.arange(chunk.hyp_start_idx, chunk.hyp_end_idx)
        if chunk.type == "insert":
            sources[made] = max(0, chunk.ref_start_idx - 1)
        else:
            sources[made] = chunk.ref_start_idx + made - chunk.hyp_start_idx
    return sources


def _chunks(reference: list[str], hypothesis: list[str]) -> Sequence[Any]:
    jiwer: Any = require("jiwer", purpose="aligning transcripts")
    # An empty chain of transforms: the units are made here, and jiwer neither strips nor splits them again.
    as_given = jiwer.Compose([])
    return jiwer.process_words([reference], [hypothesis], as_given, as_given).alignments[0]
