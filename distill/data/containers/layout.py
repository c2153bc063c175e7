"""Actual length of a recording, if its header promises more or libsndfile would read less.

libsndfile silently takes a truncated WAV, an MP3 without a length, or the first of joined files as the entire
recording. Here sizes in headers, pages of Ogg and frames of MPEG are counted without decoding. Files that libsndfile
would read wrongly are divided into parts that it reads correctly.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from ..stored_audio import StoredAudio
from . import mpeg, ogg, riff
from .parts import Content, Part, UnreadableParts, content_of, opened

CUT = "it was cut short"
UNKNOWN_FRAMES = 2**63 - 1
"""Length that libsndfile reports for a FLAC without a length."""

_BLOCK = 2**20
_STEP = 2**10
_READ_AHEAD = 2**17
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_PRETENDED_BYTES = 2**40
_SIZED = ("WAV", "WAVEX", "RF64", "AIFF", "AU")
"""Formats whose header has a size that libsndfile corrects by the file's actual size."""
_BYTES_A_SAMPLE = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}


@dataclass(frozen=True, slots=True)
class Layout:
    """Content of a file.

    Attributes:
        frames: Frames that can be decoded.
        promised: Frames that its header promises, if more.
        damage: Damage at its end, in words; None if none is known.
        doubt: Possible damage at its end; None if there is no sign of it.
        parts: Parts to decode one after another instead of the file; empty to decode the file as it is.
    """

    frames: int
    promised: int | None = None
    damage: str | None = None
    doubt: str | None = None
    parts: tuple[Part, ...] = ()


def layout(source: Path | StoredAudio, file: soundfile.SoundFile) -> Layout:
    """Return the content of a file; cached as long as it is unchanged.

    Args:
        source: The file.
        file: The same, opened.

    Raises:
        UnreadableParts: It is joined from parts that do not go together.
        soundfile.SoundFileError: A part cannot be decoded.
    """
    about = (file.format, file.frames, file.samplerate, file.channels)
    if isinstance(source, StoredAudio):
        return _layout(source, source.size, 0, about)
    status = source.stat()
    return _layout(source, status.st_size, status.st_mtime_ns, about)


def read_parts(source: Path | StoredAudio, parts: tuple[Part, ...]) -> np.ndarray:
    """Decode parts one after another.

    Returns:
        [frames, channels] float32.

    Raises:
        soundfile.SoundFileError: A part cannot be decoded.
    """
    with content_of(source) as content:
        return np.concatenate([block for part in parts for block in _blocks(part.within(content))])


def part_file(source: Path | StoredAudio, found: Layout) -> soundfile.SoundFile | None:
    """Return the single part of a file, open and seekable; None if it is the file itself or there are several parts."""
    if len(found.parts) != 1:
        return None
    with content_of(source) as content:
        file = soundfile.SoundFile(found.parts[0].within(content))
    if file.frames == found.frames:
        return file
    file.close()  # a FLAC of unknown length, in which soundfile would seek beyond the end
    return None


@lru_cache(maxsize=2**17)
def _layout(source: Path | StoredAudio, size: int, changed: int, about: tuple[str, int, int, int]) -> Layout:
    del changed  # only part of the cache key
    kind, frames, _, _ = about
    if kind in ("OGG", "MP3"):
        with content_of(source) as content:
            return _of_ogg(content, about) if kind == "OGG" else _of_mpeg(content, about)
    if kind == "FLAC":
        return _of_unknown_flac(source) if frames == UNKNOWN_FRAMES else _of_flac(source, about)
    with opened(source) as stream:
        start = stream.read(1024)
        by_header = riff.samples(start)
        if by_header is not None and size - by_header[1] in (0, 1):
            return Layout(frames)
        if start[:4] == b"RIFF" and frames == 0:
            with content_of(source) as content:
                if (part := riff.streamed(content)) is not None:
                    return Layout(_frames(content, (part,), about), parts=(part,))
        if kind in _SIZED and frames:
            with content_of(source) as content:
                by_header = riff.samples(content)
                if by_header is not None and by_header[1] <= size:
                    return Layout(frames, doubt=_describe_tail(riff.unexplained_bytes(content, by_header[1])))
        promised = _promised(kind, start, stream, size, frames)
    return Layout(frames, promised, None if promised is None else CUT)


def _describe_tail(n_bytes: int) -> str | None:
    """Return a doubt about unexplained bytes after the samples; None if there are none."""
    if n_bytes <= riff.TAIL_BYTES:
        return None
    return (
        f"{n_bytes:,} bytes follow the samples that its header promises, as if a recorder was stopped before it wrote "
        "their number (`ffmpeg -ignore_length 1 -i in.wav out.wav` includes them)"
    )


def _of_ogg(content: Content, about: tuple[str, int, int, int]) -> Layout:
    found = ogg.links(content)
    parts = found.parts if len(found.parts) > 1 else ()
    frames = _frames(content, parts, about) if parts else about[1]
    return Layout(frames, None, found.damage, found.doubt, parts)


def _of_mpeg(content: Content, about: tuple[str, int, int, int]) -> Layout:
    frames, found = about[1], mpeg.stream(content)
    if found is None:
        return Layout(frames)
    if found.promised > found.frames:
        there = _frames(content, found.parts, about) if found.parts else 0
        promised = max(frames, found.promised) if found.is_joined or frames <= there else frames
        return Layout(there, promised, CUT, None, found.parts)
    if found.as_headed or (len(found.parts) == 1 and frames == found.frames):
        return Layout(frames, doubt=found.doubt)
    return Layout(_frames(content, found.parts, about), doubt=found.doubt, parts=found.parts)


def _of_flac(source: Path | StoredAudio, about: tuple[str, int, int, int]) -> Layout:
    """Check whether the last frame of a FLAC is present, and whether another file follows; the seek takes 0.2 ms."""
    frames = about[1]
    with opened(source) as stream:
        try:
            with soundfile.SoundFile(stream) as file:
                file.seek(max(frames - 1, 0))
                there = len(file.read(1)) > 0 or frames == 0
        except soundfile.SoundFileError:
            there = False
        if not there:
            stream.seek(0)
            return Layout(_decodable(stream), frames, CUT)
        read = stream.tell()
    with content_of(source) as content:
        starts = [0, *(match.start() for match in _FLAC_START.finditer(content, max(read - _READ_AHEAD, 1)))]
        if len(starts) == 1:
            return Layout(frames)
        parts = tuple(Part(*ends) for ends in zip(starts, [*starts[1:], len(content)], strict=True))
        return Layout(_frames(content, parts, about), parts=parts)


def _decodable(stream: BinaryIO) -> int:
    """Return frames up to the first that cannot be decoded."""
    total = 0
    try:
        with _SequentialFile(stream) as file:
            while n := len(file.read(_STEP)):
                total += n
    except soundfile.SoundFileError:
        pass
    return total


def _of_unknown_flac(source: Path | StoredAudio) -> Layout:
    """Return a FLAC with the maximum length in its header: its frames can only be counted by decoding to the end."""
    with content_of(source) as content:
        at = content.find(b"fLaC")
        # 36 bits of the stream's description are its number of frames (RFC 9639, 8.2).
        header = bytearray(content[: at + 26])
        header[at + 21] |= 0x0F
        header[at + 22 : at + 26] = b"\xff" * 4
        part = Part(at + 26, len(content), bytes(header))
        return Layout(sum(len(block) for block in _blocks(part.within(content))), parts=(part,))


def _blocks(stream: io.BytesIO) -> Iterator[np.ndarray]:
    """Decode all samples that are present, whatever the header promises."""
    with _SequentialFile(stream) as file:
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            yield block
            if len(block) < _BLOCK:
                return


def _frames(content: Content, parts: tuple[Part, ...], about: tuple[str, int, int, int]) -> int:
    """Return frames of all parts together."""
    total = 0
    for part in parts:
        with soundfile.SoundFile(part.within(content)) as file:
            total += file.frames
            for value, expected, unit in ((file.samplerate, about[2], "Hz"), (file.channels, about[3], "channels")):
                if value != expected:
                    raise UnreadableParts(f"is joined from recordings of {expected} and {value} {unit}")
    return total


def _promised(kind: str, start: bytes, stream: BinaryIO, size: int, frames: int) -> int | None:
    """Return frames that a header promises, if it was completed and promises more than the file contains."""
    if start[:7] == b"NIST_1A":  # libsndfile uses the file's size
        count = re.search(rb"sample_count -i (\d+)", start)
        return int(count[1]) if count and int(count[1]) > frames else None
    if start[:4] == b"riff":  # Wave64, likewise; its header counts all bytes
        promised = int.from_bytes(start[16:24], "little")
        return frames * promised // size if size < promised < 2**62 else None
    if kind not in _SIZED:
        return None
    longer: Any = _OversizedFile(stream)
    with soundfile.SoundFile(longer) as file:
        promised, width = file.frames, file.channels * _BYTES_A_SAMPLE.get(file.subtype, 1)
    # Writers that cannot seek back write the maximum size, minus the bytes before the samples.
    unknown = width * promised >= _PRETENDED_BYTES // 2 or any(
        limit - 4096 <= width * promised <= limit for limit in (2**31, 2**32)
    )
    return None if unknown or promised <= frames else promised


class _SequentialFile(soundfile.SoundFile):
    """A recording that is read sequentially, without the seek that soundfile makes after each read."""

    def seekable(self) -> bool:
        return False


class _OversizedFile(io.BufferedIOBase):
    """A file that reports a larger size than any header promises, without having more bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._at = stream, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: _PRETENDED_BYTES}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        self._stream.seek(self._at)
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
