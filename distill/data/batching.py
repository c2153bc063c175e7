"""Batches of utterances of similar length: what is padded up to the longest of a batch is computed in vain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def duration_batches(durations: Sequence[float], *, size: int, seconds: float | None = None) -> list[list[int]]:
    """Cut utterances into batches, the longest first, so that a lack of memory shows in the first batch.

    A pure function of its arguments: a job that is started again forms the same batches.

    Args:
        durations: Seconds of each utterance.
        size: Most utterances of a batch.
        seconds: Most seconds of a batch as it is computed, that is its number of utterances times its longest; None is
            no limit. A single utterance may be longer.

    Returns:
        Indices by batch; each utterance is in exactly one. Equally long ones keep their order.

    Examples:
        >>> duration_batches([2.0, 9.0, 3.0, 1.0], size=2, seconds=10.0)
        [[1], [2, 0], [3]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(durations)), key=lambda i: -durations[i]):
        last = batches[-1] if batches else None
        if last is None or len(last) == size or _too_long(durations[last[0]] * (len(last) + 1), seconds):
            batches.append([index])
        else:
            last.append(index)
    return batches


def padding_share(durations: Mapping[Any, float] | Sequence[float], batches: Sequence[Sequence[Any]]) -> float:
    """The share of the seconds in batches that is padding, from 0 to below 1; NaN without audio.

    Args:
        durations: Seconds, by whatever the batches name utterances by.
        batches: Utterances by batch.
    """
    computed = sum(len(batch) * max(durations[i] for i in batch) for batch in batches)
    return 1 - sum(durations[i] for batch in batches for i in batch) / computed if computed else float("nan")


def _too_long(seconds: float, limit: float | None) -> bool:
    return limit is not None and seconds > limit
