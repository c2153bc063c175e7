"""Parses a line of a manifest to an utterance, or to all of its problems."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from overlap.errors import UserError

from .find_audio import found_beside
from .other_formats import translated
from .utterance import FIELDS, LineError, Problem, Utterance

_WHOLE = "write one complete JSON object a line"
_MOST_SECONDS = 10**15


def parse_line(
    raw: bytes, *, place: tuple[str, int], folders: Sequence[Path]
) -> tuple[Utterance | None, str | None, list[Problem]]:
    """Read a line.

    Args:
        raw: The bytes in the manifest, not empty.
        place: Manifest and line, from 1.
        folders: Folders that relative audio paths may be relative to.

    Returns:
        The utterance (None if the line cannot be used); its id, if known; and its problems.
    """
    try:
        record = json.loads(
            raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated_keys
        )
    except UnicodeDecodeError as error:
        return None, None, [Problem(None, f"byte {error.start + 1} is not UTF-8", "save the manifest as UTF-8")]
    except json.JSONDecodeError as error:
        return None, None, [Problem(None, f"column {error.colno}: malformed JSON ({error.msg})", _WHOLE)]
    except RecursionError:
        return None, None, [Problem(None, "malformed JSON (nested too deeply)", _WHOLE)]
    except LineError as error:
        return None, None, [error.problem]
    except ValueError as error:
        return None, None, [Problem(None, f"malformed JSON ({error})", _WHOLE)]
    if not isinstance(record, dict):
        remedy = 'write {"audio": …, "text": …}'
        return None, None, [Problem(None, f"a JSON {_json_type(record)}, not an object", remedy)]

    given = record.get("id")
    name = f"{Path(place[0]).stem}-{place[1]:06d}" if given is None else given if isinstance(given, str) else None
    record, problems = translated(record)
    known: dict[str, Any] = {field: record.get(field) for field in FIELDS}
    problems += [*_of_other_types(known), *_without_input(known)]
    if problems:
        return None, name, problems
    # Manifests of other trainers use −1 for both ends of an entire file.
    begin = 0.0 if known["begin_time"] in (None, -1) else float(known["begin_time"])
    end = -1.0 if known["end_time"] is None else float(known["end_time"])
    audio, prompt = known["audio"], known["prompt"]
    try:
        utterance = Utterance(
            id=name or "",
            audio=None if audio is None else found_beside(audio, folders),
            text=known["text"],
            begin_time=begin,
            end_time=end,
            language=known["language"],
            extra={field: value for field, value in record.items() if field not in FIELDS},
            prompt=tuple(prompt) if isinstance(prompt, list) else prompt,
            context=known["context"] or None,  # an empty one means unknown
            place=place,
        )
    except LineError as error:
        return None, name, [error.problem]
    return utterance, name, []


def _of_other_types(known: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("id", "audio", "text", "language", "context"):
        if known[name] is not None and not isinstance(known[name], str):
            message = f"is a {_json_type(known[name])}, not a string"
            yield Problem(name, message, "write it as text in double quotes")
    for name in ("begin_time", "end_time"):
        value = known[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            remedy = "give seconds without quotes, or −1 for the file's own start or end"
            yield Problem(name, f"is a {_json_type(value)}, not a number", remedy)
        elif isinstance(value, int) and abs(value) > _MOST_SECONDS:
            yield Problem(name, "is a number of more than fifteen digits", "give a number of seconds")


def _without_input(known: Mapping[str, Any]) -> Iterator[Problem]:
    audio, prompt = known["audio"], known["prompt"]
    if audio == "" or (audio is None and prompt is None):
        remedy = 'give the path of the audio file, relative to the manifest, or a "prompt" for text models'
        yield Problem("audio", f"is {'missing' if audio is None else 'empty'}", remedy)
    if isinstance(audio, str) and "\0" in audio:
        yield Problem("audio", "contains a null character, which is not allowed in paths", "write the path again")
    if prompt is not None and (problem := _prompt_problem(prompt)):
        yield problem


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise LineError(Problem(twice, "stands twice in the line", "keep the one that is meant"))
    return record


def _prompt_problem(prompt: Any) -> Problem | None:
    """Return what is wrong with a prompt; None if nothing is."""
    if isinstance(prompt, str):
        return None if prompt else Problem("prompt", "is empty", "write what the model is to read")
    if not isinstance(prompt, list):
        remedy = "write a string in double quotes, or a list of chat messages"
        return Problem("prompt", f"is a {_json_type(prompt)}", remedy)
    message = 'message {"role": "user", "content": "…"}'
    if not prompt:
        return Problem("prompt", "is an empty list", f"write at least one {message}")
    for number, turn in enumerate(prompt, start=1):
        if not isinstance(turn, dict) or not all(isinstance(turn.get(k), str) for k in ("role", "content")):
            remedy = 'write {"role": "user", "content": "…"}, both strings'
            return Problem("prompt", f"lacks role or content in message {number}", remedy)
    return None


def _refuse_constant(constant: str) -> NoReturn:
    raise UserError(f"{constant} is not a JSON number; write null or leave the field out")


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names[type(value)]
