"""Transcripts by a model over a manifest: for scoring, and for TD as a job that can be stopped and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .data import AudioSource
from .manifest import Utterance
from .models import Transcriber
from .recipe import Decoding
from .run_directory import write_atomically

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""


def transcribe(
    recogniser: Transcriber,
    source: AudioSource,
    utterances: Sequence[Utterance],
    decoding: Decoding,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Texts by utterance id, in the order given."""
    texts: dict[str, str] = {}
    for batch in _transcripts(recogniser, source, utterances, decoding, batch_size):
        texts.update(batch)
        if progress:
            progress(len(texts), len(utterances))
    return texts


def teacher_transcripts(
    path: Path,
    teacher: Transcriber,
    source: AudioSource,
    utterances: Sequence[Utterance],
    decoding: Decoding,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> list[Utterance]:
    """The utterances with the teacher's text, written to and resumed from a cache manifest.

    A batch is appended whole. What a killed job left of a batch is cut off and written again, so that batches, and with
    them padding and arithmetic, are the same however often the job was interrupted.

    Args:
        path: Cache file, JSON lines of id, text, teacher and decoding.
        teacher: Who writes.
        source: Reads the audio.
        utterances: Whose texts are replaced.
        decoding: How the teacher writes.
        batch_size: Utterances at once.
        progress: Called after each batch.

    Raises:
        ValueError: The cache was written by another teacher or for other utterances; names file, line and field.
    """
    settings = {"teacher": teacher.name, "decoding": decoding.model_dump()}
    done = _complete_batches(path, [u.id for u in utterances], settings, batch_size)
    remaining = utterances[len(done) :]
    texts = dict(done)
    for batch in _transcripts(teacher, source, remaining, decoding, batch_size):
        lines = [json.dumps({"id": id_, "text": text} | settings, ensure_ascii=False) for id_, text in batch.items()]
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        texts.update(batch)
        if progress:
            progress(len(texts), len(utterances))
    return [replace(utterance, text=texts[utterance.id]) for utterance in utterances]


def _transcripts(
    recogniser: Transcriber, source: AudioSource, utterances: Sequence[Utterance], decoding: Decoding, batch_size: int
) -> Iterator[dict[str, str]]:
    for batch in source.batches(utterances, batch_size):
        written = recogniser.rollout(
            batch.prompt(recogniser),
            max_new_tokens=decoding.max_new_tokens,
            sample=decoding.sample,
            temperature=decoding.temperature,
        )
        yield dict(zip((u.id for u in batch.utterances), recogniser.decode(written), strict=True))


def _complete_batches(path: Path, ids: Sequence[str], settings: dict, batch_size: int) -> list[tuple[str, str]]:
    """Ids and texts of the batches that a cache holds whole; the file is cut back to them."""
    if not path.exists():
        return []
    content = path.read_bytes()
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    whole = len(lines) if len(lines) >= len(ids) else len(lines) // batch_size * batch_size
    texts = [
        _cached_text(f"{path}:{number}", line, {"id": id_} | settings)
        for number, (line, id_) in enumerate(zip(lines[:whole], ids, strict=False), start=1)
    ]
    if whole > len(ids):
        raise ValueError(f"{path} holds {whole} transcripts for {len(ids)} utterances; delete it to write it anew")
    kept = b"".join(lines[:whole])
    if kept != content:
        write_atomically(path, kept)
    return list(zip(ids, texts, strict=False))


def _cached_text(where: str, line: bytes, expected: dict) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not a line of JSON ({error}); delete the file to write it anew") from error
    differing = [key for key in expected if row.get(key) != expected[key]]
    if differing:
        key = differing[0]
        raise ValueError(
            f"{where}: written for other utterances or by another teacher: {key} is {row.get(key)!r}, not "
            f"{expected[key]!r}; delete the file to write it anew"
        )
    return row["text"]
