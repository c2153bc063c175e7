"""Checks every line of a data set against the models, before they read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..models import ModelError, Transcriber
from ..models.languages import spoken
from .audio import AudioError, duration, find_unusable
from .line_findings import Finding
from .manifest import Utterance
from .prompt_lengths import PromptLengths
from .sources import checked_utterances

_TEXTS_AT_ONCE = 1024
_ROUNDING_SECONDS = 1e-4


@dataclass(frozen=True)
class Use:
    """A data set and its use.

    Attributes:
        utterances: The data.
        readers: Models that read its audio or its prompts.
        learner: The model that scores the data's own text; None if no model does.
        trained_on: Whether the learner is trained on the text; an empty text may then be a mistake.
    """

    utterances: Sequence[Utterance]
    readers: tuple[Transcriber, ...] = ()
    learner: Transcriber | None = None
    trained_on: bool = False


def check_source(
    source: str | Path, max_seconds: float, *, first: int | None = None, decode: bool = False
) -> tuple[list[Utterance], list[Finding]]:
    """Return all problems of a source that can be found without a model: lines or audio that cannot be read.

    Args:
        source: Path of a manifest, `demo:corpus/…` or `hf:…`.
        max_seconds: The longest utterance allowed.
        first: Check and return only the first so many readable utterances; all by default.
        decode: As of :func:`check_audio`.

    Returns:
        The utterances that can be read, including those with unusable audio; and the findings.

    Raises:
        MissingExtraError: A data set, and `datasets` is not installed.
    """
    utterances, findings = checked_utterances(source)
    utterances = utterances[:first]
    return utterances, [*findings, *check_audio(utterances, max_seconds, decode=decode)]


def check_audio(utterances: Sequence[Utterance], max_seconds: float, *, decode: bool = False) -> list[Finding]:
    """Return problems of audio: times, lengths, files.

    Args:
        utterances: The data; those without audio are skipped.
        max_seconds: The longest utterance allowed.
        decode: Whether to decode all audio, to find problems that headers do not show: damage within a file, samples
            that are not finite.
    """
    found = sorted(find_unusable(utterances, max_seconds, decode=decode).items())
    return [
        Finding.about(utterances[i], error.field, f"{utterances[i].audio}: {error.problem}", error.remedy)
        for i, error in found
    ]


def check_text(utterances: Sequence[Utterance], purpose: str) -> list[Finding]:
    """Return utterances that lack a needed text.

    Args:
        utterances: The data.
        purpose: What needs it, such as `evaluation 'test'`.
    """
    message = f"is missing, and {purpose} needs it"
    remedy = "add it, empty where nothing is said, or leave the line out"
    return [Finding.about(utterance, "text", message, remedy) for utterance in utterances if utterance.text is None]


def check_models(use: Use) -> list[Finding]:
    """Return problems for the models of a use: languages, contexts, lengths of audio, prompts and labels.

    Args:
        use: Data and models.

    Raises:
        ModelError: A model refuses every input, so no single line is the cause.
    """
    found = [finding for model in use.readers for finding in (*_languages(use, model), *_inputs(use, model))]
    return [*dict.fromkeys([*found, *_labels(use)])]


def _languages(use: Use, model: Transcriber) -> Iterator[Finding]:
    first: dict[str | None, Utterance] = {}
    problems: dict[str | None, str | None] = {}
    for utterance in use.utterances:
        language = spoken(utterance.language)
        first.setdefault(language, utterance)
        if language not in problems:
            problems[language] = _refusal(model, [language])
        if (problem := problems[language]) is not None:
            remedy = "name one that the model knows, or leave the field out"
            yield Finding.about(utterance, "language", problem, remedy)
    known = next((language for language, problem in problems.items() if language is not None and problem is None), None)
    if None in problems and problems[None] is None and known is not None:
        problem = _refusal(model, [known, None])
        if problem is not None:
            remedy = "give every line a language, or none"
            for utterance in use.utterances:
                if spoken(utterance.language) is None:
                    yield Finding.about(utterance, "language", "is missing here and not in other lines", remedy)


def _refusal(model: Transcriber, languages: list[str | None]) -> str | None:
    problem = _language_problem(model, languages)
    if problem is not None and languages != [None] and problem == _language_problem(model, [None]):
        raise ModelError(f"{model.name!r}: {problem}")  # with any language
    return problem


def _language_problem(model: Transcriber, languages: list[str | None]) -> str | None:
    try:
        model.check_languages(languages)
    except ModelError as error:
        return str(error).rstrip(".")
    return None


def _inputs(use: Use, model: Transcriber) -> Iterator[Finding]:
    field, room = ("prompt" if model.reads == "prompt" else "context"), model.limits.label_tokens
    prompts = PromptLengths(model, use.utterances)
    for utterance in use.utterances:
        try:
            before = prompts(utterance)
        except ModelError as error:
            if field == "prompt" or _refusal(model, [spoken(utterance.language)]) is None:  # it has its own finding
                yield Finding.about(utterance, field, str(error), "correct it, or leave the line out")
            continue
        if room is not None and before >= room:
            whose = f"is {before} tokens" if field == "prompt" else f"and the audio are {before} tokens together"
            message = f"{whose}, {model.name!r} has room for {room}, including the transcript"
            yield Finding.about(utterance, field, message, "shorten it or leave the line out; nothing is truncated")
    window = model.limits.window_seconds
    for utterance in use.utterances if window is not None else ():
        try:
            seconds = duration(utterance)
        except AudioError:  # reported for the audio
            continue
        if window is not None and seconds > window + _ROUNDING_SECONDS:
            message = f"{utterance.audio} lasts {seconds:.3f} s, the window of {model.name!r} is {window:g} s"
            remedy = (
                "split it by begin_time and end_time, cut it at pauses (--long of evaluate, transcribe and probe), or "
                "leave the line out; audio is never truncated silently"
            )
            yield Finding.about(utterance, "audio", message, remedy)


def _labels(use: Use) -> Iterator[Finding]:
    model = use.learner
    if model is None:
        return
    room = model.limits.label_tokens
    labeled = [utterance for utterance in use.utterances if utterance.text is not None]
    prompts = PromptLengths(model, labeled)
    for start in range(0, len(labeled), _TEXTS_AT_ONCE):
        some = labeled[start : start + _TEXTS_AT_ONCE]
        lengths = model.encode([utterance.text or "" for utterance in some]).mask.sum(-1).tolist()
        for utterance, length in zip(some, lengths, strict=True):
            if use.trained_on and not (utterance.text or "").strip():
                remedy = "remove the field if the transcript is not known"
                yield Finding.about(
                    utterance, "text", "is empty: the model would be trained to write nothing", remedy, warn=True
                )
            try:
                before = prompts(utterance, length)
            except ModelError:  # reported for the prompt
                before = 0
            if room is not None and before < room < before + length:
                with_prompt = f" and what stands before it {before}" if before else ""
                message = f"is {length} tokens{with_prompt}, {model.name!r} has room for {room}"
                yield Finding.about(utterance, "text", message, "shorten or split it, or leave the line out")
