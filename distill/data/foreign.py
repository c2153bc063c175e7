"""Manifest lines in the words of other tools: NeMo's, those of Hugging Face data sets, lhotse's.

What says which audio is heard, or what is said in it, is taken by the names that these use, or refused; it is never
left unread. Other fields are the line's own business, and so are all of lines for text models, which have a prompt.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .utterance import Problem

NAMES = {
    "audio": ("audio_filepath", "audio_path", "audio_file", "path", "file", "file_name", "wav"),
    "text": ("sentence", "transcription", "transcript", "txt"),
    "language": ("lang", "locale", "source_lang", "target_lang"),
}
"""Fields by the names that other tools have for them, the first of which is taken where there are several."""

_TIMES = {
    "start": "begin_time",
    "start_time": "begin_time",
    "begin": "begin_time",
    "segment_start": "begin_time",
    "end": "end_time",
    "stop": "end_time",
    "stop_time": "end_time",
    "segment_end": "end_time",
}
"""Names of times whose unit and meaning differ between tools."""

_TOLERANCE_SECONDS = 0.010
_MOST_SECONDS = 10**15
_LHOTSE_KEYS = ("recording", "supervisions", "recording_id", "sources")
_LHOTSE = (
    'write a line {"audio": …, "begin_time": …, "end_time": …, "text": …} for each supervision: of each '
    "cut of cuts.trim_to_supervisions() its recording.sources[0].source, start, end and supervisions[0].text"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def translated(record: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """A line under the manifest's own names.

    Args:
        record: As it was read.

    Returns:
        The line, and what keeps it from being used.
    """
    problems = [*_half_characters(record)]
    if _given(record, "prompt"):
        return record, problems
    if not _given(record, "audio") and (keys := [key for key in _LHOTSE_KEYS if key in record]):
        return record, [Problem(keys[0], "is of lhotse", _LHOTSE), *problems]
    record = dict(record)
    audio = record.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("path"), str):
        if audio.get("bytes") or audio.get("array"):
            problems.append(Problem("audio", "holds the audio itself", "give a path, or read the data set as hf:…"))
        record["audio"] = audio["path"]
    source, target = record.get("source_lang"), record.get("target_lang")
    if source is not None and target is not None and source != target:
        message = f'is {target!r} and "source_lang" {source!r}: a translation'
        problems.append(Problem("target_lang", message, "leave the line out, models are taught what is said"))
    for name, others in NAMES.items():
        found = [other for other in others if isinstance(record.get(other), str)]
        if _given(record, name) or not found:
            continue
        if name == "text" and len({record[other] for other in found}) > 1:
            message = f"is missing, and may be {' or '.join(found)}"
            problems.append(Problem("text", message, "rename the one that is meant"))
        record[name] = record.pop(found[0])
    problems += _timed(record)
    if isinstance(record.get("channel"), int | list) or _given(record, "channel_selector"):
        name = "channel" if _given(record, "channel") else "channel_selector"
        if record[name] not in (0, [0], "average"):
            message = "cannot be taken: channels are averaged"
            problems.append(Problem(name, message, "write one channel to a file"))
    return record, problems


def _timed(record: dict[str, Any]) -> Iterator[Problem]:
    """Put `offset` and `duration` in the place of times; yields what cannot be."""
    own = [name for name in ("begin_time", "end_time") if _given(record, name)]
    for name, meant in _TIMES.items():
        if _given(record, name) and not _given(record, meant):
            message = "cannot be taken, for its unit is not known"
            yield Problem(name, message, f'write it as "{meant}", in seconds')
    if own and not _given(record, "offset"):
        return  # a duration beside times is for readers
    numbers = {name: record[name] for name in ("offset", "duration") if _given(record, name)}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            yield Problem(name, f"is {value!r}", "give seconds, 0 or more")
            return
        if isinstance(value, int) and value > _MOST_SECONDS:
            yield Problem(name, "is a number of more than fifteen digits", "give seconds, 0 or more")
            return
    if not numbers:
        return
    begin = float(numbers.get("offset", 0.0))
    end = begin + numbers["duration"] if "duration" in numbers else -1.0
    if own:
        given = {"begin_time": begin, "end_time": end}
        values = {name: record[name] for name in own if isinstance(record[name], int | float) and record[name] != -1}
        if any(abs(value - given[name]) > _TOLERANCE_SECONDS for name, value in values.items()):
            message = 'fields "offset" and "duration" say other times than "begin_time" and "end_time"'
            yield Problem(None, message, "remove one pair")
        return
    record |= {"begin_time": begin, "end_time": end}
    for name in numbers:
        del record[name]


def doubtful(names: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """Names that look like misspelled fields, each with the field that may be meant.

    Args:
        names: Of fields that were not read.
        fields: The manifest's own.
    """
    known = [*fields, *(other for others in NAMES.values() for other in others), *_TIMES, "offset", "duration"]
    near = {
        name: difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.85)
        for name in dict.fromkeys(names)
        if name not in known
    }
    return {name: meant[0] for name, meant in near.items() if meant}


def _given(record: dict[str, Any], name: str) -> bool:
    return record.get(name) is not None


def _half_characters(value: Any, name: str | None = None) -> Iterator[Problem]:
    """Halves of surrogate pairs, which are no text in any encoding."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _half_characters(inner, name or key)
    elif isinstance(value, list):
        for inner in value:
            yield from _half_characters(inner, name)
    elif isinstance(value, str) and (half := _SURROGATE.search(value)):
        message = f"has half a character (\\u{ord(half[0]):04x}) at position {half.start() + 1}"
        yield Problem(name, message, "write the whole one, or remove it")
