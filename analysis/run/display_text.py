"""Tokens, texts and kinds of states in readable form, for figures, report and notebooks.

A space is `␣`, a line break `⏎`, a tab `⇥`; bytes that are not text by themselves are numbers, `⟨E4 BD⟩`; control
tokens are shown as the vocabulary spells them.
"""

from __future__ import annotations

import re

STATES = {
    "student": "student's rollouts",
    "fixed": "student's rollouts, fixed",
    "teacher": "teacher's transcripts",
    "reference": "references",
}
"""By kind of states, as probes name them."""
MARKS = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


def shown_token(spelled: bytes | None, token: str) -> str:
    """Return a token of a trace.

    Args:
        spelled: Its bytes; None for a control token.
        token: As the vocabulary spells it.

    >>> shown_token(b" the", "Ġthe"), shown_token(None, "</s>")
    ('␣the', '</s>')
    """
    return token if spelled is None else shown(spelled)


def shown(piece: bytes) -> str:
    """Return bytes of a token as text.

    >>> shown(b" the"), shown("é".encode()[:1])
    ('␣the', '⟨C3⟩')
    """
    try:
        return piece.decode().translate(MARKS)
    except UnicodeDecodeError:
        return f"⟨{piece.hex(' ').upper()}⟩"


def plain(text: str) -> str:
    """Return words in lower case without surrounding punctuation, for use without an evaluation's normalizer.

    >>> plain("I have 35 dollars, don't I?")
    "i have 35 dollars don't i"
    """
    return " ".join(word for word in (_EDGES.sub("", word) for word in text.lower().split()) if word)
