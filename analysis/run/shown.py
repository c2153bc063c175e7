"""Tokens as people read them: spellings of bytes undone, by what the checkpoint's tokenizer says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from overlap import token_bytes

from ..run.load import Run

Reader = Callable[[int, str], str]
"""From a token's id and its spelling in the vocabulary to what is shown."""

SPACE, NEWLINE = "␣", "⏎"


@dataclass(frozen=True)
class _Declaration:
    """A `tokenizer.json`, which is all that `token_bytes` asks a tokenizer for."""

    text: str

    def to_str(self) -> str:
        return self.text


def token_reader(run: Run) -> Reader:
    """How the student's tokens are shown, from the `tokenizer.json` of its newest checkpoint.

    Spaces become `␣` and line breaks `⏎`; bytes that are no text by themselves are numbers, `⟨E4 BD⟩`. Control tokens,
    and all tokens where the run has no such file or it is of an unknown kind, stay as the vocabulary spells
    them.
    """
    files = sorted((run.path / "checkpoints").glob("step-*/tokenizer.json"))
    if not files:
        return lambda _, token: token
    table = _table(files[-1])

    def read(token_id: int, token: str) -> str:
        spelled = table[token_id] if 0 <= token_id < len(table) else None
        return token if spelled is None else shown(spelled)

    return read


def shown(spelled: bytes) -> str:
    """Bytes of a token as text.

    >>> shown(b" the"), shown("é".encode()[:1])
    ('␣the', '⟨C3⟩')
    """
    try:
        return spelled.decode().replace(" ", SPACE).replace("\n", NEWLINE)
    except UnicodeDecodeError:
        return f"⟨{spelled.hex(' ').upper()}⟩"


def _table(path: Path) -> tuple[bytes | None, ...]:
    try:
        return token_bytes(_Declaration(path.read_text(encoding="utf-8")))
    except (ValueError, OSError):  # of an unknown kind, or being replaced by the trainer right now
        return ()
