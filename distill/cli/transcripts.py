"""Verbs that write transcripts: `transcribe`, `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ..display import display
from ..places import require_places, require_writable, spare
from ..recipe import Decoding, Filters, Server, Teacher, Transcription
from .app import AS_THEY_ARE, Amount, Count, JsonFlag, Loading, app, print_json, require_server, write_rows

if TYPE_CHECKING:
    import torch


@app.command
def evaluate(
    *,
    model: str,
    manifest: str,
    normaliser: str = "basic",
    batch_size: Count = 16,
    max_new_tokens: Count | None = None,
    max_seconds: Amount = 30.0,
    output: Path | None = None,
    loading: Loading = AS_THEY_ARE,
    json_: JsonFlag = False,
) -> None:
    """Word and character error rate of a model on a manifest, with intervals.

    Args:
        model: Directory or Hub name.
        manifest: JSON lines with audio, or a prompt for a text model, and text; or a data set such as
            hf:NAME:CONFIG:SPLIT.
        normaliser: Text normaliser applied to both sides; its name and version are part of the result.
        batch_size: Utterances at once.
        max_new_tokens: Longest transcript, in tokens; from the longest audio unless told.
        max_seconds: Longer utterances are refused.
        output: Write transcripts with their errors there (Parquet, a row an utterance).
        loading: How the model is loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    require_places(manifests={"--manifest": manifest}, models={"--model": model})
    if output:
        require_writable(output, "--output", inputs={"--manifest": manifest, "--model": model})
    from ..normalise import normaliser as find_normaliser

    find_normaliser(normaliser)
    from ..data.audio import AudioCache
    from ..data.batch import AudioSource, check_inputs
    from ..data.checks import Use, check_audio, check_models
    from ..data.findings import refuse
    from ..data.manifest import audio_files, require_text
    from ..data.sources import read_utterances
    from ..evaluation.evaluation import evaluate as evaluate_model

    utterances = read_utterances(manifest, check_audio=False)
    require_text(utterances, "evaluation")
    if output:
        spare(output, "--output", audio_files(utterances))
    refuse(check_audio(utterances, max_seconds, decode=True))
    recogniser = loading.load(model)
    check_inputs(utterances, recogniser)
    refuse(check_models(Use(utterances, (recogniser,))))
    with display() as progress:
        evaluation = evaluate_model(
            recogniser,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            normaliser=normaliser,
            decoding=Decoding(max_new_tokens=max_new_tokens),
            batch_size=batch_size,
            progress=lambda done, total: progress.work("transcribing", done, total),
        )
    if json_:
        print_json({"model": model, "manifest": manifest} | evaluation.score.to_dict())
    else:
        print(evaluation.score)
    if output:
        write_rows(output, evaluation.rows)


@app.command
def transcribe(
    *,
    teacher: str,
    manifest: str,
    output: Path,
    transcription: Annotated[Transcription, Parameter(name="*")] = Transcription(),  # noqa: B008 (frozen)
    filters: Annotated[Filters, Parameter(name="*", group="Filters")] = Filters(),  # noqa: B008 (frozen)
    revision: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str | None = None,
    teacher_url: str | None = None,
    server: Annotated[Server, Parameter(name="*", group="Server")] = Server(),  # noqa: B008 (frozen)
    max_seconds: Amount = 30.0,
    normaliser: str = "basic",
    json_: JsonFlag = False,
) -> None:
    """Teacher data: transcripts of a manifest with their confidence, filtered.

    The same command again resumes a job that was interrupted; with other filters, it transcribes nothing a second time.

    Args:
        teacher: Directory or Hub name of the model that writes.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT; only audio is needed.
        output: Manifest to write. Beside it stand what was dropped and why, a summary, and the journal that resumes.
        transcription: How the teacher writes, and in which batches.
        filters: What is dropped.
        revision: Hub revision of the teacher.
        dtype: Type of its weights.
        device: Where it runs, such as cuda:1; an accelerator if there is one, else the CPU.
        teacher_url: A server (vLLM, SGLang) that runs the teacher.
        server: How the server is asked.
        max_seconds: Longer utterances cannot be used.
        normaliser: Text normaliser of the error rates, where the manifest has references.
        json_: Print one JSON object to standard output and nothing else there.
    """
    require_server(server, teacher_url)
    require_places(manifests={"--manifest": manifest}, models={"--teacher": teacher})
    require_writable(output, "--output", makes_folders=True, inputs={"--manifest": manifest, "--teacher": teacher})
    from ..normalise import normaliser as find_normaliser

    find_normaliser(normaliser)
    from ..teacher_data.making import transcribe_manifest

    with display() as progress:
        data = transcribe_manifest(
            Teacher(model=teacher, revision=revision, dtype=dtype, url=teacher_url, server=server),
            manifest,
            output,
            transcription=transcription,
            filters=filters,
            device=_device(device),
            max_seconds=max_seconds,
            normaliser=normaliser,
            progress=lambda done, total: progress.work("transcribing", done, total),
        )
    if json_:
        print_json({"manifest": manifest, "output": str(output)} | data.summary.to_dict())
    else:
        print(f"{data.summary}\n\nwritten to {output}")


def _device(name: str | None) -> torch.device:
    import torch

    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"--device {name} cannot be used: {reason}") from error
