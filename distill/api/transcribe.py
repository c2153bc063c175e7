"""`distill.transcribe`: a teacher's transcripts as teacher data."""

from __future__ import annotations

from pathlib import Path

import torch

from overlap.arguments import checked_arguments

from ..data.data_sets import Manifest
from ..locations import require_writable
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Filters, Server, Teacher, Transcription
from ..teacher import ServedTeacher
from ..teacher_data.making import TeacherData, transcribe_manifest
from .arguments import Dtype, Model, require_models, require_positive, usable_device


@checked_arguments
def transcribe(
    teacher: Model | Teacher | ServedTeacher,
    manifest: Manifest,
    output: str | Path,
    *,
    transcription: Transcription | None = None,
    filters: Filters | None = None,
    revision: str | None = None,
    dtype: Dtype = "float32",
    device: torch.device | str | None = None,
    teacher_url: str | None = None,
    server: Server | None = None,
    max_seconds: float = 30.0,
    long: bool = False,
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
        long: Cut recordings that are longer than `max_seconds` or a model's window at pauses (extra `long`): the
            manifest has a line for each piece, and `.stitched.jsonl` beside it the joined transcripts.
        normalizer: Text normalizer of the error rates, if the manifest has references.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError, AudioError, ModelError, ServerError: Something cannot be read or reached.
        TeacherDataError, AtWorkError, WriteError: As `distill.teacher_data.making.transcribe_manifest`.
        UserError: A device that this machine lacks, an unknown normalizer, settings that contradict each other, or a
            journal that is another job's or damaged.
    """
    require_positive(max_seconds=max_seconds)
    require_writable(output, "output", makes_folders=True)
    if isinstance(teacher, str | Path):
        require_models(teacher=teacher)
        about = {"revision": revision, "dtype": dtype, "url": teacher_url, "server": server or Server()}
        teacher = Teacher(model=str(teacher), **about)
    with observed(observer, quiet=quiet) as watcher:
        return transcribe_manifest(
            teacher,
            manifest,
            output,
            transcription=transcription,
            filters=filters,
            device=usable_device(device),
            max_seconds=max_seconds,
            long=long,
            normalizer=normalizer,
            progress=lambda done, total: watcher.work("transcribing", done, total),
            cutting=lambda done, total: watcher.work("finding pauses", done, total),
        )
