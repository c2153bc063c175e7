"""Whether a tokenizer cuts what its model wrote as the model did."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Transcriber


def is_recut(
    writer: Transcriber, text: str, written: Sequence[int], encoded: Sequence[int], finished: bool
) -> bool | None:
    """Whether a transcript comes back in other tokens from the tokenizer of the model that wrote it.

    Points in time are left out, as decoding leaves them out. White space at the end of a transcript that was cut off is
    no difference either: what would have followed it is not known, and decoding takes it away.

    Args:
        writer: The model.
        text: Its transcript, decoded.
        written: In which tokens it wrote it, end of text not among them.
        encoded: The text's tokens by its tokenizer, end of text not among them.
        finished: Whether it ended by itself.

    Returns:
        None where it was cut off inside a character, which no text can hold.
    """
    spelled, again = ([i for i in ids if i not in writer.tokens.times] for ids in (written, encoded))
    if finished:
        return spelled != again
    if text.endswith("\ufffd"):
        return None
    return spelled[: len(again)] != again or bool(writer.tokenizer.decode(spelled[len(again) :]).strip())
