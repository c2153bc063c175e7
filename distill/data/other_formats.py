"""Manifest lines with field names of other tools: NeMo, Hugging Face data sets, lhotse.

Fields that select the audio or hold its text are read under these names, or refused; they are never ignored. Other
fields are free, and so are all fields of lines for text models, which have a prompt.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .segment_fields import TIMES, check_words, replace_offset
from .utterance import Problem

NAMES = {
    "audio": ("audio_filepath", "audio_path", "audio_file", "path", "file", "file_name", "wav"),
    "text": ("sentence", "transcription", "transcript", "txt"),
    "language": ("lang", "locale", "source_lang", "target_lang"),
}
"""Names of fields in other tools; of several in a line, the first is used."""

_LHOTSE_KEYS = ("recording", "supervisions", "recording_id", "sources")
_LHOTSE = (
    'write a line {"audio": …, "begin_time": …, "end_time": …, "text": …} for each supervision: of each '
    "cut of cuts.trim_to_supervisions() its recording.sources[0].source, start, end and supervisions[0].text"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def translated(record: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Translate a line to the manifest's own field names.

    Args:
        record: As it was read.

    Returns:
        The line, and why it cannot be used, if so.
    """
    problems = [*_find_lone_surrogates(record)]
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
        problems.append(Problem("target_lang", message, "leave the line out; models learn what is said"))
    for name, others in NAMES.items():
        found = [other for other in others if isinstance(record.get(other), str)]
        if _given(record, name) or not found:
            continue
        if name == "text" and len({record[other] for other in found}) > 1:
            message = f"is missing, and may be {' or '.join(found)}"
            problems.append(Problem("text", message, "rename the one that is meant"))
        record[name] = record.pop(found[0])
    problems += [*check_words(record), *replace_offset(record)]
    return record, problems


def find_misspelled_fields(names: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """Return names that look like misspelled fields, each with the likely field.

    Args:
        names: Of fields that were not read.
        fields: The manifest's own.
    """
    known = [*fields, *(other for others in NAMES.values() for other in others), *TIMES, "offset", "duration"]
    near = {
        name: difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.85)
        for name in dict.fromkeys(names)
        if name not in known
    }
    return {name: meant[0] for name, meant in near.items() if meant}


def _given(record: dict[str, Any], name: str) -> bool:
    return record.get(name) is not None


def _find_lone_surrogates(value: Any, name: str | None = None) -> Iterator[Problem]:
    """Find halves of surrogate pairs, which cannot be encoded as text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _find_lone_surrogates(inner, name or key)
    elif isinstance(value, list):
        for inner in value:
            yield from _find_lone_surrogates(inner, name)
    elif isinstance(value, str) and (half := _SURROGATE.search(value)):
        message = f"has half a character (\\u{ord(half[0]):04x}) at position {half.start() + 1}"
        yield Problem(name, message, "write the complete character, or remove it")
