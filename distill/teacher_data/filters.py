"""Values that the filters of teacher data check, and the utterances that they drop."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from overlap.estimates.sequences import repetition, token_rate

from ..normalize import normalizer
from ..recipe import Filters
from .confidence import Transcript
from .languages import script_share

LONGEST_PHRASE = 50
"""Maximum number of characters of a phrase whose repetitions are counted; zlib also finds longer ones."""


def measures(transcript: Transcript | None, seconds: float, language: str | None) -> dict[str, float]:
    """Return values that the filters check, by the filter's name.

    Args:
        transcript: The transcript; None for audio that could not be used.
        seconds: Duration of the audio; NaN if unknown.
        language: Language in the manifest.

    Returns:
        Numbers, flags as 0 or 1; NaN where undefined: rates and repetitions of an empty text, the script of a text
        without letters or of an unknown language, everything of audio that could not be used.
    """
    if transcript is None:
        return dict.fromkeys(Filters.model_fields, math.nan) | {"unusable_audio": 1.0}
    text = transcript.text
    characters = sum(c.isalnum() for c in text)
    rate = characters / seconds if characters else math.nan
    return {
        "empty": float(not characters),
        "unfinished": float(not transcript.finished),
        "max_compression": repetition(text) if characters else math.nan,
        "max_repeats": repeats(text) if characters else math.nan,
        "min_characters_per_second": rate,
        "max_characters_per_second": rate,
        "max_tokens_per_second": token_rate(transcript.n_tokens, seconds),
        "min_logprob": math.nan if transcript.logprob is None else transcript.logprob,
        "min_script_share": script_share(text, language),
        "unusable_audio": 0.0,
    }


def kept_range(filters: Filters, name: str) -> tuple[float, float] | None:
    """Return the lowest and the highest value that a filter keeps; None if it is off."""
    setting = getattr(filters, name)
    if setting is None or setting == "keep":
        return None
    if isinstance(setting, str):
        return -math.inf, 0.0
    return (setting, math.inf) if name.startswith("min_") else (-math.inf, setting)


def dropped_by(measured: Mapping[str, float], filters: Filters) -> dict[str, float]:
    """Return the filters that drop an utterance, each with the value for which it does; undefined values are kept."""
    ranges = {name: kept_range(filters, name) for name in measured}
    return {
        name: value
        for name, value in measured.items()
        if (kept := ranges[name]) is not None and (value < kept[0] or value > kept[1])
    }


def repeats(text: str) -> int:
    """Return the largest number of consecutive repetitions of a letter, word or phrase, ignoring case and punctuation.

    Examples:
        >>> repeats("No, no, no!"), repeats("thank you thank you"), repeats("hahaha"), repeats("one two")
        (3, 2, 3, 1)
    """
    # A space after every word makes the last repetition match like the others.
    characters = np.frombuffer(f"{normalizer('basic').apply(text)} ".encode("utf-32-le"), np.uint32)
    most = 1
    for period in range(1, min(LONGEST_PHRASE, len(characters) // 2) + 1):
        breaks = np.flatnonzero(characters[period:] != characters[:-period])
        longest = np.diff(breaks, prepend=-1, append=len(characters) - period).max() - 1
        most = max(most, int(longest) // period + 1)
    return most
