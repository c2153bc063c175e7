"""Evaluation of a recognizer: transcribe a labeled set, and score the transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.audio import duration
from ..data.batch import AudioSource
from ..data.groups import value_of
from ..data.labels import checked_labels
from ..data.long_recordings import Pieces
from ..data.manifest import Utterance, require_text
from ..files import write_rows
from ..models import Transcriber
from ..normalize import normalizer as find_normalizer
from ..recipe import Decoding
from .by_ending import Ending, PartScore, by_ending
from .scoring import UNITS, TranscriptScore, score_transcripts
from .transcribe import Progress, Transcribed, transcribe


@dataclass(frozen=True)
class Evaluation:
    """Result of a recognizer on a labeled set.

    Attributes:
        score: Error rates over the set.
        rows: One for each utterance: `id`, `reference` and `text` as written, `seconds`, the manifest's `language` and
            `speaker` (as text, or None), fields of groups as `groups.accent`; `finished` (whether the transcript ends
            by itself), both texts as their errors are counted, `compared.reference` and `compared.text`; and for words
            (mixed tokens if the normalizer requires them) and characters after normalization, `words.errors`,
            `words.total`, `words.substitutions`, `words.deletions`, `words.insertions`, `tokens.errors`,
            `characters.errors` and so on.
        endings: Error rates of the transcripts that end by themselves (`finished`) and of the others (`unfinished`).
        pieces: How long recordings were cut; None if they were not allowed.
    """

    score: TranscriptScore
    rows: list[dict[str, Any]]
    endings: Mapping[Ending, PartScore]
    pieces: Pieces | None = None

    def write(self, path: str | Path) -> None:
        """Write the rows there, as Parquet."""
        write_rows(Path(path), self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return rates and counts as JSON can hold them, see `TranscriptScore.to_dict`; also of `finished` and
        `unfinished` transcripts alone, and with long recordings how they were cut."""
        cut = {} if self.pieces is None else {"long_recordings": self.pieces.to_dict()}
        return self.score.to_dict() | {name: part.to_dict() for name, part in self.endings.items()} | cut

    def __str__(self) -> str:
        parts = "; ".join(f"{name}: {part}" for name, part in self.endings.items())
        return "\n".join(filter(None, [str(self.score), parts, self.pieces and self.pieces.line]))


def evaluate(
    recognizer: Transcriber,
    source: AudioSource,
    utterances: Sequence[Utterance],
    *,
    normalizer: str,
    decoding: Decoding,
    batch_size: int = 32,
    groups: Sequence[str] = (),
    progress: Progress | None = None,
    checked: bool = False,
    pieces: Pieces | None = None,
) -> Evaluation:
    """Return the corpus word and character error rates of a recognizer, with intervals over speakers or utterances.

    Args:
        recognizer: The model.
        source: Reads the audio.
        utterances: The set; each has a reference, which may be empty.
        normalizer: Name of the normalizer applied to both sides.
        decoding: Settings of its decoding.
        batch_size: Utterances at once.
        groups: Fields of the manifest whose values become columns of the rows: `groups.accent`.
        progress: Called after each batch.
        checked: The utterances are already checked: each has a plain-text reference.
        pieces: The same utterances with long recordings in pieces, whose transcripts are joined before they are scored.

    Raises:
        ManifestError: An utterance without reference text, or with unknown control tokens in it.
        UserError: An unknown normalizer, or no utterances.
    """
    if not checked:
        require_text(utterances, "evaluation")
        utterances = checked_labels(utterances, recognizer)
    references = {utterance.id: utterance.text or "" for utterance in utterances}
    read = utterances if pieces is None else pieces.utterances
    written = transcribe(recognizer, source, read, decoding, batch_size=batch_size, progress=progress)
    written = written if pieces is None else joined(pieces, written)
    finished = {name: one.finished for name, one in written.items()}
    speakers = {utterance.id: utterance.extra.get("speaker") for utterance in utterances}
    texts = {name: one.text for name, one in written.items()}
    score = score_transcripts(references, texts, normalizer=normalizer, speakers=speakers)
    place = {id_: i for i, id_ in enumerate(score.ids)}
    rows = [_row(u, written[u.id], score, place[u.id], groups) for u in utterances]
    return Evaluation(score, rows, by_ending(score, finished, speakers), pieces)


def joined(pieces: Pieces, written: Mapping[str, Transcribed]) -> dict[str, Transcribed]:
    """Return the transcripts of whole recordings; one ends by itself if all its pieces do.

    Args:
        pieces: How the recordings were cut.
        written: Transcripts of the pieces.
    """
    texts = pieces.stitched({name: one.text for name, one in written.items()})
    ended = {
        recording: all(written[name].finished for name in names if name in written)
        for recording, names in pieces.names.items()
    }
    return {recording: Transcribed(text, ended[recording]) for recording, text in texts.items()}


def counted(rows: Sequence[Mapping[str, Any]], normalizer: str) -> list[dict[str, Any]]:
    """Add error counts to rows with a `text` and possibly a `reference`.

    Args:
        rows: Of traces.
        normalizer: Name of the normalizer applied to both sides.

    Returns:
        The rows, with `words.errors` and `words.total`, or `tokens.…` if the normalizer requires the mixed error rate
        (None without a reference), and `normalizer` with its version.

    Raises:
        UserError: An unknown normalizer.
    """
    found = find_normalizer(normalizer)
    with_reference = [i for i, row in enumerate(rows) if row["reference"] is not None]
    errors: list[int | None] = [None] * len(rows)
    totals = list(errors)
    if with_reference:
        references, texts = ([rows[i][side] for i in with_reference] for side in ("reference", "text"))
        score = score_transcripts(references, texts, normalizer=found, draws=2)
        counts = score.words if score.rate == "wer" else score.mixed
        for i, e, n in zip(with_reference, counts.errors.tolist(), counts.reference_lengths.tolist(), strict=True):
            errors[i], totals[i] = e, n
    unit, name = UNITS[found.rate], f"{found.name} {found.version}"
    return [
        {**row, f"{unit}.errors": e, f"{unit}.total": n, "normalizer": name}
        for row, e, n in zip(rows, errors, totals, strict=True)
    ]


def _row(
    utterance: Utterance, written: Transcribed, score: TranscriptScore, i: int, groups: Sequence[str]
) -> dict[str, Any]:
    row = {"id": utterance.id, "reference": utterance.text, "text": written.text, "seconds": duration(utterance)}
    row |= {"language": utterance.language, "speaker": value_of(utterance, "speaker")}
    row |= {"finished": written.finished} | {f"groups.{field}": value_of(utterance, field) for field in groups}
    row |= dict(zip(("compared.reference", "compared.text"), score.compared[i], strict=True))
    row["normalizer"] = f"{score.normalizer} {score.normalizer_version}"
    counted = {"wer": score.words, "mer": score.mixed, "cer": score.characters}
    for unit, counts in ((UNITS[rate], counted[rate]) for rate in (score.rate, "cer")):
        row |= {f"{unit}.errors": int(counts.errors[i]), f"{unit}.total": int(counts.reference_lengths[i])}
        for kind in ("substitutions", "deletions", "insertions"):
            row[f"{unit}.{kind}"] = int(getattr(counts, kind)[i])
    return row
