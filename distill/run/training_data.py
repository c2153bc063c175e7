"""Record of a model's training audio in a file beside its weights.

`training_data.json` names the recipe and its manifests, and the segments of audio of every utterance that the
model may have been trained on, by any stage: labeled, transcribed by a teacher, or on-policy. A model that was trained
from another includes the other's record.

Audio is identified by the contents of its file and by time: copies, links, other paths, other ids and other segments of
the same file are recognized. A re-encoded file counts as another file.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, BinaryIO

from overlap.errors import UserError

from ..data.audio import AudioError
from ..data.manifest import Utterance
from ..data.stored_audio import StoredAudio
from .run_directory import write_atomically

FILE = "training_data.json"
FORMAT = 1

BLOCK_BYTES = 1 << 16
"""The size and the first, middle and last block of a file are hashed, so long files take no longer."""

TOLERANCE_SECONDS = 0.05
"""Segments that overlap no more than this are neighbors with rounded times."""

Identify = Callable[[Path | StoredAudio], str]
"""Identifies an audio file by its contents, like `AudioIdentities`."""

Stretch = tuple[float, float]
"""Begin and end in seconds; the end of an entire file is infinite."""


@dataclass(frozen=True)
class TrainingData:
    """The audio and recipes that a model was trained on.

    Attributes:
        audio: Stretches of each file, sorted and without overlaps, by the file's identity.
        sources: The recipe's name and hash and the manifests of each training, the oldest first.
    """

    audio: Mapping[str, tuple[Stretch, ...]] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()

    def count_seen(self, utterances: Iterable[Utterance], identities: Identify) -> int:
        """Return the number of utterances of which at least a part is in the training audio."""
        return sum(self._holds(*_stretch(utterance, identities)) for utterance in utterances if utterance.audio)

    def _holds(self, file: str, stretch: Stretch) -> bool:
        known = self.audio.get(file, ())
        first = bisect_left(known, stretch[0], key=lambda one: one[1])
        for begin, end in known[first:]:
            if begin >= stretch[1]:
                break
            if min(end, stretch[1]) - max(begin, stretch[0]) > TOLERANCE_SECONDS:
                return True
        return False

    def plus(self, utterances: Iterable[Utterance], identities: Identify, source: Mapping[str, Any]) -> TrainingData:
        """Return the same with the audio of more utterances."""
        audio = {file: list(stretches) for file, stretches in self.audio.items()}
        for utterance in utterances:
            if utterance.audio:
                file, stretch = _stretch(utterance, identities)
                audio.setdefault(file, []).append(stretch)
        return TrainingData({file: _merged(stretches) for file, stretches in audio.items()}, (*self.sources, source))

    def write(self, folder: Path) -> None:
        """Write the file into a model's folder."""
        audio = {
            file: [[begin, end] if end < inf else [begin] for begin, end in stretches]
            for file, stretches in sorted(self.audio.items())
        }
        lines = ",\n".join(f"  {json.dumps(file)}: {json.dumps(stretches)}" for file, stretches in audio.items())
        sources = json.dumps(list(self.sources), indent=1)
        write_atomically(folder / FILE, f'{{"format": {FORMAT}, "sources": {sources}, "audio": {{\n{lines}\n}}}}\n')


def read_training_data(model: str | Path) -> TrainingData | None:
    """Return the record of training data of the model in a folder; None if there is none.

    Raises:
        UserError: The file is damaged or of a newer version.
    """
    path = Path(model) / FILE
    if not path.is_file():
        return None
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["format"] != FORMAT:
            raise UserError(f"format {read['format']!r}, and this version reads {FORMAT}")
        audio = {
            file: tuple((float(one[0]), float(one[1]) if len(one) > 1 else inf) for one in stretches)
            for file, stretches in read["audio"].items()
        }
        return TrainingData(audio, tuple(read["sources"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read as a model's training data ({error}); restore the file, or remove it "
            "to treat the model's training data as unknown"
        ) from error


class AudioIdentities:
    """Identities of audio files by their contents; each file is read once."""

    def __init__(self) -> None:
        self._known: dict[Path | StoredAudio, str] = {}

    def __call__(self, audio: Path | StoredAudio) -> str:
        """The identity of a file: hexadecimal digits.

        Raises:
            AudioError: It cannot be read.
        """
        if audio not in self._known:
            try:
                with audio.open("rb") if isinstance(audio, Path) else audio.open() as file:
                    self._known[audio] = _digest(file)
            except OSError as error:
                raise AudioError(
                    f"{audio}: cannot be read ({error}); check that the file is there and complete"
                ) from error
        return self._known[audio]


def _digest(file: BinaryIO) -> str:
    size = file.seek(0, os.SEEK_END)
    digest = hashlib.sha256(str(size).encode())
    for start in sorted({0, max(0, size // 2 - BLOCK_BYTES // 2), max(0, size - BLOCK_BYTES)}):
        file.seek(start)
        digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()[:24]


def _stretch(utterance: Utterance, identities: Identify) -> tuple[str, Stretch]:
    assert utterance.audio is not None
    end = inf if utterance.end_time == -1 else utterance.end_time
    return identities(utterance.audio), (utterance.begin_time, end)


def _merged(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    merged: list[Stretch] = []
    for begin, end in sorted(stretches):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return tuple(merged)
