"""WAV, AIFF and AU files whose header has no number of samples, or one that was written too early."""

from __future__ import annotations

import itertools
from typing import Literal

from .parts import Content, Part

TAIL_BYTES = 2**12
"""Maximum number of unknown bytes after the samples that are not a sign of more samples."""

_STARTS: dict[bytes, tuple[Literal["little", "big"], bytes]] = {
    b"RIFF": ("little", b"data"),
    b"RF64": ("little", b"data"),
    b"FORM": ("big", b"SSND"),
}
_BLOCK = 2**16


def streamed(content: Content) -> Part | None:
    """Return the file with corrected sizes in its header if they are 0 although there are samples; None if they are
    correct."""
    size, at = len(content), 12
    if 8 + int.from_bytes(content[4:8], "little") == size:
        return None
    while at + 8 < size:
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"data":
            whole, samples = ((size - before).to_bytes(4, "little") for before in (8, at + 8))
            header = b"RIFF" + whole + content[8 : at + 4] + samples
            return None if length else Part(at + 8, size, header)
        at += 8 + length + length % 2
    return None


def samples(content: Content) -> tuple[int, int] | None:
    """Return the start and end of a file's samples according to its header.

    Args:
        content: The file, or its beginning.

    Returns:
        The first byte and the one after the last; None if the header does not contain them.
    """
    if content[:4] == b".snd":
        start, length = (int.from_bytes(content[at : at + 4], "big") for at in (4, 8))
        return start, start + length
    if content[:4] not in _STARTS:
        return None
    order, wanted = _STARTS[content[:4]]
    at, long = 12, None
    while at + 8 <= len(content):
        name, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], order)
        if name == b"ds64":  # sizes of more than four bytes
            long = int.from_bytes(content[at + 16 : at + 24], "little")
        if name == wanted:
            return at + 8, at + 8 + (long if long is not None and length == 2**32 - 1 else length)
        at += 8 + length + length % 2
    return None


def unexplained_bytes(content: Content, stop: int) -> int:
    """Return the number of bytes after the samples that are neither chunks nor padding.

    Args:
        content: The file.
        stop: The byte after the samples, according to the header.
    """
    order = _STARTS[content[:4]][0] if content[:4] in _STARTS else None
    starts = [stop + stop % 2, stop] if order else [stop]  # some writers do not pad to even places
    return min(_bytes_after_chunks(content, start, order) for start in starts)


def _bytes_after_chunks(content: Content, at: int, order: Literal["little", "big"] | None) -> int:
    size = len(content)
    while order is not None and at + 8 <= size:
        length = int.from_bytes(content[at + 4 : at + 8], order)
        is_name = all(32 <= byte < 127 for byte in content[at : at + 4])
        if not is_name or at + 8 + length > size:
            break
        at += 8 + length + length % 2
    blocks = (content[start : min(start + _BLOCK, size)] for start in itertools.count(at, _BLOCK))
    is_padding = not any(any(block) for block in itertools.takewhile(len, blocks))
    return 0 if is_padding else max(0, size - at)
