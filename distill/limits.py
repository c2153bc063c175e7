"""How long a transcript may be, from how long the audio is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

from .data.audio import AudioError, duration
from .data.manifest import Utterance
from .recipe.stages import Decoding

TOKENS_PER_SECOND = 20
"""Fast speech has 6 to 9 syllables a second (see `distill.recipe.filters`). A syllable is two tokens and more where a
tokenizer knows a script badly; in English it is less than one."""

SPARE_TOKENS = 16
"""For what families write around a text, and for utterances of less than a second."""

WITHOUT_AUDIO = 256
"""Where nothing is heard, as by text models."""

D = TypeVar("D", bound=Decoding)


def token_limit(utterances: Iterable[Utterance]) -> int:
    """Tokens that no transcript of some utterances needs more than, from the longest of them.

    One number for a set, since what an utterance is written as must not depend on those in its batch.

    Args:
        utterances: Files without `end_time` are opened for their length; those that cannot be read count nothing.
    """
    longest = max((_seconds(utterance) for utterance in utterances), default=0.0)
    return SPARE_TOKENS + math.ceil(TOKENS_PER_SECOND * longest) if longest else WITHOUT_AUDIO


def settled(decoding: D, utterances: Iterable[Utterance]) -> D:
    """The same with the longest transcript said, where it was left to the audio."""
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
