"""Verbs that write transcripts: `transcribe`, `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..locations import require_places, require_writable
from ..recipe import Filters, Server, Transcription
from .app import (
    AS_THEY_ARE,
    Amount,
    Count,
    Dtype,
    JsonFlag,
    Loading,
    app,
    print_json,
    refuse_to_replace_audio,
    require_server,
)


@app.command
def evaluate(
    *,
    model: str,
    manifest: str,
    normalizer: str = "basic",
    batch_size: Count = 16,
    max_new_tokens: Count | None = None,
    max_seconds: Amount = 30.0,
    output: Path | None = None,
    loading: Loading = AS_THEY_ARE,
    json_: JsonFlag = False,
) -> None:
    """Measure word and character error rates of a model on a manifest, with intervals.

    Args:
        model: Directory or Hub name.
        manifest: JSON lines with audio, or a prompt for a text model, and text; or a data set such as
            hf:NAME:CONFIG:SPLIT.
        normalizer: Text normalizer applied to both sides; its name and version are part of the result.
        batch_size: Utterances in a batch.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_seconds: Longer utterances are refused.
        output: Parquet file for transcripts with their errors, one row per utterance.
        loading: How the model is loaded.
        json_: Print one JSON object to standard output and nothing else there.
    """
    require_places(manifests={"--manifest": manifest}, models={"--model": model})
    if output:
        require_writable(output, "--output", inputs={"--manifest": manifest, "--model": model})
        refuse_to_replace_audio(output, manifest)
    from ..normalize import normalizer as find_normalizer

    find_normalizer(normalizer)
    from .. import api

    evaluation = api.evaluate(
        model,
        manifest,
        normalizer=normalizer,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        max_seconds=max_seconds,
        **loading.arguments,
    )
    if json_:
        print_json({"model": model, "manifest": manifest} | evaluation.to_dict())
    else:
        print(evaluation)
    if output:
        evaluation.write(output)


@app.command
def transcribe(
    *,
    teacher: str,
    manifest: str,
    output: Path,
    transcription: Annotated[Transcription, Parameter(name="*")] = Transcription(),  # noqa: B008 (frozen)
    filters: Annotated[Filters, Parameter(name="*", group="Filters")] = Filters(),  # noqa: B008 (frozen)
    revision: str | None = None,
    dtype: Dtype = "float32",
    device: str | None = None,
    teacher_url: str | None = None,
    server: Annotated[Server, Parameter(name="*", group="Server")] = Server(),  # noqa: B008 (frozen)
    max_seconds: Amount = 30.0,
    normalizer: str = "basic",
    json_: JsonFlag = False,
) -> None:
    """Make teacher data: transcripts of a manifest with their confidence, filtered.

    The same command resumes an interrupted job; with other filters, nothing is transcribed again.

    Args:
        teacher: Directory or Hub name of the model that writes.
        manifest: JSON lines, or a data set such as hf:NAME:CONFIG:SPLIT; only audio is needed.
        output: Manifest to write. Next to it: what was dropped and why, a summary, and the journal for resuming.
        transcription: The teacher's decoding and batches.
        filters: Which transcripts are dropped.
        revision: Hub revision of the teacher.
        dtype: Type of the weights.
        device: Device, such as cuda:1; by default an accelerator if there is one, else the CPU.
        teacher_url: A server (vLLM, SGLang) that runs the teacher.
        server: Settings of the server's requests.
        max_seconds: Longer utterances cannot be used.
        normalizer: Text normalizer of the error rates, if the manifest has references.
        json_: Print one JSON object to standard output and nothing else there.
    """
    require_server(server, teacher_url)
    require_places(manifests={"--manifest": manifest}, models={"--teacher": teacher})
    require_writable(output, "--output", makes_folders=True, inputs={"--manifest": manifest, "--teacher": teacher})
    from ..normalize import normalizer as find_normalizer

    find_normalizer(normalizer)
    from .. import api

    data = api.transcribe(
        teacher,
        manifest,
        output,
        transcription=transcription,
        filters=filters,
        revision=revision,
        dtype=dtype,
        device=api.usable_device(device, "--device"),
        teacher_url=teacher_url,
        server=server,
        max_seconds=max_seconds,
        normalizer=normalizer,
    )
    if json_:
        print_json({"manifest": manifest, "output": str(output)} | data.summary.to_dict())
    else:
        print(f"{data.summary}\n\nwritten to {output}")
