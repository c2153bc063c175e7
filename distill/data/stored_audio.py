"""Audio files that lie inside something else, such as a column of a data set."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class StoredAudio:
    """An encoded audio file (WAV, FLAC, MP3 …) that has no path of its own, read only when it is opened.

    Attributes:
        name: What tells it apart from all others, in messages and in caches; equality and hash are the name's.
        size: Bytes of the file.
        open: Opens it for reading.
    """

    name: str
    size: int = field(compare=False)
    open: Callable[[], BinaryIO] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.name
