"""What the tokens of a trace spell. A trace holds them as the tokenizer writes them, such as `Ġtwo` or `▁two`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from overlap.vocab.token_bytes import BYTE_ALPHABET

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_CONTROL = re.compile(r"<\|.*\|>|</?[a-z_]+>|\[[A-Z]+\]", re.DOTALL)


def token_pieces(tokens: Sequence[str], text: str) -> list[bytes] | None:
    """The bytes of each token, empty for control tokens.

    How the tokenizer spells bytes is not in a trace: each way is tried, and kept only if its bytes add up to the
    transcript, but for white space around it.

    Args:
        tokens: Of one utterance.
        text: Its transcript.

    Returns:
        As many as tokens; None where no way of spelling gives the transcript.
    """
    for spell in (_byte_level, _sentencepiece):
        pieces = [b"" if _CONTROL.fullmatch(token) else spell(token) for token in tokens]
        if b"".join(pieces).decode("utf-8", "replace").strip() == text.strip():
            return pieces
    return None


def spelled(token: str) -> bytes | None:
    """The bytes of a token by the look of its spelling, which may err where a tokenizer is of neither usual kind.

    None for control tokens.
    """
    if _CONTROL.fullmatch(token):
        return None
    spell: Callable[[str], bytes] = _sentencepiece if "▁" in token or _BYTE_PIECE.fullmatch(token) else _byte_level
    return spell(token)


def _byte_level(token: str) -> bytes:
    known = all(character in BYTE_ALPHABET for character in token)
    return bytes(BYTE_ALPHABET[character] for character in token) if known else token.encode()


def _sentencepiece(token: str) -> bytes:
    match = _BYTE_PIECE.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else token.replace("▁", " ").encode()


def plain(text: str) -> str:
    """Words in lower case without the punctuation around them, where no normalizer of an evaluation is known.

    >>> plain("I have 35 dollars, don't I?")
    "i have 35 dollars don't i"
    """
    return " ".join(word for word in (_EDGES.sub("", word) for word in text.lower().split()) if word)


_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
