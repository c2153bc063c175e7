"""Functions over one model: its error rates, its transcripts as teacher data, its server before a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from overlap.arguments import checked_arguments

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
"""Default number of utterances of a preflight."""


@checked_arguments
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
        model: The model.
        manifest: Audio, or prompts for a text model, with texts.
        normalizer: Text normalizer applied to both sides; its name and version are part of the result.
        batch_size: Utterances in a batch.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_seconds: Longer utterances are refused.
        trust_remote_code: As for `load_pair`, like the next three.
        prompt_format: How text models read prompts.
        chat_template_kwargs: More variables of text models' chat templates.
        timestamps: Let Whisper write timestamps; error rates ignore them.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError: A manifest or lines that cannot be used; the message says why and what to do.
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
    with observed(observer, quiet=quiet) as watcher:
        return evaluate_utterances(
            recognizer,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            normalizer=normalizer,
            decoding=decoding,
            batch_size=batch_size,
            progress=lambda done, total: watcher.work("transcribing", done, total),
            checked=True,
        )


@checked_arguments
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
    """Make teacher data from a manifest, or finish an interrupted call.

    Args:
        teacher: The model that transcribes; also as the `[teacher]` table of a recipe.
        manifest: Audio to transcribe; nothing else is needed.
        output: The manifest to write. Next to it: what was dropped and why, a summary, and the journal for
            resuming.
        transcription: The teacher's decoding and batches; None uses the defaults, also for `filters`.
        filters: Which transcripts are dropped.
        revision: Hub revision, for a teacher that is given by name, like `dtype` and `device`.
        dtype: Type of the weights.
        device: Device, such as "cuda:1"; None uses an accelerator if there is one, else the CPU.
        teacher_url: A server (vLLM, SGLang) that runs it.
        server: Settings of the server's requests.
        max_seconds: Longer utterances cannot be used.
        normalizer: Text normalizer of the error rates, if the manifest has references.
        observer: Is told of progress.
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
    with observed(observer, quiet=quiet) as watcher:
        return transcribe_manifest(
            teacher,
            manifest,
            output,
            transcription=transcription,
            filters=filters,
            device=usable_device(device),
            max_seconds=max_seconds,
            normalizer=normalizer,
            progress=lambda done, total: watcher.work("transcribing", done, total),
        )


@checked_arguments
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
    """Check what a teacher's server supports, its speed, and how far it deviates from local weights.

    Args:
        teacher: The teacher's tokenizer, and for the comparison its weights.
        manifest: Utterances of the requests.
        teacher_url: The server (vLLM, SGLang).
        server: Settings of the requests.
        k: Size of the top-k sets.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_utterances: Use only the first ones; the default is 8.
        max_seconds: Longer utterances are refused.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError, ModelError, ServerError: What cannot be read or asked.
    """
    require_models(teacher=teacher)
    require_positive(k=k, max_new_tokens=max_new_tokens, max_utterances=max_utterances, max_seconds=max_seconds)
    (utterances,) = read_for(Purpose(first=max_utterances or PREFLIGHT_CLIPS), manifest, max_seconds=max_seconds).sets
    served = served_teacher(teacher, teacher_url, server, k)
    with observed(observer, quiet=quiet) as watcher:
        return preflights.preflight(
            served,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            k,
            max_new_tokens=max_new_tokens or token_limit(utterances),
            progress=lambda done, total: watcher.work("asking", done, total),
        )
