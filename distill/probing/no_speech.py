"""What student and teacher write where nobody speaks: on clips of silence and of noise alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overlap.definitions.no_speech_statistics import NO_SPEECH_STATISTICS
from overlap.errors import UserError
from overlap.estimates.estimate import Estimate
from overlap.estimates.no_speech import no_speech_estimates
from overlap.estimates.table_formatting import html_table, text_table
from overlap.plain_json import plain

from ..data.batch import AudioSource
from ..data.checks import Use, check_models
from ..data.line_findings import errors
from ..data.manifest import Utterance
from ..data.no_speech import NoSpeechClip, no_speech_clips
from ..evaluation.evaluation import counted
from ..evaluation.transcribe import Progress, write
from ..limits import with_token_limit
from ..models import Transcriber
from ..normalize import normalizer as find_normalizer
from ..recipe import Decoding, NoSpeech
from ..scoring.pair import Pair

SHOWN = 3
"""Invented transcripts that are printed for each model."""
_LONGEST = 60


@dataclass(frozen=True)
class NoSpeechReading:
    """Transcripts of clips without speech, and what follows from them.

    Attributes:
        rows: One for each model and clip: `model`, `kind`, `clip`, `seconds`, `words` after normalization, `finished`,
            `text`, `normalizer`.
    """

    rows: tuple[dict[str, Any], ...] = field(repr=False)

    def estimates(self) -> dict[tuple[str, str], dict[str, Estimate]]:
        """Return the statistics of `overlap.definitions.no_speech_statistics`, by model and kind of clip."""
        groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault((row["model"], row["kind"]), []).append(row)
        return {
            key: no_speech_estimates(
                words=[row["words"] for row in rows],
                seconds=[row["seconds"] for row in rows],
                finished=[row["finished"] for row in rows],
            )
            for key, rows in groups.items()
        }

    def to_dict(self) -> list[dict[str, Any]]:
        """Return a row for each model, kind of clip and statistic, as JSON can hold it."""
        return [
            plain({"model": model, "kind": kind, "statistic": name, **one.to_dict()})
            for (model, kind), found in self.estimates().items()
            for name, one in found.items()
        ]

    def _table(self) -> tuple[list[str], list[list[str]]]:
        heading = ["without speech", "model", "words/min", "with words %", "never ends %", "n clips"]
        rows = []
        for (model, kind), found in self.estimates().items():
            words, having, unfinished = (found[name] for name in NO_SPEECH_STATISTICS)
            shares = [one.shown(1, 100) for one in (having, unfinished)]
            rows.append([kind, model, words.shown(2), *shares, f"{words.n_groups:,}"])
        return heading, rows

    def _invented(self) -> list[str]:
        lines = []
        for model in dict.fromkeys(row["model"] for row in self.rows):
            texts = [" ".join(row["text"].split()) for row in self.rows if row["model"] == model and row["words"]]
            if texts:
                shown = [f"“{text if len(text) <= _LONGEST else f'{text[: _LONGEST - 1]}…'}”" for text in texts[:SHOWN]]
                more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
                lines.append(f"{model} invents: {', '.join(shown)}{more}")
        return lines

    def __str__(self) -> str:
        about = (
            "[ ]: 95 % intervals over clips; where all clips are alike, of words as a Poisson count, which holds if "
            f"words come singly; words after the normalizer {self.rows[0]['normalizer']}"
        )
        return "\n".join([text_table(*self._table(), left=(0, 1)), about, *self._invented()])

    def _repr_html_(self) -> str:
        return html_table(*self._table(), left=(0, 1), caption="Clips without speech, 95 % intervals over clips")


def checked_clips(
    settings: NoSpeech, probed: Sequence[Utterance], models: Sequence[Transcriber], where: str
) -> tuple[NoSpeechClip, ...]:
    """Return the clips of a probe, checked against the models; none if the settings ask for none.

    Args:
        settings: How many clips, of what.
        probed: The probe set: the clips are asked for in its languages.
        models: That transcribe them.
        where: Key of the settings, for messages.

    Raises:
        UserError: A model that reads no audio, or clips longer than its window; no recordings in the background.
        AudioError: A recording that cannot be read.
        MissingExtraError: Recordings, and the extra `augment` is not installed.
    """
    if not settings.n_clips:
        return ()
    for model in models:
        if model.reads != "audio":
            raise UserError(f"{where}: clips without speech are audio, and {model.name!r} reads prompts; remove it")
        window = model.limits.window_seconds
        if window is not None and settings.clip_seconds > window:
            raise UserError(
                f"{where}: clip_seconds = {settings.clip_seconds:g} is longer than the window of {model.name!r}, "
                f"{window:g} s; lower it"
            )
    clips = no_speech_clips(
        settings.silence,
        settings.noise,
        settings.clip_seconds,
        background=settings.background,
        seed=settings.clip_seed,
        languages=[utterance.language for utterance in probed],
    )
    for wrong in errors(check_models(Use([clip.utterance for clip in clips], tuple(models))))[:1]:
        raise UserError(f"{where}: {wrong}")
    return clips


def transcribe_clips(
    model: Transcriber,
    role: str,
    source: AudioSource,
    clips: Sequence[NoSpeechClip],
    decoding: Decoding,
    normalizer: str,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], ...]:
    """Return what a model writes on clips without speech: rows of `NoSpeechReading`.

    Args:
        model: That transcribes.
        role: `student` or `teacher`.
        source: Reads the clips.
        clips: At least one.
        decoding: How transcripts are written.
        normalizer: Name of the normalizer before words are counted; mixed tokens where it requires these.
        batch_size: Clips at once.
        progress: Called after each batch.
    """
    utterances = [clip.utterance for clip in clips]
    decoding = with_token_limit(decoding, utterances)
    texts: list[str] = []
    finished: list[bool] = []
    for batch in source.batches(utterances, batch_size):
        written = write(model, batch, decoding)
        texts += model.decode(written)
        finished += written.finished.tolist()
        if progress:
            progress(len(texts), len(clips))
    unit = "tokens" if find_normalizer(normalizer).rate == "mer" else "words"
    # Against an empty reference, every word is an insertion.
    rows = counted([{"text": text, "reference": ""} for text in texts], normalizer)
    return tuple(
        {
            "model": role,
            "kind": clip.kind,
            "clip": clip.utterance.id,
            "seconds": clip.seconds,
            "words": row[f"{unit}.errors"],
            "finished": end,
            "text": row["text"],
            "normalizer": row["normalizer"],
        }
        for clip, row, end in zip(clips, rows, finished, strict=True)
    )


def no_speech_reading(
    pair: Pair,
    source: AudioSource,
    clips: Sequence[NoSpeechClip],
    decoding: Decoding,
    normalizer: str,
    *,
    teachers: Sequence[dict[str, Any]] | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> NoSpeechReading:
    """Have both models transcribe clips without speech.

    Args:
        pair: The two models; the teacher may be served.
        source: Reads the clips.
        clips: At least one.
        decoding: How transcripts are written.
        normalizer: Name of the normalizer before words are counted.
        teachers: The teacher's rows, if it has transcribed these clips before.
        batch_size: Clips at once.
        progress: Called after each batch of the student.
    """
    students = transcribe_clips(
        pair.student, "student", source, clips, decoding, normalizer, batch_size=batch_size, progress=progress
    )
    if teachers is None:
        teachers = transcribe_clips(pair.teacher, "teacher", source, clips, decoding, normalizer, batch_size=batch_size)
    return NoSpeechReading((*students, *teachers))
