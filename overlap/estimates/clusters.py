"""The rule for the bootstrap unit of error rates, used wherever one is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Over = Literal["speakers", "utterances"]
ENOUGH_SPEAKERS = 10
"""Least number of speakers for intervals over speakers, because utterances of a speaker are not independent."""


def resampled(speakers: Sequence[Any]) -> Over:
    """Return the bootstrap unit: speakers if every utterance names one and there are enough, else utterances.

    Args:
        speakers: Of each utterance; None or NaN where it names none.

    Examples:
        >>> resampled([f"speaker {i % 10}" for i in range(40)]), resampled(["one", "other"] * 20)
        ('speakers', 'utterances')
        >>> resampled([*range(40), None])
        'utterances'
    """
    named = not any(speaker is None or speaker != speaker for speaker in speakers)
    return "speakers" if named and len(set(map(str, speakers))) >= ENOUGH_SPEAKERS else "utterances"
