"""Audio of utterances: decoding a stretch of a file to mono float32 samples at the model's rate, with a cache."""

import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .containers import Layout, UnreadableParts, layout, part_file, read_parts
from .files import why_missing, why_unreadable
from .manifest import Utterance
from .stored_audio import StoredAudio

END_TOLERANCE_SECONDS = 0.010
"""How far an utterance may reach past the end of its file: annotators round times and codecs pad or drop frames."""

FULL_SCALE_EXCESS = 2.0
"""The largest sample that is taken without a word: decoders of MP3 and Vorbis overshoot 1, never by so much."""

# An MP3 frame keeps part of its data in up to 511 bytes of the frames before it; a decoder that starts in between
# writes garbage. Forty frames of 1152 samples reach further back than that at the lowest bit rates.
_MPEG_PREROLL = 40 * 1152

# An Opus decoder that starts in between converges to what it would have given. The 80 ms that libsndfile allows it
# leave errors up to 0.02 at 16 kHz, two seconds 0.01; after four there were none.
_OPUS_PREROLL_SECONDS = 4


class AudioError(ValueError):
    """Audio that cannot be used as the manifest describes it; the message names utterance, file and remedy.

    Attributes:
        problem: What is wrong, without the utterance's name.
        remedy: What to do.
        field: Of the manifest's line.
    """

    def __init__(self, message: str, problem: str = "", remedy: str = "", field: str = "audio") -> None:
        super().__init__(message)
        self.problem, self.remedy, self.field = problem or message, remedy, field


class AudioWarning(UserWarning):
    """Audio that is used, and may not be what was meant; said once a file."""


def load_audio(utterance: Utterance, *, sampling_rate: int = 16000, max_seconds: float = 30.0) -> NDArray[np.float32]:
    """Decode an utterance to mono samples; nothing is ever cut or padded silently.

    Files may be in any format of libsndfile: WAV, FLAC, MP3, Ogg Vorbis, Opus and more, at any rate. Only the stretch
    between ``begin_time`` and ``end_time`` is decoded, and a little before it where a codec's frames depend on earlier
    ones; Ogg Vorbis from the start of the file, so short segments of long files are faster in any other format.
    Channels are averaged; another rate is converted by the band-limited resampler of soxr at its high quality.
    Files that were joined (MP3, Ogg, WAV) are heard one after another. Of a file that was cut short, stretches that end
    before the cut can be had. Where a header does not say how long the file is, it is heard to its end.

    Args:
        utterance: What to decode.
        sampling_rate: Rate of the result, in Hz.
        max_seconds: The longest utterance allowed, in seconds; ``math.inf`` for no limit.

    Returns:
        Samples in about [−1, 1], float32 of shape [samples], at least one.

    Raises:
        AudioError: A file that is missing, unreadable, cut short or empty; samples that are not finite; times beyond
            the file's end; an utterance longer than ``max_seconds``.
        ValueError: ``sampling_rate`` or ``max_seconds`` is not positive.

    Warns:
        AudioWarning: Samples far above full scale, or a file that may have been cut short.
    """
    _check_options(sampling_rate, max_seconds)
    try:
        with _recording(utterance) as (file, found):
            begin, frames = _segment(utterance, file, found)
            rate = file.samplerate
            _check_length(utterance, frames / rate, max_seconds)
            if found.parts:
                channels = read_parts(_source(utterance), found.parts)[begin : begin + frames]
            else:
                start = _safe_start(begin, file)
                if start:
                    file.seek(start)
                # One read, because soundfile seeks after each.
                channels = file.read(begin - start + frames, dtype="float32", always_2d=True)[begin - start :]
    except soundfile.SoundFileError as error:
        _fail(
            utterance,
            f"cannot be decoded ({error})",
            "check that the file is complete and in a format of libsndfile",
        )
    if frames - len(channels) > END_TOLERANCE_SECONDS * rate:
        _fail(
            utterance,
            f"holds only {len(channels) / rate:.3f} s of the {frames / rate:.3f} s that its header promises",
            AGAIN,
        )
    if not np.isfinite(channels).all():
        count = int((~np.isfinite(channels)).sum())
        _fail(utterance, f"has {count} samples that are NaN or infinite", "encode the file again or leave it out")
    if len(channels) and (peak := float(np.abs(channels).max())) > FULL_SCALE_EXCESS:
        warnings.warn(
            f"{utterance.audio}: its largest sample is {peak:.4g}, where 1 is full scale; models are given what it "
            "holds. Divide the samples by their scale, such as 32768, and write the file again",
            AudioWarning,
            stacklevel=2,
        )
    mono = channels.mean(axis=1)
    samples = mono if rate == sampling_rate else soxr.resample(mono, rate, sampling_rate)
    if not len(samples):
        _fail(utterance, *_EMPTY)
    return np.ascontiguousarray(samples, dtype=np.float32)


def duration(utterance: Utterance) -> float:
    """Length of an utterance in seconds.

    The file is looked at, and not decoded, if ``end_time`` is −1; otherwise the manifest's times are believed.

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
    with _recording(utterance) as (file, found):
        return _segment(utterance, file, found)[1] / file.samplerate


def find_unusable(utterances: Sequence[Utterance], max_seconds: float) -> dict[int, AudioError]:
    """What is wrong with audio as far as it can be told without decoding; each file is opened once.

    Args:
        utterances: Those without audio are passed over.
        max_seconds: The longest utterance allowed.

    Returns:
        The reason why :func:`load_audio` would fail, by the place of the utterance among those given.
    """
    places: dict[Path | StoredAudio, list[int]] = {}
    for i, utterance in enumerate(utterances):
        if utterance.audio is not None:
            places.setdefault(utterance.audio, []).append(i)

    def look(indices: list[int]) -> dict[int, AudioError]:
        found: dict[int, AudioError] = {}
        try:
            with _recording(utterances[indices[0]]) as (file, held):
                for i in indices:
                    try:
                        frames = _segment(utterances[i], file, held)[1]
                        _check_length(utterances[i], frames / file.samplerate, max_seconds)
                    except AudioError as error:
                        found[i] = error
        except AudioError as error:
            found |= dict.fromkeys(indices, error)
        return found

    with ThreadPoolExecutor(4) as pool:  # libsndfile and the disk work outside the interpreter's lock
        return {i: error for found in pool.map(look, places.values()) for i, error in found.items()}


class AudioCache:
    """Decoded audio kept in memory, the least recently used given up first.

    For training, which visits every utterance many times. Utterances that share a stretch of a file share an entry,
    whatever their ids and texts. Each process needs its own; it is not made for several threads at once.

    Args:
        max_mib: Memory for samples, in MiB; 0 keeps nothing. One MiB holds 16.4 s at 16 kHz.
        sampling_rate: As of :func:`load_audio`.
        max_seconds: As of :func:`load_audio`.

    Attributes:
        hits: Loads answered from memory.
        misses: Loads that decoded a file.

    Raises:
        ValueError: A negative ``max_mib``, or another option that :func:`load_audio` refuses.
    """

    def __init__(self, *, max_mib: float = 512.0, sampling_rate: int = 16000, max_seconds: float = 30.0) -> None:
        if not max_mib >= 0:
            raise ValueError(f"max_mib = {max_mib}; give the memory for decoded audio in MiB, 0 or more")
        _check_options(sampling_rate, max_seconds)
        self.max_mib = max_mib
        self.sampling_rate = sampling_rate
        self.max_seconds = max_seconds
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[tuple[str, float, float], NDArray[np.float32]] = OrderedDict()
        self._bytes = 0

    @property
    def size_mib(self) -> float:
        """Memory that the kept samples take, in MiB."""
        return self._bytes / 2**20

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, utterance: Utterance) -> NDArray[np.float32]:
        """Samples of an utterance, from memory where possible.

        Args:
            utterance: What to decode.

        Returns:
            A copy of the samples, float32 of shape [samples], which the caller may change.

        Raises:
            AudioError: As :func:`load_audio`.
        """
        key = (str(utterance.audio), utterance.begin_time, utterance.end_time)
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            self.hits += 1
            return kept.copy()
        samples = load_audio(utterance, sampling_rate=self.sampling_rate, max_seconds=self.max_seconds)
        self.misses += 1
        limit = self.max_mib * 2**20
        if samples.nbytes > limit:
            return samples
        self._kept[key] = samples
        self._bytes += samples.nbytes
        while self._bytes > limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return samples.copy()


AGAIN = "copy or encode the file again"
_EMPTY = "has no samples", "correct the times in the manifest or leave it out"


def _fail(utterance: Utterance, problem: str, remedy: str, field: str = "audio") -> NoReturn:
    message = f"utterance {utterance.id!r} ({utterance.audio}): {problem}; {remedy}"
    raise AudioError(message, problem, remedy, field)


def _check_length(utterance: Utterance, seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        _fail(
            utterance,
            f"lasts {seconds:.3f} s, longer than the limit of {max_seconds:g} s",
            "split it by begin_time and end_time, leave it out, or raise max_seconds if the model takes longer audio: it "
            "is never cut silently",
        )


def _check_options(sampling_rate: int, max_seconds: float) -> None:
    if sampling_rate < 1:
        raise ValueError(f"sampling_rate = {sampling_rate}; give a positive number of samples a second, such as 16000")
    if not max_seconds > 0:
        raise ValueError(f"max_seconds = {max_seconds}; give a positive number of seconds, or math.inf for no limit")


def _source(utterance: Utterance) -> Path | StoredAudio:
    if utterance.audio is None:
        _fail(utterance, "has a prompt and no audio", 'add the field "audio" to its manifest line')
    return utterance.audio


@contextmanager
def _recording(utterance: Utterance) -> Iterator[tuple[soundfile.SoundFile, Layout]]:
    """The file, open, and what it holds."""
    source = _source(utterance)
    if isinstance(source, Path) and (missing := why_missing(source)):
        _fail(utterance, *missing)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(soundfile.SoundFile(source if isinstance(source, Path) else source.open()))
        except soundfile.SoundFileError as error:
            _fail(utterance, *why_unreadable(source, str(error)))
        try:
            found = layout(source, file)
            if (part := part_file(source, found)) is not None:
                file, found = stack.enter_context(part), replace(found, parts=())
        except UnreadableParts as error:
            _fail(utterance, str(error), "join them anew at one rate and number of channels, or take them apart")
        except soundfile.SoundFileError as error:
            _fail(utterance, f"cannot be decoded ({error})", AGAIN)
        if found.doubt is not None:
            warnings.warn(
                f"{source}: {found.doubt}; it is heard to where it ends, {found.frames / file.samplerate:.3f} s",
                AudioWarning,
                stacklevel=4,
            )
        yield file, found


def _safe_start(begin: int, file: soundfile.SoundFile) -> int:
    """The frame to start reading at, so that from `begin` on the samples are those of the whole file's decoding."""
    if file.subtype == "VORBIS" or not file.seekable():
        return 0  # seeking in Vorbis can be off by a block (libsndfile issue 885)
    if file.subtype.startswith("MPEG_LAYER"):
        return max(begin - _MPEG_PREROLL, 0)
    if file.subtype == "OPUS":
        return max(begin - _OPUS_PREROLL_SECONDS * file.samplerate, 0)
    return begin


def _segment(utterance: Utterance, file: soundfile.SoundFile, found: Layout) -> tuple[int, int]:
    """First frame and number of frames, in the file's own rate."""
    seconds = found.frames / file.samplerate
    begins_beyond, ends_beyond = (
        utterance.begin_time >= seconds,
        utterance.end_time > seconds + END_TOLERANCE_SECONDS,
    )
    missing = math.inf if found.promised is None else (found.promised - found.frames) / file.samplerate
    damaged = found.damage is not None and missing > END_TOLERANCE_SECONDS
    if damaged and (begins_beyond or ends_beyond or utterance.end_time == -1):
        why = f": {found.damage}"
        if found.promised is not None:
            why = f" of the {found.promised / file.samplerate:.3f} s that its header promises"
        _fail(utterance, f"holds only {seconds:.3f} s{why}", AGAIN)
    if not found.frames:
        _fail(utterance, *_EMPTY)
    ends = f"but the file ends at {seconds:.3f} s"
    if begins_beyond:
        _fail(
            utterance,
            f"begins at {utterance.begin_time:.3f} s, {ends}",
            "correct begin_time in the manifest",
            "begin_time",
        )
    if ends_beyond:
        _fail(
            utterance,
            f"ends at {utterance.end_time:.3f} s, {ends}",
            "correct end_time in the manifest (−1 means the end of the file)",
            "end_time",
        )
    begin = math.floor(utterance.begin_time * file.samplerate + 0.5)
    available = found.frames - begin
    # Rounding the length, not the end, keeps an utterance of exactly max_seconds within the limit wherever it begins.
    wanted = math.floor((utterance.end_time - utterance.begin_time) * file.samplerate + 0.5)
    frames = available if utterance.end_time == -1 else min(wanted, available)
    if frames < 1:
        _fail(utterance, *_EMPTY)
    return begin, frames
