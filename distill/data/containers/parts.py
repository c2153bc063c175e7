"""Parts of a file that are decoded separately."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from overlap.errors import UserError

from ..stored_audio import StoredAudio

Content = bytes | mmap.mmap
"""The bytes of a file; for a file with a path, only accessed bytes are read."""


class UnreadableParts(UserError):
    """Parts of a file that do not form a single recording; the message says what they are."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file that is a complete file, possibly with a replaced header.

    Attributes:
        start: First byte.
        stop: The byte after its last.
        prefix: Bytes to put before it.
    """

    start: int
    stop: int
    prefix: bytes = b""

    def within(self, content: Content) -> io.BytesIO:
        """Return the part as a file."""
        return io.BytesIO(self.prefix + content[self.start : self.stop])


@contextmanager
def opened(source: Path | StoredAudio) -> Iterator[BinaryIO]:
    """Open a file for reading."""
    with source.open("rb") if isinstance(source, Path) else source.open() as stream:
        yield stream


@contextmanager
def content_of(source: Path | StoredAudio) -> Iterator[Content]:
    """Yield the bytes of a file that is not empty."""
    with opened(source) as stream:
        if not isinstance(source, Path):
            yield stream.read()
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content
