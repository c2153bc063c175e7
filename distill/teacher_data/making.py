"""Teacher data: audio with a teacher's transcripts, without those that the filters drop.

Next to the manifest `out.jsonl` are `out.dropped.jsonl` (dropped utterances with their filters), `out.summary.json`,
and `out.journal.jsonl` with all unfiltered transcripts. The filters are applied afterwards, so other limits need no new
transcription.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from overlap.errors import UserError
from overlap.plain_json import dumps

from ..data.audio import AudioCache, AudioError
from ..data.batch import AudioSource
from ..data.batching import padding_share
from ..data.data_sets import Manifest, Purpose, read_for
from ..data.extract import extract_audio
from ..data.long_recordings import in_pieces, longest_piece
from ..data.manifest import Utterance, audio_files, write_manifest
from ..evaluation.transcribe import Progress
from ..files import write_atomically, writing
from ..limits import with_token_limit
from ..locations import refuse_to_replace
from ..models import Recognizer
from ..models.retokenization import is_recut
from ..normalize import normalizer as find_normalizer
from ..recipe import Decoding, Filters, Teacher, Transcription
from ..run.process_lock import at_work, refuse_if_at_work
from ..scoring.loading import identity, load_teacher
from ..teacher import ServedTeacher
from .job import SKIP, run_job
from .judging import judge
from .references import scores_of
from .stitching import stitched_recordings
from .summary import Example, FilterCount, TeacherDataSummary

_WRITTEN = ("summary.json", "dropped.jsonl", "stitched.jsonl")


class TeacherDataError(UserError):
    """Teacher data that cannot be made; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class TeacherData:
    """Utterances with a teacher's text, in the order of their manifest.

    The extra field `transcript` says who wrote it (`teacher`, `revision`, `weights`) and how (`decoding`), its mean
    `logprob` in nats a token, `n_tokens`, whether it is `finished`, and the filters that dropped it (`dropped_by`, each
    with the checked value). `token_ids` are the tokens that the teacher wrote, if known; `tokenizer` identifies their
    vocabulary and `text_hash` their text (see `labels`). The field `reference` is the manifest's text.

    Attributes:
        kept: Utterances that the filters keep.
        dropped: Utterances that they drop.
        summary: Counts and reasons.
        stitched: All recordings with joined transcripts, if some were cut.
    """

    kept: tuple[Utterance, ...]
    dropped: tuple[Utterance, ...]
    summary: TeacherDataSummary
    stitched: tuple[Utterance, ...] = ()

    def write(self, output: Path) -> None:
        """Write the manifests and the summary, the manifest of what is kept last; stored audio goes to `out.audio`.

        Raises:
            TeacherDataError: Nothing is kept; the other files are written.
        """
        summarized, dropped, stitched = (_sibling(output, name) for name in _WRITTEN)
        write_atomically(summarized, dumps(self.summary.to_dict(), indent=2) + "\n")
        for path, utterances in ((dropped, self.dropped), (stitched, self.stitched), (output, self.kept)):
            if utterances:
                # Audio inside a data set has no path that a manifest could name.
                with writing(path):
                    write_manifest(path, extract_audio(utterances, _sibling(output, "audio")))
            else:
                path.unlink(missing_ok=True)
        if not self.kept:
            raise TeacherDataError(
                f"nothing is left: {self.summary.line}. Check {dropped}, then loosen the filters or use another teacher"
            )


def teacher_data(
    output: Path,
    teacher: Recognizer | ServedTeacher,
    source: AudioSource,
    utterances: Sequence[Utterance],
    transcription: Transcription,
    filters: Filters,
    *,
    normalizer: str | None = None,
    progress: Progress | None = None,
) -> TeacherData:
    """Transcribe with a teacher and filter the transcripts; writes only the journal beside `output`.

    An interrupted job continues where it stopped, with the same result to the last bit.

    Args:
        output: Path of the data; the journal is beside it.
        teacher: The model that transcribes.
        source: Reads the audio.
        utterances: To transcribe, with unique ids.
        transcription: Decoding and batches.
        filters: What is dropped.
        normalizer: Normalizer for scoring the texts against existing references; None does not score.
        progress: Called with utterances done, at the start and after each batch.

    Raises:
        UserError: The journal is another job's or damaged; names file, line and field.
        AudioError: Unusable audio, unless the filters drop it.
    """
    who, transcription = identity(teacher), with_token_limit(transcription, utterances)
    job = run_job(
        journal_of(output),
        teacher,
        source,
        utterances,
        transcription,
        who["weights"],
        skip_unusable=filters.unusable_audio == "drop",
        progress=progress,
    )
    about = who | {"decoding": transcription.model_dump(include=set(Decoding.model_fields))}
    judged = [
        judge(u, job.rows[u.id], job.seconds.get(u.id, math.nan), filters, about, teacher.tokens) for u in utterances
    ]
    kept = tuple(item.utterance for item in judged if not item.dropped_by)
    known = [row for row in job.rows.values() if row.get("token_ids") is not None]
    again = teacher.encode([row["text"] for row in known]).text_ids if known else []
    summary = TeacherDataSummary(
        teacher=teacher.name if who["revision"] is None else f"{teacher.name} ({who['revision']})",
        n=len(utterances),
        n_kept=len(kept),
        seconds=_known_sum(job.seconds.values()),
        seconds_kept=_known_sum(job.seconds[utterance.id] for utterance in kept),
        filters=tuple(
            FilterCount.from_values(
                name,
                filters,
                [j.measured[name] for j in judged],
                [Example(j.utterance.id, j.dropped_by[name], j.utterance.text) for j in judged if name in j.dropped_by],
            )
            for name in Filters.model_fields
        ),
        padding_share=padding_share(job.seconds, job.batches),
        scores=scores_of({"all": [item.utterance for item in judged], "kept": kept}, normalizer) if normalizer else {},
        n_ids_known=len(known),
        n_recut=sum(
            is_recut(teacher, row["text"], row["token_ids"], ids, row["finished"]) is True
            for row, ids in zip(known, again, strict=True)
        ),
    )
    return TeacherData(kept, tuple(item.utterance for item in judged if item.dropped_by), summary)


def transcribe_manifest(
    teacher: str | Teacher | Recognizer | ServedTeacher,
    manifest: Manifest,
    output: str | Path,
    *,
    transcription: Transcription | None = None,
    filters: Filters | None = None,
    device: torch.device | str = "cpu",
    max_seconds: float = 30.0,
    long: bool = False,
    normalizer: str = "basic",
    progress: Progress | None = None,
    cutting: Progress | None = None,
) -> TeacherData:
    """Make teacher data from a manifest, or finish an interrupted call.

    Args:
        teacher: A recognizer, a directory or Hub name, or the `[teacher]` table of a recipe.
        manifest: JSON lines, a data set such as `hf:NAME:CONFIG:SPLIT`, or utterances; only audio is needed.
        output: The manifest to write; its journal, the dropped utterances and the summary are beside it.
        transcription: The teacher's decoding and batches; None uses the defaults, also for `filters`.
        filters: What is dropped.
        device: Device of a teacher that is loaded here.
        max_seconds: Longer utterances cannot be used.
        long: Cut longer recordings, and those longer than the teacher's window, at pauses.
        normalizer: Normalizer for scoring the texts against existing references.
        progress: Called with utterances done, at the start and after each batch.
        cutting: Called with long recordings done and all that are to be cut.

    Returns:
        What was written.

    Raises:
        TeacherDataError: The output is another file, or nothing is left; existing files are kept.
        ManifestError, AudioError, ModelError, ServerError: Something cannot be read or reached.
        AtWorkError: Another process writes to that output.
        WriteError: The disk is full; the same call again continues.
        UserError: The journal is another job's or damaged; names file, line and field.
    """
    output, filters = Path(output), filters or Filters()
    if output.exists() and not journal_of(output).exists():
        raise TeacherDataError(f"{output} exists, and no journal of teacher data beside it; choose another output")
    refuse_if_at_work(*_lock_and_record(output), str(output))
    find_normalizer(normalizer)
    strict = filters.unusable_audio == "fail"
    data = read_for(
        Purpose(),
        manifest,
        max_seconds=math.inf if long else max_seconds,
        audio="headers" if strict else "unread",
        remedy=SKIP,
    )
    named = str(manifest) if isinstance(manifest, str | Path) else None
    for written in (output, *(_sibling(output, name) for name in (*_WRITTEN, "journal.jsonl"))):
        refuse_to_replace(written, str(output), [("the manifest", named), *audio_files(data.sets[0])])
    if isinstance(teacher, str):
        teacher = Teacher(model=teacher)
    if isinstance(teacher, Teacher):
        # Rollout and score share the encoder's outputs, which are not needed afterwards.
        teacher = load_teacher(teacher.model_copy(update={"encoder_cache_mib": 0.0}), device, k=1)
    transcription, pieces = transcription or Transcription(), None
    if long:
        window = longest_piece([teacher], max_seconds)
        try:
            pieces = in_pieces(data.sets[0], window, keep_unreadable=not strict, progress=cutting)
        except AudioError as error:
            raise AudioError(f"{error}; {SKIP}") from error
        # A long recording that is left whole, to be dropped, has no transcript and need not fit the teacher's window.
        read = tuple(utterance for utterance in pieces.utterances if utterance.id not in pieces.unreadable)
        transcription = with_token_limit(transcription, read)
        data = replace(data, sets=(read,))
    utterances = data.checked_one(teacher)
    if pieces is not None and pieces.unreadable:
        known = {utterance.id: utterance for utterance in (*pieces.utterances, *utterances)}
        utterances = [known[utterance.id] for utterance in pieces.utterances]
    output.parent.mkdir(parents=True, exist_ok=True)
    lock, record = _lock_and_record(output)
    with at_work(lock, record, str(output), keep=False):
        try:
            made = teacher_data(
                output,
                teacher,
                AudioSource(AudioCache(max_mib=0.0, max_seconds=max_seconds)),
                utterances,
                transcription,
                filters,
                normalizer=normalizer,
                progress=progress,
            )
            if pieces is not None:
                recordings = stitched_recordings((*made.kept, *made.dropped), pieces)
                scores = {**made.summary.scores, **scores_of({"recordings": recordings}, normalizer)}
                summary = replace(made.summary, scores=scores, pieces=pieces)
                made = replace(made, stitched=recordings if pieces.n_cut else (), summary=summary)
            made.write(output)
        except (KeyboardInterrupt, OSError) as error:
            error.add_note(
                f"Finished batches are saved in {journal_of(output)}; the same command again continues after them"
            )
            raise
    return made


def _lock_and_record(output: Path) -> tuple[Path, Path]:
    """Lock file and record of the process that writes an output; both are deleted at its end."""
    return _sibling(output, "lock"), _sibling(output, "process.json")


def _known_sum(seconds: Iterable[float]) -> float:
    """Return the sum of the known durations; NaN if there are none."""
    known = [value for value in seconds if not math.isnan(value)]
    return sum(known) if known else math.nan


def journal_of(output: Path) -> Path:
    """Return the path of the journal of teacher data."""
    return _sibling(output, "journal.jsonl")


def _sibling(output: Path, what: str) -> Path:
    return output.with_name(f"{output.name.removesuffix('.jsonl')}.{what}")
