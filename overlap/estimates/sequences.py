"""Statistics of entire sequences: early signs of collapse that single positions do not show."""

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import Estimate, estimate


def repetition(text: str) -> float:
    """Return how often a transcript repeats itself: bytes of its UTF-8 over bytes after zlib.

    Ordinary text of a sentence or two gives about 1 (below 1 when very short, for zlib's own header); a loop gives far
    more. Source: arXiv 2604.08527.

    Returns:
        The ratio; NaN for an empty transcript.
    """
    raw = text.encode("utf-8", errors="surrogatepass")
    return len(raw) / len(zlib.compress(raw)) if raw else math.nan


def length_ratio(hypothesis: str, reference: str | None) -> float:
    """Return characters of the hypothesis over characters of the reference; NaN without a reference or with an empty
    one."""
    return len(hypothesis) / len(reference) if reference else math.nan


def token_rate(n_tokens: int, seconds: float) -> float:
    """Return generated tokens per second of audio; NaN for audio without duration."""
    return n_tokens / seconds if seconds > 0 else math.nan


def sequence_values(
    *,
    texts: Sequence[str],
    n_tokens: Sequence[int],
    finished: Sequence[bool],
    references: Sequence[str | None] | None = None,
    seconds: Sequence[float] | None = None,
    recut: Sequence[float] | None = None,
) -> dict[str, np.ndarray]:
    """Return sequence statistics of each utterance, ``[utterances]`` float64 by name, NaN where undefined.

    With `overlap.estimates.group_sums.GroupSums.from_values` and `GroupSums.merged` they add up over batches and ranks,
    with `overlap.strata.by` they break down by language or length.

    Args:
        texts: the transcript of each utterance.
        n_tokens: its number of generated tokens, the end-of-text token not counted.
        finished: whether it ended by an end-of-text token, not by the limit on its length.
        references: the reference transcripts, None where there is none; without any, no ``length_ratio`` is given.
        seconds: durations of the audio; without them, no ``token_rate`` is given.
        recut: the share of its positions whose prefix the teacher's tokenizer would tokenize differently, NaN without
            positions; without these shares, no ``recut`` is given.

    Returns:
        ``repetition``, ``n_tokens``, ``end_of_text``, ``empty``, and ``length_ratio``, ``token_rate`` and ``recut``
        if they can be computed.

    Raises:
        UserError: if the lengths differ.
    """
    columns = {"n_tokens": n_tokens, "finished": finished, "references": references, "seconds": seconds, "recut": recut}
    for name, column in columns.items():
        if column is not None:
            _check_length(name, column, len(texts))
    values = {
        "repetition": [repetition(text) for text in texts],
        "n_tokens": n_tokens,
        "end_of_text": finished,
        "empty": [not text.strip() for text in texts],
    }
    if references is not None:
        values["length_ratio"] = [length_ratio(text, ref) for text, ref in zip(texts, references, strict=True)]
    if seconds is not None:
        values["token_rate"] = [token_rate(n, s) for n, s in zip(n_tokens, seconds, strict=True)]
    if recut is not None:
        values["recut"] = recut
    return {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}


def sequence_estimates(
    *,
    texts: Sequence[str],
    n_tokens: Sequence[int],
    finished: Sequence[bool],
    references: Sequence[str | None] | None = None,
    seconds: Sequence[float] | None = None,
    recut: Sequence[float] | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return means of `sequence_values` over utterances, ready for a gate.

    Args:
        texts: as in `sequence_values`, like the next five.
        n_tokens: generated tokens of each utterance.
        finished: whether each ended by itself.
        references: the reference transcripts.
        seconds: durations of the audio.
        recut: the share of each one's positions whose prefix the teacher's tokenizer would tokenize differently.
        level: coverage of the interval.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: if the lengths differ.
    """
    values = sequence_values(
        texts=texts, n_tokens=n_tokens, finished=finished, references=references, seconds=seconds, recut=recut
    )
    found = utterance_estimates(values, level=level, draws=draws, seed=seed)
    return found | {"stop_density": stop_density(n_tokens, finished, level=level, draws=draws, seed=seed)}


def stop_density(
    n_tokens: Sequence[int],
    finished: Sequence[bool],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Ends of text in 1,000 positions, the ends themselves and truncated transcripts included.

    It is 1000 · (1 − truncated share) / mean length, a ratio of sums with a bootstrap over utterances. The audit SimOPD
    saw it fall 1,670-fold in a run that collapsed.

    Args:
        n_tokens: generated tokens of each utterance, the end of text not counted.
        finished: whether each ended by itself.
        level: coverage of the interval.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: if the lengths differ.

    Example:
        >>> stop_density([9, 19, 30], [True, True, False]).value  # 2 ends in 60 positions
        33.333333333333336
    """
    sums = stop_density_sums(n_tokens, finished)
    return estimate(sums, limits=(0.0, 1000.0), level=level, draws=draws, seed=seed)["stop_density"]


def stop_density_sums(
    n_tokens: Sequence[int], finished: Sequence[bool], names: Sequence[str] | None = None
) -> GroupSums:
    """Return the sums of `stop_density` by utterance.

    Args:
        n_tokens: generated tokens of each utterance, the end of text not counted.
        finished: whether each ended by itself.
        names: of the utterances; by default their numbers.

    Raises:
        UserError: if the lengths differ.
    """
    _check_length("finished", finished, len(n_tokens))
    ended = np.asarray(finished, dtype=np.float64)[:, None]
    positions = np.asarray(n_tokens, dtype=np.int64)[:, None] + ended.astype(np.int64)
    keys = tuple(range(len(ended))) if names is None else tuple(names)
    return GroupSums(("stop_density",), keys, 1000.0 * ended, positions, np.zeros_like(positions))


def utterance_estimates(
    values: Mapping[str, Sequence[float] | np.ndarray],
    groups: Sequence[int] | Sequence[str] | None = None,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return means over utterances of any per-utterance values, with a bootstrap over utterances.

    Args:
        values: by statistic, one number for each utterance, NaN where undefined.
        groups: names to resample by, if not the utterance itself (a speaker, say).
        level: coverage of the interval.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: if the lengths differ.
    """
    n = len(next(iter(values.values()), ()))
    for name, column in values.items():
        _check_length(name, column, n)
    arrays = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    sums = GroupSums.from_values(arrays, np.arange(n) if groups is None else groups)
    return estimate(sums, level=level, draws=draws, seed=seed)


def _check_length(name: str, column: Sequence[object] | np.ndarray, n: int) -> None:
    if len(column) != n:
        raise UserError(f"{name}: expected one value for each of the {n} utterances, received {len(column)}")
