"""What the interval of an error rate is over, by the one rule of whoever shows one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Over = Literal["speakers", "utterances"]
ENOUGH_SPEAKERS = 10
"""From so many on, intervals are over speakers: utterances of a speaker are not independent. Fewer make none."""


def resampled(speakers: Sequence[Any]) -> Over:
    """What is drawn with replacement: speakers where every utterance names one and there are enough, else utterances.

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
