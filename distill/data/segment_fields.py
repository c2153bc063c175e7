"""The segment and channel that a line of another tool selects.

Segments are read in the known formats only. Other fields that look like a time, a channel or a translation are refused:
if they were ignored, the entire file would be used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from .utterance import Problem

_BEGIN, _END = "begin_time", "end_time"
_PLAIN = {
    **dict.fromkeys(("start", "start_time", "begin", "segment_start", "onset"), _BEGIN),
    **dict.fromkeys(("end", "stop", "stop_time", "segment_end"), _END),
}
_UNITS = ("s", "sec", "secs", "second", "seconds", "ms", "msec", "millis", "milliseconds", "frame", "sample", "samples")
TIMES = {
    **_PLAIN,
    **{f"{name}_{unit}": meant for name, meant in _PLAIN.items() for unit in _UNITS},
    **dict.fromkeys(
        ("frame_offset", "sample_offset", "frame_start", "sample_start", "from_time", "time_start"), _BEGIN
    ),
    **dict.fromkeys(("frame_end", "sample_end", "to_time", "time_end"), _END),
    **{f"{name}_{unit}": name for name in (_BEGIN, _END, "offset", "duration") for unit in _UNITS},
}
"""Names of times whose unit and meaning differ between tools, with the likely field."""

_IF_NUMBERS = {"from": _BEGIN, "to": _END, "t0": _BEGIN, "t1": _END}
_OWN = (_BEGIN, _END, "offset", "duration")
_PAIRS = ("timestamp", "timestamps", "time", "times", "segment", "interval", "range", "span", "stretch", "window")
_CHANNELS = ("channel", "channel_selector", "channel_id", "channel_idx", "channel_index", "audio_channel", "ch")
_SIDES = ("l", "r", "left", "right")
_TASKS = ("task", "task_name", "taskname")
_TRANSLATIONS = ("ast", "st", "s2tt")
_TOLERANCE_SECONDS = 0.010
_MOST_SECONDS = 10**15


def check_words(record: dict[str, Any]) -> Iterator[Problem]:
    """Yield problems of unsupported fields about time, channel and task.

    Args:
        record: The line.
    """
    said = {name for name in _OWN if record.get(name) is not None}
    for name, value in record.items():
        plain = _plain(name)
        if value is None or name in _OWN:
            continue
        meant = _MEANT.get(plain) or (_IF_NUMBERS.get(plain) if _is_number(value) else None)
        if meant is not None:
            if meant not in said and not said >= {_BEGIN, _END}:
                yield _unread_time(name, meant, plain)
        elif plain in _PAIR_WORDS and _is_pair(value) and not said:
            yield Problem(name, "is not read", 'write its numbers as "begin_time" and "end_time", in seconds')
        elif plain == "segments" and _select_audio(record, value) and not said:
            remedy = 'write a line with "begin_time", "end_time" and "text" for each of them'
            yield Problem(name, "is not read, so the entire file would be used", remedy)
        elif plain in _CHANNEL_WORDS and _is_channel(value):
            yield Problem(name, "cannot be taken: channels are averaged", "write one channel to a file")
        elif plain in _TASK_WORDS and isinstance(value, str) and _is_translation(value):
            yield Problem(name, f"is {value!r}: a translation", "leave the line out; models learn what is said")


def replace_offset(record: dict[str, Any]) -> Iterator[Problem]:
    """Replace `offset` and `duration` by times.

    Args:
        record: The line, changed in place.

    Yields:
        Problems of its times.
    """
    own = [name for name in (_BEGIN, _END) if record.get(name) is not None]
    numbers = {name: record[name] for name in ("offset", "duration") if record.get(name) is not None}
    if not numbers or (len(own) == 2 and "offset" not in numbers):
        return  # a duration beside both times is only informative
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            yield Problem(name, f"is {value!r}", "give seconds, 0 or more")
            return
        if isinstance(value, int) and value > _MOST_SECONDS:
            yield Problem(name, "is a number of more than fifteen digits", "give seconds, 0 or more")
            return
    begin = float(numbers.get("offset", 0.0))
    end = begin + numbers["duration"] if "duration" in numbers else -1.0
    if own and "offset" not in numbers:
        lacks = _END if own == [_BEGIN] else _BEGIN
        message = f'stands beside "{own[0]}" without "{lacks}", and may be that of the segment or of the file'
        yield Problem("duration", message, f'write "{lacks}" instead')
        return
    given = {_BEGIN: begin, _END: end}
    values = {name: record[name] for name in own if _is_number(record[name])}
    if values.get(_BEGIN) == -1:
        values[_BEGIN] = 0.0  # the start of the file
    if any(abs(value - given[name]) > _TOLERANCE_SECONDS for name, value in values.items()):
        message = 'fields "offset" and "duration" say other times than "begin_time" and "end_time"'
        yield Problem(None, message, "remove one pair")
        return
    if len(own) == 2:
        return
    record |= {name: value for name, value in given.items() if name not in own}
    if not own:
        for name in numbers:
            del record[name]


@lru_cache(maxsize=2**12)
def _plain(name: str) -> str:
    """Return a name in lower case without separators."""
    return re.sub(r"[\W_]", "", name).lower()


_UNSURE = frozenset(map(_plain, (*TIMES, *_IF_NUMBERS)))
_MEANT = {_plain(name): name for name in _OWN} | {_plain(name): meant for name, meant in TIMES.items()}
_PAIR_WORDS = frozenset(map(_plain, _PAIRS))
_CHANNEL_WORDS = frozenset(map(_plain, _CHANNELS))
_TASK_WORDS = frozenset(map(_plain, _TASKS))


def _unread_time(name: str, meant: str, plain: str) -> Problem:
    if plain not in _UNSURE:
        return Problem(name, "is not read", f'write it as "{meant}"')
    only_length = ", or remove it if it only says how long the file is" if meant == "duration" else ""
    remedy = f'write it as "{meant}", in seconds{only_length}'
    return Problem(name, "cannot be used, because its unit is not known", remedy)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    inner = list(value.values()) if isinstance(value, dict) else value
    return isinstance(inner, list) and len(inner) == 2 and all(map(_is_number, inner))


def _select_audio(record: dict[str, Any], value: Any) -> bool:
    """Return whether segments select the audio; next to the text of the entire file, segments with texts are its
    parts."""
    if not isinstance(value, list) or not value:
        return False
    return record.get("text") is None or not all(isinstance(one, dict) and "text" in one for one in value)


def _is_channel(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _SIDES or (value.strip().isdigit() and int(value) != 0)
    return isinstance(value, int | list) and value not in (0, [0])


def _is_translation(value: str) -> bool:
    return "translat" in value.lower() or value.lower() in _TRANSLATIONS
