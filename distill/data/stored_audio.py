"""Audio files inside another file, such as a column of a data set."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class StoredAudio:
    """An encoded audio file (WAV, FLAC, MP3 …) without its own path, read only when it is opened.

    Attributes:
        name: Unique name, for messages, caches, equality and hash.
        size: Bytes of the file.
        open: Opens it for reading.
    """

    name: str
    size: int = field(compare=False)
    open: Callable[[], BinaryIO] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.name
