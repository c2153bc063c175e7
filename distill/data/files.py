"""Explains why an audio file cannot be opened, with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ..locations import LINKED, describe_broken_link
from .stored_audio import StoredAudio

Reason = tuple[str, str]
"""The problem and the remedy."""

_POINTER = b"version https://git-lfs"
_FORMATS = (
    "give a readable file in a format of libsndfile (WAV, FLAC, MP3, Ogg Vorbis, Opus …), and convert any other (M4A, "
    "WebM …), as in `ffmpeg -i in.m4a out.flac`"
)


def why_missing(path: Path) -> Reason | None:
    """Return why there is no file at a path; None if there is one."""
    if path.is_file():
        return None
    if broken := describe_broken_link(path):
        return f"the audio file {broken}", LINKED
    if path.is_dir():
        return "the audio file is a folder", "name a file in it"
    return "the audio file does not exist", "correct the path in the manifest or remove the line"


def missing_words(path: Path) -> Reason:
    """Return the message for a manifest's path without a file."""
    reason = why_missing(path)
    if reason is not None and path.is_symlink():
        return f"is {path}: {reason[0]}", reason[1]
    remedy = "correct the path (it is taken relative to the manifest's folder) or remove the line"
    return f"is {path}, a file that does not exist", remedy


def why_unreadable(source: Path | StoredAudio, error: str) -> Reason:
    """Return why a file is not audio.

    Args:
        source: The file.
        error: libsndfile's message.
    """
    with source.open("rb") if isinstance(source, Path) else source.open() as stream:
        start = stream.read(len(_POINTER))
        joined = _is_joined(stream, start)
    if not start:
        return "is an empty file (0 bytes)", "copy it again or leave it out"
    if start == _POINTER:
        return "is a pointer of Git LFS, not the audio", "get its content with `git lfs pull`"
    if joined:
        remedy = "join their samples, as in `sox one.wav two.wav both.wav`, or take them apart"
        return f"cannot be opened ({error}): it is several files, one behind another", remedy
    return f"cannot be opened ({error})", _FORMATS


def _is_joined(stream: BinaryIO, start: bytes) -> bool:
    """Return whether another WAV or AIFF follows the end of the first one according to its header."""
    kind = start[:4]
    if kind not in (b"RIFF", b"FORM"):
        return False
    length = int.from_bytes(start[4:8], "little" if kind == b"RIFF" else "big")
    stream.seek(8 + length + length % 2)
    return stream.read(4) == kind
