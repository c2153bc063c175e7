"""Confidences and whether they were justified, for tokens and for words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from overlap.errors import UserError
from overlap.estimates.group_sums import array_of
from overlap.strata import CORRECTNESS, EditAlignment, Labels
from overlap.strata.spans import Pieces, rows_of

Combine = Literal["product", "min"]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Confidences with their outcomes, one a token or word.

    Attributes:
        confidence: ``[N]`` from 0 to 1, NaN where undefined.
        correct: ``[N]`` 1 or True where right, 0 or False where wrong, NaN where nothing says; such are counted as
            undefined.
        groups: ``[N]`` integers or strings: the utterance (or speaker) of each, that intervals are over.
    """

    confidence: np.ndarray
    correct: np.ndarray
    groups: np.ndarray

    def __post_init__(self) -> None:
        confidence, correct = (np.asarray(part, dtype=np.float64) for part in (self.confidence, self.correct))
        groups = np.asarray(self.groups)
        if confidence.ndim != 1 or confidence.shape != correct.shape or groups.shape != correct.shape:
            raise UserError(
                "outcomes: expected confidence, correct and groups of one length, received shapes "
                f"{[*confidence.shape]}, {[*correct.shape]} and {[*groups.shape]}"
            )
        if ((confidence < 0) | (confidence > 1)).any():
            raise UserError("confidence: expected probabilities from 0 to 1; take the exponential of log-probabilities")
        if not (np.isnan(correct) | (correct == 0) | (correct == 1)).all():
            raise UserError("correct: expected True, False, 1 or 0, or NaN where nothing says")
        for name, value in (("confidence", confidence), ("correct", correct), ("groups", groups)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.confidence)


def token_outcomes(
    confidence: Tensor | np.ndarray,
    labels: Labels,
    *,
    mask: Tensor | np.ndarray | None = None,
    groups: Sequence[Any] | None = None,
    near_deletion: Literal["left out", "right", "wrong"] = "left out",
) -> Outcomes:
    """Outcomes of tokens, from the labels of `overlap.strata.correctness`.

    ``correct`` is right; ``substituted`` and ``inserted`` are wrong. Tokens without a label (white space, control
    tokens, rows without a reference) have no outcome.

    Args:
        confidence: ``[B, L]`` the probability of each written token, or the largest at its position.
        labels: of these tokens.
        mask: ``[B, L]`` bool, the tokens that there are; one without a confidence is counted as undefined. By default
            those with a confidence.
        groups: ``[B]`` name of the utterance or speaker of each row; default: the row itself.
        near_deletion: what tokens beside missing words are. Their own word is right, but one of the two stands where
            another should.

    Raises:
        UserError: if shapes do not fit, or the labels are others.
    """
    table = array_of(confidence)
    if labels.levels != CORRECTNESS:
        raise UserError(f"labels: expected those of strata.correctness, received the levels {list(labels.levels)}")
    if table.ndim != 2:
        raise UserError(f"confidence: expected utterances × tokens [B, L], received shape {[*table.shape]}")
    outcome = {"correct": 1.0, "substituted": 0.0, "inserted": 0.0}
    outcome["near_deletion"] = {"left out": np.nan, "right": 1.0, "wrong": 0.0}[near_deletion]
    meaning = np.array([*(outcome[level] for level in CORRECTNESS), np.nan])  # the last for no label, −1
    correct = meaning[labels.spread(table.shape)]
    there = ~np.isnan(table) if mask is None else array_of(mask)
    if there.dtype != bool or there.shape != table.shape:
        raise UserError(f"mask: expected bool {[*table.shape]}, received {there.dtype} {[*there.shape]}")
    return Outcomes(table[there], correct[there], _names(groups, len(table))[np.nonzero(there)[0]])


def word_outcomes(
    tokens: Tensor | np.ndarray,
    pieces: Pieces,
    probabilities: Tensor | np.ndarray,
    alignments: Sequence[EditAlignment | None],
    *,
    groups: Sequence[Any] | None = None,
    combine: Combine = "product",
) -> Outcomes:
    """Outcomes of the transcript's words, from the alignments of `overlap.strata.align_to_reference`.

    A word is right if it is aligned with an equal one. Words that are missing have no confidence and do not count.

    Args:
        tokens: ``[B, L]`` ids, negative where there is none.
        pieces: bytes by id; None where an id has no text.
        probabilities: ``[B, L]`` of the written tokens.
        alignments: of each row; rows without one give no words.
        groups: ``[B]`` name of the utterance or speaker of each row; default: the row itself.
        combine: how a word's confidence comes from its tokens', see `word_confidences`.

    Raises:
        UserError: if shapes do not fit or the alignments are not those of these tokens.
    """
    ids, rows = rows_of(tokens, pieces)
    table = array_of(probabilities)
    if table.shape != ids.shape or len(alignments) != len(ids):
        raise UserError(
            f"word_outcomes: expected probabilities {[*ids.shape]} like the tokens and one alignment a row, received "
            f"{[*table.shape]} and {len(alignments)} alignments"
        )
    names = _names(groups, len(ids))
    confidence, correct, own = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for number, ((_, spans), alignment) in enumerate(zip(rows, alignments, strict=True)):
        if alignment is None:
            continue
        token_spans = np.stack([spans.starts, spans.ends], 1)
        if alignment.spans.size and alignment.spans.max() > token_spans.max(initial=0):
            raise UserError(f"alignments: row {number} reaches beyond the text that its tokens spell")
        right = np.zeros(len(alignment.spans))
        for chunk in alignment.chunks:
            if chunk.type == "equal":
                right[chunk.hyp_start_idx : chunk.hyp_end_idx] = 1
        confidence.append(word_confidences(table[number], token_spans, alignment.spans, combine=combine))
        correct.append(right)
        own.append(np.full(len(right), number))
    return Outcomes(np.concatenate(confidence), np.concatenate(correct), names[np.concatenate(own)])


def word_confidences(
    probabilities: np.ndarray, token_spans: np.ndarray, word_spans: np.ndarray, *, combine: Combine = "product"
) -> np.ndarray:
    """Confidence of each word ``[W]`` from the probabilities of the tokens that have a part of it.

    The product is the probability of the word given what is before it; it falls with the number of tokens. The
    smallest does not, and has no such meaning. A token with parts of two words counts for both.

    Args:
        probabilities: ``[L]`` of each token.
        token_spans: ``[L, 2]`` first byte (or character) of each token and the one after its last.
        word_spans: ``[W, 2]`` those of each word.
        combine: ``"product"``, or ``"min"`` for the smallest.

    Returns:
        NaN for a word without tokens.

    Raises:
        UserError: if shapes do not fit or `combine` is not known.

    Example:
        >>> spans = np.array([[0, 3], [3, 5], [5, 9]])  # "the", " c", "at s"
        >>> word_confidences(np.array([0.9, 0.5, 0.8]), spans, np.array([[0, 3], [4, 7], [8, 9]])).tolist()
        [0.9, 0.4, 0.8]
    """
    p, tokens, words = (np.asarray(part) for part in (probabilities, token_spans, word_spans))
    if tokens.shape != (len(p), 2) or words.ndim != 2 or words.shape[1] != 2:
        raise UserError(
            f"spans: expected (start, end) of each of the {len(p)} tokens and of each word, received shapes "
            f"{[*tokens.shape]} and {[*words.shape]}"
        )
    if combine not in ("product", "min"):
        raise UserError(f'combine: expected "product" or "min", received {combine!r}')
    join = np.prod if combine == "product" else np.min
    starts, ends = tokens.T
    touching = [(starts < end) & (ends > start) & (ends > starts) for start, end in words]
    return np.array([join(p[part]) if part.any() else np.nan for part in touching], dtype=np.float64)


def text_word_confidences(
    pieces: Sequence[str], probabilities: Sequence[float] | np.ndarray, *, combine: Combine = "product"
) -> tuple[list[str], np.ndarray]:
    """Words between white space and their confidences, from the strings of one transcript's tokens.

    Args:
        pieces: ``[L]`` text of each token, spaces included; empty where a token has none.
        probabilities: ``[L]`` of each token.
        combine: as in `word_confidences`.

    Raises:
        UserError: if lengths differ.

    Example:
        >>> text_word_confidences(["the", " c", "at"], [0.9, 0.5, 0.5])
        (['the', 'cat'], array([0.9 , 0.25]))
    """
    if len(pieces) != len(probabilities):
        raise UserError(f"probabilities: expected one for each of the {len(pieces)} tokens, got {len(probabilities)}")
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    starts = ends - [len(piece) for piece in pieces]
    text, words, spans, end = "".join(pieces), [], [], 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        words.append(word)
        spans.append((start, end))
    found = word_confidences(
        np.asarray(probabilities, dtype=np.float64),
        np.stack([starts, ends], 1),
        np.array(spans, dtype=np.int64).reshape(-1, 2),
        combine=combine,
    )
    return words, found


def _names(groups: Sequence[Any] | None, rows: int) -> np.ndarray:
    if groups is None:
        return np.arange(rows)
    if len(groups) != rows:
        raise UserError(f"groups: expected one for each of the {rows} rows, received {len(groups)}")
    return np.asarray(groups)
