"""Batches of utterances of similar length, to avoid computation on padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def duration_batches(durations: Sequence[float], *, size: int, seconds: float | None = None) -> list[list[int]]:
    """Divide utterances into batches, the longest first: if memory is insufficient, the first batch shows it.

    A pure function of its arguments: a restarted job forms the same batches.

    Args:
        durations: Seconds of each utterance.
        size: Maximum number of utterances of a batch.
        seconds: Maximum padded seconds of a batch: number of utterances times the longest; None is no limit. A single
            utterance may be longer.

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
    """Return the share of padding in the seconds of batches, from 0 to below 1; NaN without audio.

    Args:
        durations: Seconds, by the keys that `batches` uses.
        batches: Utterances by batch.
    """
    computed = sum(len(batch) * max(durations[i] for i in batch) for batch in batches)
    return 1 - sum(durations[i] for batch in batches for i in batch) / computed if computed else float("nan")


def _too_long(seconds: float, limit: float | None) -> bool:
    return limit is not None and seconds > limit
