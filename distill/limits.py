"""Longest transcript, computed from the length of the audio."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

from .data.audio import AudioError, duration
from .data.manifest import Utterance
from .recipe import Decoding

TOKENS_PER_SECOND = 20
"""Fast speech has 6 to 9 syllables a second (see `distill.recipe.filters`). A syllable has two or more tokens if a
tokenizer covers a script badly; in English it has less than one."""

SPARE_TOKENS = 16
"""Tokens that families write around a text, and for utterances shorter than a second."""

WITHOUT_AUDIO = 256
"""Limit for models without audio."""

D = TypeVar("D", bound=Decoding)


def token_limit(utterances: Iterable[Utterance]) -> int:
    """Return the upper bound of the tokens of a transcript, from the longest of some utterances.

    It is one number for a set, so that a transcript does not depend on the other utterances of its batch.

    Args:
        utterances: Files without `end_time` are opened for their length; unreadable ones are ignored.
    """
    longest = max((_seconds(utterance) for utterance in utterances), default=0.0)
    return SPARE_TOKENS + math.ceil(TOKENS_PER_SECOND * longest) if longest else WITHOUT_AUDIO


def with_token_limit(decoding: D, utterances: Iterable[Utterance]) -> D:
    """Return the same decoding with `max_new_tokens` filled in."""
    if decoding.max_new_tokens is not None:
        return decoding
    return decoding.model_copy(update={"max_new_tokens": token_limit(utterances)})


def _seconds(utterance: Utterance) -> float:
    if utterance.audio is None:
        return 0.0
    try:
        return duration(utterance)
    except AudioError:
        return 0.0
