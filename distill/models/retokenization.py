"""Whether a tokenizer encodes a transcript to the tokens that its model wrote."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Transcriber


def is_recut(
    writer: Transcriber, text: str, written: Sequence[int], encoded: Sequence[int], finished: bool
) -> bool | None:
    """Return whether the tokenizer of a model encodes its transcript to other tokens than the model wrote.

    Timestamps are ignored, as in decoding. White space at the end of a truncated transcript is ignored too: what would
    have followed is not known, and decoding removes it.

    Args:
        writer: The model.
        text: Its transcript, decoded.
        written: Its tokens as written, without end of text.
        encoded: The tokens of the text by its tokenizer, without end of text.
        finished: Whether it ended by itself.

    Returns:
        None if it was truncated inside a character, which no text can represent.
    """
    spelled, again = ([i for i in ids if i not in writer.tokens.times] for ids in (written, encoded))
    if finished:
        return spelled != again
    if text.endswith("\ufffd"):
        return None
    return spelled[: len(again)] != again or bool(writer.tokenizer.decode(spelled[len(again) :]).strip())
