"""Opens an utterance's recording and finds the segment that the manifest selects."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import soundfile

from overlap.errors import UserError

from .containers import Layout, UnreadableParts, layout, part_file
from .files import why_missing, why_unreadable
from .manifest import Utterance
from .stored_audio import StoredAudio

END_TOLERANCE_SECONDS = 0.010
"""Seconds by which an utterance may exceed the end of its file: annotators round times and codecs pad or drop
frames."""

# An MP3 frame keeps part of its data in up to 511 bytes of the frames before it; a decoder that starts in between
# writes garbage. Forty frames of 1152 samples reach further back than that at the lowest bit rates.
_MPEG_PREROLL = 40 * 1152

# An Opus decoder that starts in between converges to the correct output. After the 80 ms that libsndfile uses, errors
# are up to 0.02 at 16 kHz; after two seconds up to 0.01; after four there were none.
_OPUS_PREROLL_SECONDS = 4


class AudioError(UserError):
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
    """Usable audio that may be a mistake; reported once for each file."""


_SAID: dict[Any, Any] = {}


def warn_of_audio(words: str) -> None:
    """Warn of doubtful audio that is used, once in each process.

    Warns:
        AudioWarning: Says the words.
    """
    warnings.warn_explicit(words, AudioWarning, __file__, 0, registry=_SAID)


AGAIN = "copy or encode the file again"
EMPTY = "has no samples", "correct the times in the manifest or leave it out"


def fail(utterance: Utterance, problem: str, remedy: str, field: str = "audio") -> NoReturn:
    """Raise an `AudioError` about an utterance."""
    message = f"utterance {utterance.id!r} ({utterance.audio}): {problem}; {remedy}"
    raise AudioError(message, problem, remedy, field)


def check_length(utterance: Utterance, seconds: float, max_seconds: float) -> None:
    """Refuse an utterance that is longer than the limit."""
    if seconds > max_seconds:
        fail(
            utterance,
            f"lasts {seconds:.3f} s, longer than the limit of {max_seconds:g} s",
            "split it by begin_time and end_time, leave it out, cut it at pauses (--long of evaluate, transcribe and "
            "probe), or raise max_seconds if the model takes longer audio: it is never truncated silently",
        )


def source_of(utterance: Utterance) -> Path | StoredAudio:
    """Return the file."""
    if utterance.audio is None:
        fail(utterance, "has a prompt and no audio", 'add the field "audio" to its manifest line')
    return utterance.audio


@contextmanager
def recording(utterance: Utterance) -> Iterator[tuple[soundfile.SoundFile, Layout]]:
    """Yield the open file and its content."""
    source = source_of(utterance)
    if isinstance(source, Path) and (missing := why_missing(source)):
        fail(utterance, *missing)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(soundfile.SoundFile(source if isinstance(source, Path) else source.open()))
        except soundfile.SoundFileError as error:
            fail(utterance, *why_unreadable(source, str(error)))
        try:
            found = layout(source, file)
            if (part := part_file(source, found)) is not None:
                file, found = stack.enter_context(part), replace(found, parts=())
        except UnreadableParts as error:
            fail(utterance, str(error), "join them again at one rate and number of channels, or take them apart")
        except soundfile.SoundFileError as error:
            fail(utterance, f"cannot be decoded ({error})", AGAIN)
        if found.doubt is not None:
            ends = f"it is decoded to its end at {found.frames / file.samplerate:.3f} s"
            warn_of_audio(f"{source}: {found.doubt}; {ends}")
        yield file, found


def safe_start(begin: int, file: soundfile.SoundFile) -> int:
    """Return the frame from which to read to get, from `begin` on, the same samples as decoding the entire file."""
    if file.subtype == "VORBIS" or not file.seekable():
        return 0  # seeking in Vorbis can be off by a block (libsndfile issue 885)
    if file.subtype.startswith("MPEG_LAYER"):
        return max(begin - _MPEG_PREROLL, 0)
    if file.subtype == "OPUS":
        return max(begin - _OPUS_PREROLL_SECONDS * file.samplerate, 0)
    return begin


def segment(utterance: Utterance, file: soundfile.SoundFile, found: Layout) -> tuple[int, int]:
    """Return the first frame and number of frames, in the file's own rate."""
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
        fail(utterance, f"holds only {seconds:.3f} s{why}", AGAIN)
    if not found.frames:
        fail(utterance, *EMPTY)
    ends = f"but the file ends at {seconds:.3f} s"
    if begins_beyond:
        fail(
            utterance,
            f"begins at {utterance.begin_time:.3f} s, {ends}",
            "correct begin_time in the manifest",
            "begin_time",
        )
    if ends_beyond:
        fail(
            utterance,
            f"ends at {utterance.end_time:.3f} s, {ends}",
            "correct end_time in the manifest (−1 means the end of the file)",
            "end_time",
        )
    begin = math.floor(utterance.begin_time * file.samplerate + 0.5)
    available = found.frames - begin
    # Rounding the length instead of the end keeps an utterance of exactly max_seconds within the limit.
    wanted = math.floor((utterance.end_time - utterance.begin_time) * file.samplerate + 0.5)
    frames = available if utterance.end_time == -1 else min(wanted, available)
    if frames < 1:
        fail(utterance, *EMPTY)
    return begin, frames
