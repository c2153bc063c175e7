"""Functions over one model: its error rates, its transcripts as teacher data, its server before a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.reading import Manifest, Purpose, read_for
from ..evaluation.evaluation import Evaluation
from ..evaluation.evaluation import evaluate as evaluate_utterances
from ..limits import token_limit
from ..normalize import normalizer as find_normalizer
from ..places import require_writable
from ..probing import preflight as preflights
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Decoding, Filters, Server, Teacher, Transcription
from ..teacher import ServedTeacher
from ..teacher_data.making import TeacherData, transcribe_manifest
from .arguments import (
    Model,
    PromptFormat,
    loaded,
    loading,
    require_models,
    require_positive,
    section,
    served_teacher,
    usable_device,
)

PREFLIGHT_CLIPS = 8
"""Utterances that a preflight asks about unless told."""


def evaluate(
    model: Model | ServedTeacher,
    manifest: Manifest,
    *,
    normalizer: str = "basic",
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    max_seconds: float = 30.0,
    trust_remote_code: bool = False,
    prompt_format: PromptFormat | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    timestamps: bool = False,
    observer: Observer | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Word and character error rate of a model on a manifest, with intervals.

    Args:
        model: Who transcribes.
        manifest: Audio, or prompts for a text model, with texts.
        normalizer: Text normalizer applied to both sides; its name and version are part of the result.
        batch_size: Utterances at once.
        max_new_tokens: Longest transcript, in tokens; from the longest audio unless told.
        max_seconds: Longer utterances are refused.
        trust_remote_code: As for `load_pair`, like the next three.
        prompt_format: How text models read prompts.
        chat_template_kwargs: Further variables of text models' chat templates.
        timestamps: Let Whisper write points in time; they are not scored.
        observer: Hears of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError: A manifest or lines that cannot be used; says why and what to do.
        ModelError: A model that cannot be loaded.
        UserError: An unknown normalizer, or a setting out of its range.
    """
    require_models(model=model)
    find_normalizer(normalizer)
    require_positive(batch_size=batch_size, max_seconds=max_seconds)
    decoding = section(Decoding, max_new_tokens=max_new_tokens)
    data = read_for(Purpose("evaluation"), manifest, max_seconds=max_seconds)
    recognizer = loaded(model, loading(trust_remote_code, prompt_format, chat_template_kwargs, timestamps))
    utterances = data.checked_one(recognizer)
    with observed(observer, quiet=quiet) as hears:
        return evaluate_utterances(
            recognizer,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            normalizer=normalizer,
            decoding=decoding,
            batch_size=batch_size,
            progress=lambda done, total: hears.work("transcribing", done, total),
            checked=True,
        )


def transcribe(
    teacher: Model | Teacher | ServedTeacher,
    manifest: Manifest,
    output: str | Path,
    *,
    transcription: Transcription | None = None,
    filters: Filters | None = None,
    revision: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: torch.device | str | None = None,
    teacher_url: str | None = None,
    server: Server | None = None,
    max_seconds: float = 30.0,
    normalizer: str = "basic",
    observer: Observer | None = None,
    quiet: bool = False,
) -> TeacherData:
    """Make teacher data of a manifest, or finish what an interrupted call began.

    Args:
        teacher: Who writes; also as the `[teacher]` table of a recipe.
        manifest: What is transcribed; only audio is needed.
        output: The manifest to write. Beside it stand what was dropped and why, a summary, and the journal that
            resumes.
        transcription: How the teacher writes, and in which batches; None takes the defaults, like the next.
        filters: What is dropped.
        revision: Hub revision of a teacher that is given by its name, like the next.
        dtype: Type of its weights.
        device: Where it runs, such as "cuda:1"; None: an accelerator if there is one, else the CPU.
        teacher_url: A server (vLLM, SGLang) that runs it.
        server: How the server is asked.
        max_seconds: Longer utterances cannot be used.
        normalizer: Under which the texts are scored against the references that there are.
        observer: Hears of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError, AudioError, ModelError, ServerError: What cannot be read or asked.
        TeacherDataError, AtWorkError, WriteError: As `distill.teacher_data.making.transcribe_manifest`.
        UserError: A device that this machine lacks, an unknown normalizer, settings that contradict each other, or a
            journal that is another job's or damaged.
    """
    require_positive(max_seconds=max_seconds)
    require_writable(output, "output", makes_folders=True)
    if isinstance(teacher, str | Path):
        require_models(teacher=teacher)
        about = {"revision": revision, "dtype": dtype, "url": teacher_url, "server": server or Server()}
        teacher = section(Teacher, model=str(teacher), **about)
    with observed(observer, quiet=quiet) as hears:
        return transcribe_manifest(
            teacher,
            manifest,
            output,
            transcription=transcription,
            filters=filters,
            device=usable_device(device),
            max_seconds=max_seconds,
            normalizer=normalizer,
            progress=lambda done, total: hears.work("transcribing", done, total),
        )


def preflight(
    teacher: str | Path,
    manifest: Manifest,
    *,
    teacher_url: str,
    server: Server | None = None,
    k: int = 32,
    max_new_tokens: int | None = None,
    max_utterances: int | None = None,
    max_seconds: float = 30.0,
    observer: Observer | None = None,
    quiet: bool = False,
) -> preflights.Preflight:
    """Ask a teacher's server what it can do, how fast, and how near it is to local weights.

    Args:
        teacher: Where the teacher's tokenizer is, and for the comparison its weights.
        manifest: What it is asked about.
        teacher_url: The server (vLLM, SGLang).
        server: How it is asked.
        k: Size of the top-k sets.
        max_new_tokens: Longest transcript, in tokens; from the longest audio unless told.
        max_utterances: Use the first so many; 8 unless told.
        max_seconds: Longer utterances are refused.
        observer: Hears of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError, ModelError, ServerError: What cannot be read or asked.
    """
    require_models(teacher=teacher)
    require_positive(k=k, max_new_tokens=max_new_tokens, max_utterances=max_utterances, max_seconds=max_seconds)
    (utterances,) = read_for(Purpose(first=max_utterances or PREFLIGHT_CLIPS), manifest, max_seconds=max_seconds).sets
    served = served_teacher(teacher, teacher_url, server, k)
    with observed(observer, quiet=quiet) as hears:
        return preflights.preflight(
            served,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            k,
            max_new_tokens=max_new_tokens or token_limit(utterances),
            progress=lambda done, total: hears.work("asking", done, total),
        )
