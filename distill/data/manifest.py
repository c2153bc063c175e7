"""Manifests: JSON Lines files that list the utterances of a data set, one JSON object a line.

Fields, of which only ``audio`` is required: ``id`` (string), ``audio`` (path, relative to the manifest), ``text``
(reference transcript), ``begin_time`` and ``end_time`` (seconds within the audio file; −1 stands for its start and its
end), ``language`` (a name such as ``English``), ``context`` (what it may be about: names, hotwords, a sentence; for
models whose prompt has a place for it, which Qwen3-ASR's has). Lines for text models have, instead of ``audio`` or
beside it, ``prompt``: a string, or a list of chat messages ``{"role", "content"}``; ``text`` is then the completion.
Other fields are kept in :attr:`Utterance.extra`; ``null`` means absent. Names of other tools are read too
(:mod:`.foreign`).
"""

import functools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..places import located
from .beside import audio_folders, found_beside
from .files import missing_words
from .foreign import say_doubtful, translated
from .stored_audio import StoredAudio

FIELDS = ("id", "audio", "prompt", "text", "begin_time", "end_time", "language", "context")
MAX_PROBLEMS_SHOWN = 10


Message = Mapping[str, Any]
"""A turn of a chat: ``role`` and ``content``, both strings, and whatever else a chat template reads."""


class ManifestError(ValueError):
    """A manifest, or utterances read from one, that cannot be used as they are; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance: a stretch of an audio file, or a prompt for text models, and what is known about it.

    Attributes:
        id: Unique name within a data set.
        audio: Absolute path of the audio file, or where else it is stored; ``None`` where there is a prompt alone.
        text: Reference transcript or completion; ``None`` if unlabelled, empty if nothing is said.
        begin_time: Start within the file, in seconds.
        end_time: End within the file, in seconds; −1 for the file's end.
        language: Name of the language, ``None`` if unknown.
        extra: Further fields of the manifest line.
        prompt: What a text model reads: a string or the messages of a chat; ``None`` where there is audio alone.
        context: What a recogniser is told beforehand, such as names that may occur; ``None`` if nothing.
        place: Manifest and line, or data set and row, for messages.

    Raises:
        ValueError: An empty id, neither audio nor prompt, a time that is not finite, a negative begin, an end at or
            before the begin, or an extra field with the name of a field of its own.
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
            raise ValueError('field "id" is empty; give the utterance a unique name or leave the field out')
        if self.audio is None and self.prompt is None:
            raise ValueError('neither "audio" nor "prompt"; give an audio file, or a prompt for text models')
        for name, value in (("begin_time", self.begin_time), ("end_time", self.end_time)):
            if not math.isfinite(value):
                raise ValueError(f'field "{name}" is {value}; give a finite number of seconds')
        if self.begin_time < 0:
            raise ValueError(
                f'field "begin_time" is {self.begin_time:g} s, before the start of the file; give 0 or more seconds, '
                "or −1 for the start"
            )
        if self.end_time != -1 and self.end_time <= self.begin_time:
            raise ValueError(
                f'field "end_time" is {self.end_time:g} s, not after begin_time = {self.begin_time:g} s; give a later '
                "time, or −1 for the end of the file"
            )
        if clash := sorted(set(self.extra) & set(FIELDS)):
            raise ValueError(f"extra fields {clash} have names that an utterance uses itself; rename them")


def read_manifest(path: str | Path, *, check_audio: bool = True) -> list[Utterance]:
    """Read a JSON Lines manifest (UTF-8, blank lines skipped).

    An utterance without ``id`` is named after the manifest and its line, as in ``train-000017``, so that it keeps its
    name for as long as the file is unchanged.

    Args:
        path: The manifest; `demo:corpus/…` is one of the embedded demo.
        check_audio: Whether every audio file must exist (it is not opened).

    Returns:
        The utterances in the order of the file, at least one.

    Raises:
        FileNotFoundError: The manifest does not exist.
        ManifestError: Anything else wrong with it; the message lists up to ten problems, each with file, line, field
            and remedy.
    """
    path = Path(located(path))
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{path}: the manifest {what}; give the path of a JSON Lines file, one utterance a line"
        )
    folders = audio_folders(path)
    utterances: list[Utterance] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    exists = functools.cache(Path.is_file)
    for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        utterance, found = _parse_line(raw, place=(str(path), number), folders=folders)
        if utterance is not None:
            if check_audio and isinstance(utterance.audio, Path) and not exists(utterance.audio):
                found.append(f'field "audio": {missing_words(utterance.audio)}')
            if (earlier := first_line.setdefault(utterance.id, number)) != number:
                found.append(
                    f'field "id": {utterance.id!r} is already used on line {earlier}; give each utterance its own id'
                )
            utterances.append(utterance)
        problems += (f"{path}:{number}: {problem}" for problem in found)
    if problems:
        _refuse(f"{path}: {len(problems)} problems", problems)
    say_doubtful(path, (name for utterance in utterances for name in utterance.extra), FIELDS)
    if not utterances:
        raise ManifestError(f"{path}: the manifest has no utterances; write one JSON object a line")
    return utterances


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest that :func:`read_manifest` gives back; readers see the old file or the new one, never a part.

    An audio path below the manifest's folder is written relative to it, so that both can be moved together; any other
    is written absolute, so that the manifest can be moved alone.

    Args:
        path: The manifest, replaced if it exists; missing folders are made.
        utterances: At least one, with unique ids.

    Raises:
        ManifestError: No utterances, a repeated id, audio inside a data set, or an extra field that JSON cannot hold.
    """
    path = Path(path)
    folder = path.parent.resolve()
    lines: dict[str, str] = {}
    for utterance in utterances:
        if utterance.id in lines:
            raise ManifestError(f"{path}: utterance id {utterance.id!r} occurs twice; give each utterance its own id")
        lines[utterance.id] = _format_line(utterance, folder=folder)
    if not lines:
        raise ManifestError(f"{path}: there are no utterances to write; a manifest holds at least one")
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text("".join(lines.values()), encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def require_text(utterances: Iterable[Utterance], purpose: str) -> None:
    """Refuse utterances without reference text (an empty text is a reference: nothing is said).

    Args:
        utterances: The utterances that need text.
        purpose: What needs it, to begin the message with, as in ``"stage 1 (sft)"``.

    Raises:
        ManifestError: At least one has none.
    """
    remedy = 'add the field "text" to their manifest lines or leave those utterances out'
    _require(utterances, "text", f"{purpose} needs reference text", remedy)


def require_input(utterances: Iterable[Utterance], field: Literal["audio", "prompt"], model: str) -> None:
    """Refuse utterances without what a model reads.

    Args:
        utterances: The utterances that the model is to write or score.
        field: What it reads.
        model: Its name and kind, to begin the message with, as in ``"'distil' (whisper)"``.

    Raises:
        ManifestError: At least one has none.
    """
    other = "a text model" if field == "audio" else "a speech model"
    remedy = f'add the field "{field}" to their manifest lines, or give {other} in its place'
    _require(utterances, field, f"{model} reads {field}", remedy)


def refuse_context(utterances: Iterable[Utterance], model: str) -> None:
    """Refuse utterances with a context, for a model whose prompt has no place for one.

    Args:
        utterances: The utterances that the model is to write or score.
        model: Its name and kind, to begin the message with.

    Raises:
        ManifestError: At least one has a context.
    """
    told = [f"{_placed(item)} ({item.context!r})" for item in utterances if item.context is not None]
    if told:
        remedy = 'remove the field "context" from their manifest lines, or take a model that reads it (Qwen3-ASR)'
        _refuse(f"{model} takes no context and {len(told)} utterances have one; {remedy}", told, head=True)


def _require(utterances: Iterable[Utterance], field: str, headline: str, remedy: str) -> None:
    missing = [
        _placed(item) + (f" ({item.audio})" if item.audio else "")
        for item in utterances
        if getattr(item, field) is None
    ]
    if missing:
        _refuse(f"{headline} and {len(missing)} utterances have none; {remedy}", missing, head=True)


def _placed(utterance: Utterance) -> str:
    """An utterance by its id, behind manifest and line where it was read from one."""
    where = "" if utterance.place is None else f"{utterance.place[0]}:{utterance.place[1]}: "
    return f"{where}utterance {utterance.id!r}"


def _refuse(headline: str, problems: list[str], *, head: bool = False) -> NoReturn:
    if len(problems) == 1 and not head:
        raise ManifestError(problems[0])
    shown = problems[:MAX_PROBLEMS_SHOWN]
    if more := len(problems) - len(shown):
        shown.append(f"… and {more} more")
    raise ManifestError("\n  ".join([headline, *shown]))


def _parse_line(raw: bytes, *, place: tuple[str, int], folders: Sequence[Path]) -> tuple[Utterance | None, list[str]]:
    try:
        record = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return None, [f"byte {error.start + 1} is not UTF-8; save the manifest as UTF-8"]
    except json.JSONDecodeError as error:
        return None, [f"column {error.colno}: malformed JSON ({error.msg}); write one complete JSON object a line"]
    except ValueError as error:
        return None, [f"malformed JSON ({error}); write one complete JSON object a line"]
    if not isinstance(record, dict):
        return None, [f'a JSON {_json_type(record)}, not an object; write {{"audio": …, "text": …}}']

    record, problems = translated(record)
    known: dict[str, Any] = {name: record.get(name) for name in FIELDS}
    for name in ("id", "audio", "text", "language", "context"):
        if known[name] is not None and not isinstance(known[name], str):
            problems.append(
                f'field "{name}" is a {_json_type(known[name])}, not a string; write it as text in double quotes'
            )
    for name in ("begin_time", "end_time"):
        if known[name] is not None and (isinstance(known[name], bool) or not isinstance(known[name], int | float)):
            problems.append(
                f'field "{name}" is a {_json_type(known[name])}, not a number; give seconds without quotes, '
                "or −1 for the file's own start or end"
            )
    audio, prompt = known["audio"], known["prompt"]
    if audio == "" or (audio is None and prompt is None):
        what = "missing" if audio is None else "empty"
        problems.append(
            f'field "audio" is {what}; give the path of the audio file, relative to the manifest, or a "prompt" for '
            "text models"
        )
    if prompt is not None and (problem := _prompt_problem(prompt)):
        problems.append(f'field "prompt" {problem}')
    if problems:
        return None, problems
    # Manifests of other trainers write −1 for both ends of a whole file.
    begin = 0.0 if known["begin_time"] in (None, -1) else float(known["begin_time"])
    end = -1.0 if known["end_time"] is None else float(known["end_time"])
    try:
        return Utterance(
            id=f"{Path(place[0]).stem}-{place[1]:06d}" if known["id"] is None else known["id"],
            audio=None if audio is None else found_beside(audio, folders),
            text=known["text"],
            begin_time=begin,
            end_time=end,
            language=known["language"],
            extra={name: value for name, value in record.items() if name not in FIELDS},
            prompt=tuple(prompt) if isinstance(prompt, list) else prompt,
            context=known["context"] or None,  # an empty one says nothing
            place=place,
        ), []
    except ValueError as error:
        return None, [str(error)]


def _prompt_problem(prompt: Any) -> str | None:
    """What is wrong with a prompt, and the remedy; None if nothing is."""
    if isinstance(prompt, str):
        return None if prompt else "is empty; write what the model is to read"
    if not isinstance(prompt, list):
        return f"is a {_json_type(prompt)}; write a string in double quotes, or a list of chat messages"
    if not prompt:
        return 'is an empty list; write at least one message {"role": "user", "content": "…"}'
    for number, message in enumerate(prompt, start=1):
        if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            return f'lacks role or content in message {number}; write {{"role": "user", "content": "…"}}, both strings'
    return None


def _format_line(utterance: Utterance, *, folder: Path) -> str:
    if isinstance(utterance.audio, StoredAudio):
        raise ManifestError(
            f"utterance {utterance.id!r}: its audio is stored in {utterance.audio} and has no path; write it to a file "
            "first, with distill.extract_audio"
        )
    record: dict[str, Any] = {"id": utterance.id}
    if utterance.audio is not None:
        audio = utterance.audio.absolute()
        record["audio"] = audio.relative_to(folder).as_posix() if audio.is_relative_to(folder) else str(audio)
        record |= {"begin_time": utterance.begin_time, "end_time": utterance.end_time}
    prompt = utterance.prompt
    record["prompt"] = prompt if prompt is None or isinstance(prompt, str) else list(prompt)
    record |= {"text": utterance.text, "language": utterance.language, "context": utterance.context}
    record = {name: value for name, value in record.items() if value is not None} | dict(utterance.extra)
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ManifestError(
            f"utterance {utterance.id!r}: an extra field cannot be written as JSON ({error}); keep strings, finite "
            "numbers, booleans, lists and mappings only"
        ) from error


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names[type(value)]
