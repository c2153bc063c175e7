"""The bytes of an utterance's text that each token stands for."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from overlap.errors import UserError
from overlap.estimates.group_sums import array_of

Pieces = Sequence[bytes | None]


@dataclass(frozen=True, eq=False)
class Spans:
    """One utterance: its text, and the bytes of it that each token stands for.

    Attributes:
        text: of all tokens together; a byte that is not valid UTF-8 is one lone surrogate (Python's
            ``surrogateescape``); every character then has its bytes.
        starts: ``[L]`` first byte of each token.
        ends: ``[L]`` byte after its last; equal to the start where the token has no text or there is none.
        characters: ``[len(text) + 1]`` first byte of each character, and the end of the text.
        first: ``[L]`` first character of which each token has bytes.
        last: ``[L]`` character after the last such.
    """

    text: str
    starts: np.ndarray
    ends: np.ndarray
    characters: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def from_tokens(cls, tokens: Iterable[int], pieces: Pieces) -> "Spans":
        """Join the bytes of one row of token ids."""
        parts = [_piece(token, pieces) for token in tokens]
        text = b"".join(parts).decode("utf-8", "surrogateescape")
        codes = np.fromiter(map(ord, text), np.int64, len(text))
        widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        widths[(codes >= 0xDC80) & (codes <= 0xDCFF)] = 1
        characters = np.concatenate([[0], widths.cumsum()])
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        ends = lengths.cumsum()
        starts = ends - lengths
        first = np.searchsorted(characters, starts, side="right") - 1
        last = np.where(lengths, np.searchsorted(characters, ends, side="left"), first)
        return cls(text, starts, ends, characters, first, last)


def rows_of(tokens: Tensor | np.ndarray, pieces: Pieces) -> tuple[np.ndarray, Iterator[tuple[list[int], Spans]]]:
    """Compute the spans of every utterance.

    Args:
        tokens: ``[..., L]`` ids, one utterance a row, negative where there is no token.
        pieces: bytes by id; None (or an id beyond the table) where a token has no text.

    Returns:
        The ids as an array ``[rows, L]``, and for each row its ids and spans.

    Raises:
        UserError: if tokens are not integers with an axis, or pieces are not bytes.
    """
    ids = array_of(tokens)
    if ids.dtype.kind not in "iu" or ids.ndim == 0:
        raise UserError(
            "tokens: expected integer ids [..., L] with one utterance a row, received "
            f"{ids.dtype} of shape {list(ids.shape)}"
        )
    table = ids.reshape(math.prod(ids.shape[:-1]), ids.shape[-1])
    return table, ((row, Spans.from_tokens(row, pieces)) for row in map(np.ndarray.tolist, table))


def _piece(token: int, pieces: Pieces) -> bytes:
    piece = pieces[token] if 0 <= token < len(pieces) else None
    if piece is None:
        return b""
    if not isinstance(piece, bytes):
        raise UserError(
            f"pieces: expected the bytes of every id, or None, received {type(piece).__name__} at id {token}; "
            "see overlap.vocab.token_bytes"
        )
    return piece
