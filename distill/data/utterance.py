"""An utterance of a manifest line or a data set row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overlap.errors import UserError

from .stored_audio import StoredAudio

FIELDS = ("id", "audio", "prompt", "text", "begin_time", "end_time", "language", "context")
"""Fields of a line of a manifest."""

Message = Mapping[str, Any]
"""A turn of a chat: ``role`` and ``content``, both strings, and other keys that a chat template reads."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line cannot be used.

    Attributes:
        field: Of the line; None if several fields or the entire line are concerned.
        message: The problem, a predicate of the field's name.
        remedy: What to do.
    """

    field: str | None
    message: str
    remedy: str

    def __str__(self) -> str:
        return (f'field "{self.field}" ' if self.field else "") + f"{self.message}; {self.remedy}"


class LineError(UserError):
    """A line that is not a valid utterance."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class ManifestError(UserError):
    """A manifest, or utterances read from one, that cannot be used as they are; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance: a segment of an audio file, or a prompt for text models, and its annotations.

    Attributes:
        id: Unique name within a data set.
        audio: Absolute path of the audio file, or the stored audio; ``None`` if there is only a prompt.
        text: Reference transcript or completion; ``None`` if unlabeled, empty if nothing is said.
        begin_time: Start within the file, in seconds.
        end_time: End within the file, in seconds; −1 for the file's end.
        language: Name of the language, ``None`` if unknown.
        extra: Further fields of the manifest line.
        prompt: Input of a text model: a string or the messages of a chat; ``None`` if there is only audio.
        context: Hints for a recognizer, such as names that may occur; ``None`` if there are none.
        place: Manifest and line, or data set and row, for messages.

    Raises:
        LineError: An empty id, neither audio nor prompt, a time that is not finite, a negative begin, an end at or
            before the begin, or an extra field with the name of another field.
    """

    id: str
    audio: Path | StoredAudio | None = None
    text: str | None = None
    begin_time: float = 0.0
    end_time: float = -1.0
    language: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    prompt: str | tuple[Message, ...] | None = field(default=None, hash=False)
    context: str | None = None
    place: tuple[str, int] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.id:
            raise LineError(Problem("id", "is empty", "give the utterance a unique name or leave the field out"))
        if self.audio is None and self.prompt is None:
            problem = Problem(None, 'neither "audio" nor "prompt"', "give an audio file, or a prompt for text models")
            raise LineError(problem)
        for name, value in (("begin_time", self.begin_time), ("end_time", self.end_time)):
            if not math.isfinite(value):
                raise LineError(Problem(name, f"is {value}", "give a finite number of seconds"))
        if self.begin_time < 0:
            message = f"is {self.begin_time:g} s, before the start of the file"
            raise LineError(Problem("begin_time", message, "give 0 or more seconds, or −1 for the start"))
        if self.end_time != -1 and self.end_time <= self.begin_time:
            message = f"is {self.end_time:g} s, not after begin_time = {self.begin_time:g} s"
            raise LineError(Problem("end_time", message, "give a later time, or −1 for the end of the file"))
        if clash := sorted(set(self.extra) & set(FIELDS)):
            message = f"extra fields {clash} have names that an utterance uses itself"
            raise LineError(Problem(None, message, "rename them"))
