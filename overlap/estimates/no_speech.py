"""Readings of audio in which nobody speaks: invented words a minute, clips with words, clips that never end."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, check, studentized
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate

SECONDS_PER_MINUTE = 60.0


def no_speech_estimates(
    *,
    words: Sequence[int],
    seconds: Sequence[float],
    finished: Sequence[bool],
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the statistics of clips without speech, see `overlap.definitions.no_speech_statistics`.

    Args:
        words: words of each clip's transcript, after normalization.
        seconds: duration of each clip.
        finished: whether each transcript ended by itself.
        level: coverage of the intervals.
        draws: bootstrap resamples.
        seed: of the resampling.

    Returns:
        ``invented_words``, ``clips_with_words`` and ``unfinished_clips``; their ``n_positions`` and ``n_groups`` are
        the number of clips. NaN without clips.

    Raises:
        UserError: if the lengths differ, or a clip has no duration.

    Example:
        >>> found = no_speech_estimates(words=[0, 0, 3, 0], seconds=[15.0] * 4, finished=[True, True, False, True])
        >>> {name: one.value for name, one in found.items()}
        {'invented_words': 3.0, 'clips_with_words': 0.25, 'unfinished_clips': 0.25}
    """
    check(level, draws)
    n = len(words)
    for name, column in (("seconds", seconds), ("finished", finished)):
        if len(column) != n:
            raise UserError(f"{name}: expected one value for each of the {n} clips, received {len(column)}")
    if wrong := [value for value in seconds if not (math.isfinite(value) and value > 0)]:
        raise UserError(f"seconds: expected the duration of each clip, received {wrong[0]!r}")
    written = np.asarray(words, dtype=np.float64)
    shares = {"clips_with_words": written > 0, "unfinished_clips": ~np.asarray(finished, dtype=bool)}
    sums = GroupSums.from_values({name: np.asarray(column) for name, column in shares.items()}, np.arange(n))
    found = estimate(sums, limits=(0.0, 1.0), level=level, draws=draws, seed=seed)
    minutes = np.asarray(seconds, dtype=np.float64) / SECONDS_PER_MINUTE
    return {"invented_words": _per_minute(written, minutes, level, draws, seed)} | found


def _per_minute(words: np.ndarray, minutes: np.ndarray, level: float, draws: int, seed: int) -> Estimate:
    """Return the ratio of sums over clips; if resampling gives it no width, with the ends of a Poisson count."""
    if not len(words):
        return Estimate(math.nan, math.nan, math.nan, math.nan, 0, 0, level=level)
    one = studentized(words[:, None, None], minutes[:, None, None], level=level, draws=draws, seed=seed)[0]
    low, high = max(one.low, 0.0), one.high  # NaN stays
    if one.standard_error == 0:
        low, high = (end / float(minutes.sum()) for end in poisson_ends(int(words.sum()), level))
    return replace(one, low=low, high=high, n_positions=len(words), n_groups=len(words))


def poisson_ends(events: int, level: float) -> tuple[float, float]:
    """Return the exact ends of the expectation of a Poisson count (Garwood 1936).

    Args:
        events: that were counted.
        level: coverage, at least this much.

    Example:
        >>> [round(end, 2) for end in poisson_ends(0, 0.95)], [round(end, 2) for end in poisson_ends(3, 0.95)]
        ([0.0, 3.69], [0.62, 8.77])
    """
    tail = (1 - level) / 2
    low = stats.chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return float(low), float(stats.chi2.ppf(1 - tail, 2 * events + 2) / 2)
