"""Audio of utterances: decoding a segment of a file to mono float32 samples at the model's rate, with a cache."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from cachetools import LRUCache
from numpy.typing import NDArray

from overlap.errors import UserError

from .containers import read_parts
from .manifest import Utterance
from .open_audio import (
    AGAIN,
    EMPTY,
    END_TOLERANCE_SECONDS,
    AudioError,
    AudioWarning,
    check_length,
    fail,
    recording,
    safe_start,
    segment,
    source_of,
    warn_of_audio,
)
from .stored_audio import StoredAudio

__all__ = [
    "END_TOLERANCE_SECONDS",
    "AudioCache",
    "AudioError",
    "AudioWarning",
    "duration",
    "find_unusable",
    "load_audio",
]

FULL_SCALE_EXCESS = 2.0
"""Largest sample without a warning: decoders of MP3 and Vorbis overshoot 1, but never by this much."""

_THREADS = 4


def load_audio(utterance: Utterance, *, sampling_rate: int = 16000, max_seconds: float = 30.0) -> NDArray[np.float32]:
    """Decode an utterance to mono samples; nothing is truncated or padded silently.

    Files may be in any format of libsndfile: WAV, FLAC, MP3, Ogg Vorbis, Opus and more, at any rate. Only the segment
    between ``begin_time`` and ``end_time`` is decoded, and a little before it if a codec's frames depend on earlier
    ones. Ogg Vorbis is decoded from the start of the file; other formats are faster for short segments of long files.
    Channels are averaged; other rates are resampled by soxr at high quality. Joined files (MP3, Ogg, FLAC) are decoded
    one after another, and refused in other formats. In a truncated file, segments that end before the cut can be
    decoded. If a header does not give the length of the file, it is decoded to its end.

    Args:
        utterance: What to decode.
        sampling_rate: Rate of the result, in Hz.
        max_seconds: The longest utterance allowed, in seconds; ``math.inf`` for no limit.

    Returns:
        Samples in about [−1, 1], float32 of shape [samples], at least one.

    Raises:
        AudioError: A file that is missing, unreadable, cut short or empty; samples that are not finite; times beyond
            the file's end; an utterance longer than ``max_seconds``.
        UserError: ``sampling_rate`` or ``max_seconds`` is not positive.

    Warns:
        AudioWarning: Samples far above full scale, or a file that may be truncated or longer than its header says.
    """
    _check_options(sampling_rate, max_seconds)
    mono, rate = _decoded(utterance, max_seconds)
    samples = mono if rate == sampling_rate else soxr.resample(mono, rate, sampling_rate)
    if not len(samples):
        fail(utterance, *EMPTY)
    return np.ascontiguousarray(samples, dtype=np.float32)


def _decoded(utterance: Utterance, max_seconds: float) -> tuple[NDArray[np.float32], int]:
    """Return samples of an utterance at its file's rate, channels averaged, and that rate."""
    try:
        with recording(utterance) as (file, found):
            begin, frames = segment(utterance, file, found)
            rate = file.samplerate
            check_length(utterance, frames / rate, max_seconds)
            if found.parts:
                channels = read_parts(source_of(utterance), found.parts)[begin : begin + frames]
            else:
                start = safe_start(begin, file)
                if start:
                    file.seek(start)
                # One read, because soundfile seeks after each.
                channels = file.read(begin - start + frames, dtype="float32", always_2d=True)[begin - start :]
    except soundfile.SoundFileError as error:
        fail(
            utterance,
            f"cannot be decoded ({error})",
            "check that the file is complete and in a format of libsndfile",
        )
    if frames - len(channels) > END_TOLERANCE_SECONDS * rate:
        fail(
            utterance,
            f"holds only {len(channels) / rate:.3f} s of the {frames / rate:.3f} s that its header promises",
            AGAIN,
        )
    if not np.isfinite(channels).all():
        count = int((~np.isfinite(channels)).sum())
        fail(utterance, f"has {count} samples that are NaN or infinite", "encode the file again or leave it out")
    if len(channels) and (peak := float(np.abs(channels).max())) > FULL_SCALE_EXCESS:
        warn_of_audio(
            f"{utterance.audio}: its largest sample is {peak:.4g}, where 1 is full scale; models get these samples "
            "unchanged. Divide the samples by their scale, such as 32768, and write the file again"
        )
    return channels.mean(axis=1), rate


def duration(utterance: Utterance) -> float:
    """Return the length of an utterance in seconds.

    If ``end_time`` is −1, the file's headers are read, without decoding; otherwise the manifest's times are used.

    Args:
        utterance: What to measure.

    Returns:
        Seconds; NaN for an utterance without audio.

    Raises:
        AudioError: A file that is missing, unreadable, cut short or empty, or that ends before ``begin_time``.
    """
    if utterance.audio is None:
        return math.nan
    if utterance.end_time != -1:
        return utterance.end_time - utterance.begin_time
    with recording(utterance) as (file, found):
        return segment(utterance, file, found)[1] / file.samplerate


def find_unusable(
    utterances: Sequence[Utterance], max_seconds: float, *, decode: bool = False
) -> dict[int, AudioError]:
    """Find unusable audio, from each file's headers or also from its samples.

    Args:
        utterances: Those without audio are skipped.
        max_seconds: The longest utterance allowed.
        decode: Whether to decode every utterance, as :func:`load_audio` will, to find damage within a file and samples
            that are not finite. Otherwise each file is opened once, for any number of utterances.

    Returns:
        The reason why :func:`load_audio` would fail, by index of the utterance.
    """
    places: dict[Path | StoredAudio, list[int]] = {}
    for i, utterance in enumerate(utterances):
        if utterance.audio is not None:
            places.setdefault(utterance.audio, []).append(i)

    def look(indices: list[int]) -> dict[int, AudioError]:
        found: dict[int, AudioError] = {}
        try:
            with recording(utterances[indices[0]]) as (file, held):
                for i in indices:
                    try:
                        frames = segment(utterances[i], file, held)[1]
                        check_length(utterances[i], frames / file.samplerate, max_seconds)
                    except AudioError as error:
                        found[i] = error
        except AudioError as error:
            found |= dict.fromkeys(indices, error)
        return found

    def listen(i: int) -> AudioError | None:
        try:
            _decoded(utterances[i], max_seconds)
        except AudioError as error:
            return error
        return None

    with ThreadPoolExecutor(_THREADS) as pool:  # libsndfile and disk reads release the GIL
        wrong = {i: error for found in pool.map(look, places.values()) for i, error in found.items()}
        left = [i for indices in places.values() for i in indices if decode and i not in wrong]
        checked = zip(left, pool.map(listen, left), strict=True)
        return wrong | {i: error for i, error in checked if error is not None}


class AudioCache:
    """Decoded audio in memory; the least recently used is dropped first.

    For training, which uses every utterance many times. Utterances with the same segment of a file share an entry. Each
    process needs its own cache; it is not thread-safe.

    Args:
        max_mib: Memory for samples, in MiB; 0 keeps nothing. One MiB holds 16.4 s at 16 kHz.
        sampling_rate: As of :func:`load_audio`.
        max_seconds: As of :func:`load_audio`.

    Attributes:
        hits: Number of loads from memory.
        misses: Number of loads that decoded a file.

    Raises:
        UserError: A negative ``max_mib``, or another option that :func:`load_audio` refuses.
    """

    def __init__(self, *, max_mib: float = 512.0, sampling_rate: int = 16000, max_seconds: float = 30.0) -> None:
        if not max_mib >= 0:
            raise UserError(f"max_mib = {max_mib}; give the memory for decoded audio in MiB, 0 or more")
        _check_options(sampling_rate, max_seconds)
        self.max_mib = max_mib
        self.sampling_rate = sampling_rate
        self.max_seconds = max_seconds
        self.hits = 0
        self.misses = 0
        self._kept: LRUCache[tuple[str, float, float], NDArray[np.float32]] = LRUCache(
            max_mib * 2**20, getsizeof=lambda samples: samples.nbytes
        )

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, utterance: Utterance) -> NDArray[np.float32]:
        """Return samples of an utterance, from memory where possible.

        Args:
            utterance: What to decode.

        Returns:
            A copy of the samples, float32 of shape [samples], which the caller may change.

        Raises:
            AudioError: As :func:`load_audio`.
        """
        key = (str(utterance.audio), utterance.begin_time, utterance.end_time)
        if (kept := self._kept.get(key)) is not None:
            self.hits += 1
            return kept.copy()
        samples = load_audio(utterance, sampling_rate=self.sampling_rate, max_seconds=self.max_seconds)
        self.misses += 1
        if samples.nbytes > self._kept.maxsize:
            return samples
        self._kept[key] = samples
        return samples.copy()


def _check_options(sampling_rate: int, max_seconds: float) -> None:
    if sampling_rate < 1:
        raise UserError(f"sampling_rate = {sampling_rate}; give a positive number of samples a second, such as 16000")
    if not max_seconds > 0:
        raise UserError(f"max_seconds = {max_seconds}; give a positive number of seconds, or math.inf for no limit")
