"""Rows of a data set in memory as utterances.

The audio remains memory-mapped until an utterance is decoded, and is decoded like other files: the library's own
decoder (torchcodec) is not needed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute

from overlap.extras import require

from ..line_findings import Finding, refuse_rows
from ..stored_audio import StoredAudio
from ..utterance import LineError, ManifestError, Problem, Utterance
from .columns import TEXT_COLUMNS, Columns

if TYPE_CHECKING:
    from datasets import Dataset

pc: Any = pyarrow.compute  # its functions are created during import, invisible to type checkers


def utterances_from(
    dataset: Dataset,
    *,
    audio_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    language_column: str | None = None,
    language: str | None = None,
    context_column: str | None = None,
    name: str | None = None,
    folder: Path | None = None,
    findings: list[Finding] | None = None,
) -> list[Utterance]:
    """Return the rows of a Hugging Face `datasets.Dataset` as utterances, in their order.

    Columns of strings, numbers and booleans that are not used otherwise become :attr:`Utterance.extra`. A row's audio
    is the whole utterance: columns of times are not read.

    Args:
        dataset: One split, not streamed.
        audio_column: Encoded audio files or their paths; if not given, the one column with the feature `Audio`, or
            `audio`.
        text_column: Reference transcripts; if not given, the existing one of `text`, `sentence`, `transcription` and
            `transcript`. Rows with null, and all rows of a data set without such a column, are unlabeled.
        id_column: Unique strings or integers; if not given, `id` if it is unique, otherwise rows are numbered.
        language_column: Names or codes of languages, or class labels; if not given, `language` if it exists.
        language: The language of all rows instead.
        context_column: Hints for a recognizer, such as names; if not given, there are none.
        name: What messages call the data set; its fingerprint if not given.
        folder: What relative paths of audio files are relative to; the working directory if not given.
        findings: Collects problems of rows, which are then left out; if not given, such rows are refused.

    Returns:
        The utterances, at least one unless findings are taken. Ids are stable as long as the data set is unchanged.

    Raises:
        ManifestError: No rows, a missing or ambiguous column, values that do not fit, a repeated id, a row without
            audio; names data set, row, column and remedy.
        MissingExtraError: `datasets` is not installed.
    """
    library = require("datasets", extra="datasets", purpose="reading a data set")
    if not isinstance(dataset, library.Dataset):
        what = "a dictionary of splits; give one split" if isinstance(dataset, dict) else "streamed; load it whole"
        kind = type(dataset).__name__
        raise ManifestError(f"{name or kind}: is {what}, as in load_dataset(…, split='train')")
    name = name or f"data set {dataset._fingerprint}"
    if not dataset.num_rows:
        raise ManifestError(f"{name}: has no rows; choose another split or slice")
    if language and language_column:
        raise ManifestError(f"{name}: has language_column={language_column} and language={language}; give one of them")
    columns = Columns(name, dataset)
    audio = columns.audio(audio_column)
    text = columns.strings("text", text_column or columns.one_of("text", TEXT_COLUMNS))
    ids = columns.ids(id_column)
    languages = [language] * dataset.num_rows
    if not language:
        languages = columns.strings("language", language_column or columns.one_of("language", ("language",)))
    contexts = columns.strings("context", context_column)
    extras = columns.extras({audio, text_column, id_column, language_column, context_column, *TEXT_COLUMNS})
    utterances: list[Utterance] = []
    wrong: list[Finding] = []
    for row, found in enumerate(_audio_of(dataset, audio, name, folder or Path())):
        place = (name, row)
        if found is None:
            problem = Problem(audio, "holds neither bytes nor a path", "leave the row out")
            wrong.append(Finding.of_line(place, ids[row], problem))
            continue
        if isinstance(found, Path) and not found.is_file():
            problem = Problem(audio, f"is {found}, a file that does not exist", "correct the path")
            wrong.append(Finding.of_line(place, ids[row], problem))
            continue
        values = {key: column[row] for key, column in extras.items() if column[row] is not None}
        try:
            told = contexts[row] or None
            utterances.append(
                Utterance(ids[row], found, text[row], language=languages[row], extra=values, context=told, place=place)
            )
        except LineError as error:
            wrong.append(Finding.of_line(place, ids[row], error.problem))
    if findings is None:
        refuse_rows(wrong)
    else:
        findings += wrong
    return utterances


def _audio_of(dataset: Dataset, column: str, name: str, folder: Path) -> Iterator[StoredAudio | Path | None]:
    """Yield the audio of each row, without reading it: sizes and paths alone."""
    rows: Any = dataset.select_columns([column]).with_format("arrow")
    row = 0
    for batch in rows.iter(batch_size=1000):
        for chunk in batch.column(0).chunks:
            sizes, paths = _parts(chunk, f'{name}: column "{column}"')
            for size, path in zip(sizes, paths, strict=True):
                if size:
                    opener = functools.partial(_open, rows, row)
                    yield StoredAudio(f"{name}, row {row}", size, opener)
                else:
                    yield folder / path if path else None
                row += 1


def _parts(chunk: Any, where: str) -> tuple[Sequence[int | None], Sequence[str | None]]:
    """Return sizes and paths of some rows of audio; None where missing."""
    kind, nothing = chunk.type, [None] * len(chunk)
    if pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}:
        sizes, _ = _parts(pc.struct_field(chunk, "bytes"), where)
        return sizes, pc.struct_field(chunk, "path").to_pylist()
    if pa.types.is_null(kind):
        return nothing, nothing
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pc.binary_length(chunk).to_pylist(), nothing
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return nothing, chunk.to_pylist()
    raise ManifestError(f"{where} holds {kind}, neither audio files nor their paths; choose another audio_column")


def _open(rows: Any, row: int) -> BinaryIO:
    (chunk,) = (chunk for chunk in rows[row].column(0).chunks if len(chunk))
    value = pc.struct_field(chunk, "bytes") if pa.types.is_struct(chunk.type) else chunk
    return pa.BufferReader(value[0].as_buffer())
