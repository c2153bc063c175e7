"""Tokens as people read them, in figures, report and notebooks alike.

A space is `␣`, a line break `⏎`, a tab `⇥`; bytes that are no text by themselves are numbers, `⟨E4 BD⟩`; control tokens
stay as the vocabulary spells them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from overlap.vocab.token_bytes import token_bytes

from .load import Run
from .pieces import spelled

Reader = Callable[[int, str], str]
"""From a token's id and its spelling in the vocabulary to what is shown."""

MARKS = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


@dataclass(frozen=True)
class _Declaration:
    """A `tokenizer.json`, which is all that `token_bytes` asks a tokenizer for."""

    text: str

    def to_str(self) -> str:
        return self.text


def token_reader(run: Run) -> Reader:
    """How the student's tokens are shown, from the `tokenizer.json` of its newest checkpoint.

    Where the run has no such file or it is of an unknown kind, by the look of their spelling, see `shown_token`.
    """
    files = sorted((run.path / "checkpoints").glob("step-*/tokenizer.json"))
    if not files:
        return lambda _, token: shown_token(token)
    table = _table(files[-1])

    def read(token_id: int, token: str) -> str:
        if not 0 <= token_id < len(table):
            return shown_token(token)
        known = table[token_id]
        return token if known is None else shown(known)

    return read


def shown_token(token: str) -> str:
    """A token of which nothing but its spelling is known.

    >>> shown_token("Ġthe"), shown_token("▁the"), shown_token("</s>")
    ('␣the', '␣the', '</s>')
    """
    known = spelled(token)
    return token if known is None else shown(known)


def shown(piece: bytes) -> str:
    """Bytes of a token as text.

    >>> shown(b" the"), shown("é".encode()[:1])
    ('␣the', '⟨C3⟩')
    """
    try:
        return piece.decode().translate(MARKS)
    except UnicodeDecodeError:
        return f"⟨{piece.hex(' ').upper()}⟩"


def _table(path: Path) -> tuple[bytes | None, ...]:
    try:
        return token_bytes(_Declaration(path.read_text(encoding="utf-8")))
    except (ValueError, OSError):  # of an unknown kind, or being replaced by the trainer right now
        return ()
