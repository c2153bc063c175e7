"""Manifests: JSON Lines files that list the utterances of a data set, one JSON object a line.

Fields, of which only ``audio`` is required: ``id`` (string), ``audio`` (path, relative to the manifest), ``text``
(reference transcript), ``begin_time`` and ``end_time`` (seconds within the audio file; −1 stands for its start and its
end), ``language`` (a name such as ``English``), ``context`` (hints such as names, hotwords or a sentence; for models
whose prompt has a place for it, such as Qwen3-ASR). Lines for text models have, instead of ``audio`` or beside it,
``prompt``: a string, or a list of chat messages ``{"role", "content"}``; ``text`` is then the completion. Other fields
are kept in :attr:`Utterance.extra`; ``null`` means absent. Names of other tools are read too (:mod:`.other_formats`).
"""

import functools
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from overlap.arguments import callers_level
from overlap.files import replacing

from ..locations import LINKED, describe_broken_link, located
from .files import missing_words
from .find_audio import audio_folders
from .line_findings import Finding
from .lines import parse_line
from .other_formats import find_misspelled_fields
from .stored_audio import StoredAudio
from .utterance import FIELDS, ManifestError, Message, Problem, Utterance

__all__ = [
    "FIELDS",
    "ManifestError",
    "Message",
    "Utterance",
    "audio_files",
    "checked_manifest",
    "read_manifest",
    "refuse_context",
    "require_input",
    "require_text",
    "write_manifest",
]

MAX_PROBLEMS_SHOWN = 10


def read_manifest(path: str | Path, *, check_audio: bool = True) -> list[Utterance]:
    """Read a JSON Lines manifest (UTF-8, blank lines skipped).

    An utterance without ``id`` is named after the manifest and its line, as in ``train-000017``; the name is stable as
    long as the file is unchanged.

    Args:
        path: The manifest; `demo:corpus/…` is one of the embedded demo.
        check_audio: Whether every audio file must exist (it is not opened).

    Returns:
        The utterances in the order of the file, at least one.

    Raises:
        FileNotFoundError: The manifest does not exist.
        ManifestError: Any other problem; the message lists up to ten, each with file, line, field and remedy.
    """
    path = Path(located(path))
    if missing := _no_file(path):
        raise FileNotFoundError(f"{path}: {missing}")
    utterances, findings = checked_manifest(path, check_audio=check_audio)
    wrong = [one for one in findings if one.severity == "error"]
    if wrong:
        problems = [f"{path}:{one.line}: {one.problem}" if one.line else f"{path}: {one.problem}" for one in wrong]
        _refuse(f"{path}: {len(problems)} problems", problems)
    for one in findings:
        warnings.warn(
            f'{path}: the field "{one.field}" {one.problem.message}; {one.remedy}', stacklevel=callers_level()
        )
    return utterances


def checked_manifest(path: str | Path, *, check_audio: bool = True) -> tuple[list[Utterance], list[Finding]]:
    """Read the usable lines of a manifest, and collect the problems of the others.

    Args:
        path: As for :func:`read_manifest`.
        check_audio: Likewise.

    Returns:
        The utterances of usable lines and the findings, both in the order of the file. A repeated id is a finding on
        each line after the first. A field that may be misspelled is a warning, on the first line that has it.
    """
    try:
        path = Path(located(path))
    except FileNotFoundError as error:
        message, _, remedy = str(error).partition("; ")
        return [], [Finding.of_line((str(path), None), None, Problem(None, message, remedy))]
    whole: tuple[str, None] = (str(path), None)
    if missing := _no_file(path):
        return [], [Finding.of_line(whole, None, missing)]
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        remedy = "give a file that can be"
        return [], [Finding.of_line(whole, None, Problem(None, f"cannot be read ({error.strerror})", remedy))]
    folders = audio_folders(path)
    utterances: list[Utterance] = []
    findings: list[Finding] = []
    first_line: dict[str, int] = {}
    exists = functools.cache(Path.is_file)
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        place = (str(path), number)
        utterance, name, problems = parse_line(raw, place=place, folders=folders)
        if utterance is not None:
            if check_audio and isinstance(utterance.audio, Path) and not exists(utterance.audio):
                problems.append(Problem("audio", *missing_words(utterance.audio)))
            if (earlier := first_line.setdefault(utterance.id, number)) != number:
                message = f"is {utterance.id!r}, already used on line {earlier}"
                problems.append(Problem("id", message, "give each utterance its own id"))
            if not problems:
                utterances.append(utterance)
        findings += (Finding.of_line(place, name, problem) for problem in problems)
    findings += _misspelled(utterances)
    if not utterances and not findings:
        problem = Problem(None, "the manifest has no utterances", "write one JSON object a line")
        findings.append(Finding.of_line(whole, None, problem))
    return utterances, findings


def _no_file(path: Path) -> Problem | None:
    if path.is_file():
        return None
    if broken := describe_broken_link(path):
        return Problem(None, f"the manifest {broken}", LINKED)
    what = "is a folder" if path.is_dir() else "does not exist"
    return Problem(None, f"the manifest {what}", "give the path of a JSON Lines file, one utterance a line")


def _misspelled(utterances: Sequence[Utterance]) -> Iterator[Finding]:
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        for name in utterance.extra:
            first.setdefault(name, utterance)
    for name, meant in find_misspelled_fields(first, FIELDS).items():
        yield Finding.about(first[name], name, "is not read", f'is "{meant}" meant?', warn=True)


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest that :func:`read_manifest` can read, atomically.

    Audio paths below the manifest's folder are written relative to it, so both can be moved together; others are
    absolute, so the manifest can be moved alone.

    Args:
        path: The manifest, replaced if it exists; missing folders are created.
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
    with replacing(path) as temporary:
        temporary.write_text("".join(lines.values()), encoding="utf-8", newline="\n")


def audio_files(utterances: Iterable[Utterance]) -> Iterator[tuple[str, Path]]:
    """Yield a description of each audio file, and its path; stored audio is skipped."""
    for utterance in utterances:
        if isinstance(utterance.audio, Path):
            yield f"the audio of utterance {utterance.id!r}", utterance.audio


def require_text(utterances: Iterable[Utterance], purpose: str) -> None:
    """Refuse utterances without reference text (an empty text is a reference for silence).

    Args:
        utterances: The utterances that need text.
        purpose: What needs it, the first words of the message, as in ``"stage 1 (sft)"``.

    Raises:
        ManifestError: At least one has none.
    """
    remedy = 'add the field "text" to their manifest lines or leave those utterances out'
    _require(utterances, "text", f"{purpose} needs reference text", remedy)


def require_input(utterances: Iterable[Utterance], field: Literal["audio", "prompt"], model: str) -> None:
    """Refuse utterances without the input of a model.

    Args:
        utterances: The utterances that the model is to write or score.
        field: The field that it reads.
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
    told = [f"{_name_with_place(item)} ({item.context!r})" for item in utterances if item.context is not None]
    if told:
        remedy = 'remove the field "context" from their manifest lines, or take a model that reads it (Qwen3-ASR)'
        _refuse(f"{model} takes no context and {len(told)} utterances have one; {remedy}", told, head=True)


def _require(utterances: Iterable[Utterance], field: str, headline: str, remedy: str) -> None:
    missing = [
        _name_with_place(item) + (f" ({item.audio})" if item.audio else "")
        for item in utterances
        if getattr(item, field) is None
    ]
    if missing:
        _refuse(f"{headline} and {len(missing)} utterances have none; {remedy}", missing, head=True)


def _name_with_place(utterance: Utterance) -> str:
    """Return the id of an utterance, after its manifest and line if known."""
    where = "" if utterance.place is None else f"{utterance.place[0]}:{utterance.place[1]}: "
    return f"{where}utterance {utterance.id!r}"


def _refuse(headline: str, problems: list[str], *, head: bool = False) -> NoReturn:
    if len(problems) == 1 and not head:
        raise ManifestError(problems[0])
    shown = problems[:MAX_PROBLEMS_SHOWN]
    if more := len(problems) - len(shown):
        shown.append(f"… and {more} more")
    raise ManifestError("\n  ".join([headline, *shown]))


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
