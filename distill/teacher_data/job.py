"""Transcribes utterances with a teacher in batches, with a journal that survives interruptions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ..data.audio import AudioError, duration
from ..data.batch import AudioSource, Batch, length
from ..data.batching import duration_batches
from ..data.manifest import Utterance
from ..data.sampling import seed_of
from ..evaluation.transcribe import Progress
from ..models import Recognizer
from ..recipe import Transcription
from ..teacher import ServedTeacher
from .confidence import transcripts
from .journal import Row, append_batch, open_journal, unreadable_ids

SKIP = 'or leave such utterances out with the filter unusable_audio = "drop" (--unusable-audio drop)'


@dataclass(frozen=True)
class JobResult:
    """Transcripts of a job.

    Attributes:
        rows: By utterance id, the fields of a `Transcript`, or an `error`.
        seconds: Durations by id, where audio could be opened.
        batches: Ids by batch.
    """

    rows: dict[str, Row]
    seconds: dict[str, float]
    batches: list[list[str]]


def run_job(
    journal: Path,
    teacher: Recognizer | ServedTeacher,
    source: AudioSource,
    utterances: Sequence[Utterance],
    transcription: Transcription,
    weights: str,
    *,
    skip_unusable: bool = False,
    progress: Progress | None = None,
) -> JobResult:
    """Transcribe the utterances that are not in the journal.

    Args:
        journal: Written after each batch, for resuming.
        teacher: The model.
        source: Reads the audio.
        utterances: To transcribe, with unique ids.
        transcription: Decoding and batches.
        weights: Digest of the teacher's weights.
        skip_unusable: Record audio that cannot be used, instead of stopping there.
        progress: Called with utterances done, at the start and after each batch.

    Raises:
        UserError: The journal is of another job or damaged; names file, line and field.
        AudioError: Audio that cannot be used, unless it is skipped.
    """
    seconds, rows = _durations(utterances, skip_unusable)
    usable = [utterance for utterance in utterances if utterance.id in seconds]
    unread = unreadable_ids(journal)
    # Repaired utterances come at the end: the planned batches are unchanged.
    planned = [u for u in usable if unread is None or u.id not in unread]
    if unread is not None and (lost := sorted(rows.keys() - unread)):
        raise AudioError(
            f"{rows[lost[0]]['error']}; it could be read when {journal} was begun: restore it, or delete "
            "the journal to transcribe everything again"
        )
    plan = _plan(planned, seconds, transcription)
    batches = [[u.id for u in batch] for batch in plan]
    settings = {"weights": weights, **transcription.model_dump(mode="json"), "utterances": _digest(planned)}
    done = open_journal(journal, settings, batches, author=teacher.name, unread=rows.keys())
    rows |= {row["id"]: row for batch in done for row in batch}
    if not skip_unusable:
        for utterance in usable:
            if "error" in rows.get(utterance.id, ()):
                _refuse_still_unusable(source, utterance)
    if progress:
        progress(len(rows), len(utterances))

    def write(number: int, batch: Sequence[Utterance], *, again: bool) -> None:
        with _seeded(transcription, number, teacher.tokens.blocked.device):
            written = _written(teacher, source, batch, transcription, skip_unusable)
        # A remaining error is in the journal already.
        if kept := [row for row in written if not again or "error" not in row]:
            append_batch(journal, kept)
        rows.update({row["id"]: row for row in written})
        if progress:
            progress(len(rows), len(utterances))

    for number, batch in enumerate(plan[len(done) :], start=len(done)):
        write(number, batch, again=False)
    # Only utterances that were damaged before: what failed just now would fail again.
    before = {row["id"] for line in done for row in line} | (unread or set())
    failed = [u for u in usable if u.id in before and "error" in rows.get(u.id, {"error": None})]
    further = _plan(failed, seconds, transcription)
    for number, batch in enumerate(further, start=max(len(plan), len(done))):
        write(number, batch, again=True)
    mended = [[u.id for u in batch if "error" not in rows[u.id]] for batch in further]
    earlier = [[row["id"] for row in line] for line in done[len(plan) :]]
    return JobResult(rows, seconds, [*batches, *earlier, *filter(None, mended)])


def _plan(
    utterances: Sequence[Utterance], seconds: Mapping[str, float], transcription: Transcription
) -> list[list[Utterance]]:
    """Return utterances by batch."""
    has_audio = all(u.audio is not None for u in utterances)
    plan = duration_batches(
        [seconds[u.id] if has_audio else length(u) for u in utterances],
        size=transcription.batch_size,
        seconds=transcription.batch_seconds if has_audio else None,
    )
    return [[utterances[i] for i in batch] for batch in plan]


def _refuse_still_unusable(source: AudioSource, utterance: Utterance) -> None:
    """Refuse audio that still cannot be used."""
    try:
        source.cache.load(utterance)
    except AudioError as error:
        raise AudioError(f"{error}; {SKIP}") from error


def _durations(utterances: Sequence[Utterance], skip: bool) -> tuple[dict[str, float], dict[str, Row]]:
    """Return seconds by id, and a row with an error for audio that cannot be opened."""
    seconds: dict[str, float] = {}
    errors: dict[str, Row] = {}
    for utterance in utterances:
        try:
            seconds[utterance.id] = duration(utterance)
        except AudioError as error:
            if not skip:
                raise AudioError(f"{error}; {SKIP}") from error
            errors[utterance.id] = {"id": utterance.id, "error": str(error)}
    return seconds, errors


def _written(
    teacher: Recognizer | ServedTeacher,
    source: AudioSource,
    utterances: Sequence[Utterance],
    transcription: Transcription,
    skip: bool,
) -> list[Row]:
    waveforms: dict[str, np.ndarray | None] = {}
    errors: dict[str, Row] = {}
    for utterance in utterances:
        try:
            waveforms[utterance.id] = None if utterance.audio is None else source.cache.load(utterance)
        except AudioError as error:
            if not skip:
                raise AudioError(f"{error}; {SKIP}") from error
            errors[utterance.id] = {"id": utterance.id, "error": str(error)}
    usable = tuple(utterance for utterance in utterances if utterance.id in waveforms)
    batch = Batch(usable, tuple(waveforms.values()))
    written = transcripts(teacher, batch, transcription) if usable else []
    rows = errors | {u.id: {"id": u.id} | asdict(t) for u, t in zip(usable, written, strict=True)}
    return [rows[utterance.id] for utterance in utterances]


@contextmanager
def _seeded(transcription: Transcription, number: int, device: torch.device) -> Iterator[None]:
    """Draw random numbers from seed and batch number only; the caller's random state is restored."""
    if not transcription.sample:
        yield
        return
    kind, devices = ("cuda", []) if device.type == "cpu" else (device.type, [device])
    with torch.random.fork_rng(devices, device_type=kind):
        torch.manual_seed(seed_of(transcription.seed, number))
        yield


def _digest(utterances: Sequence[Utterance]) -> str:
    """Return the digest of audio and settings, without folders, so that a corpus may be moved."""
    digest = hashlib.blake2b(digest_size=16)
    for u in utterances:
        line = [u.id, u.audio and u.audio.name, u.begin_time, u.end_time, u.language, u.prompt]
        line += [] if u.context is None else [u.context]
        digest.update(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
