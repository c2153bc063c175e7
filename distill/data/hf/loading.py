"""Loads data sets by name, from the Hub or a folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlap.extras import require

from ..line_findings import Finding, refuse_rows
from ..stored_audio import StoredAudio
from ..utterance import ManifestError, Problem, Utterance
from .reference import DatasetReference
from .rows import utterances_from

if TYPE_CHECKING:
    from datasets import Dataset


def read_dataset(reference: str) -> list[Utterance]:
    """Return the utterances of a data set named as :mod:`distill.data.hf.reference` describes.

    Raises:
        ManifestError: It cannot be found or loaded, or as :func:`distill.utterances_from`.
        MissingExtraError: `datasets` is not installed.
    """
    _, utterances, findings = _load(reference)
    refuse_rows(findings)
    return utterances


def checked_dataset(reference: str) -> tuple[list[Utterance], list[Finding]]:
    """Return the usable rows of a data set, and problems of the others or of the entire data set.

    Raises:
        MissingExtraError: `datasets` is not installed.
    """
    try:
        _, utterances, findings = _load(reference)
    except ManifestError as error:
        message, _, remedy = str(error).removeprefix(f"{reference}: ").partition("; ")
        problem = Problem(None, message, remedy or "name a data set that can be loaded")
        return [], [Finding.of_line((reference, None), None, problem)]
    return utterances, findings


def dataset_identity(reference: str) -> dict[str, Any]:
    """Return values that identify a data set: a hash of its rows, their number, the library's fingerprint.

    The hash is over ids, texts, languages, and sizes or paths of audio files, so it is the same after copying the data
    to another machine. The fingerprint is not, because it includes file times.
    """
    dataset, utterances, _ = _load(reference)
    digest = hashlib.sha256()
    for utterance in utterances:
        audio = utterance.audio.size if isinstance(utterance.audio, StoredAudio) else str(utterance.audio)
        row = [utterance.id, utterance.text, utterance.language, audio]
        row += [] if utterance.context is None else [utterance.context]
        digest.update(json.dumps(row).encode())
    return {"sha256": digest.hexdigest(), "n_utterances": len(utterances), "fingerprint": dataset._fingerprint}


def _load(text: str) -> tuple[Dataset, list[Utterance], list[Finding]]:
    reference = DatasetReference.parse(text)
    library = require("datasets", extra="datasets", purpose=text)
    options = dict(reference.options)
    revision = options.pop("revision", None)
    folder = Path(reference.name).expanduser()
    if not folder.is_dir() and reference.split is None:
        raise ManifestError(f"{text}: names no split, and is no folder; write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
    try:
        if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
            if reference.config or revision:
                raise ManifestError(
                    f"{text}: a folder of save_to_disk has no configuration or revision; name its split"
                )
            loaded = library.load_from_disk(str(folder))
            if isinstance(loaded, dict) and reference.split in loaded:
                loaded = loaded[reference.split]
            elif reference.split:
                has = f"splits {', '.join(loaded)}" if isinstance(loaded, dict) else "one split; leave it out"
                raise ManifestError(f"{text}: there is no split {reference.split!r} in the folder; it has {has}")
        else:
            loaded = library.load_dataset(
                str(folder) if folder.is_dir() else reference.name,
                reference.config,
                split=reference.split,
                revision=revision,
            )
    except ManifestError:
        raise
    except (OSError, ValueError, ImportError, library.exceptions.DatasetsError) as error:
        because = f" ({error.__cause__})" if error.__cause__ else ""
        raise ManifestError(f"{text}: cannot be loaded: {error}{because}") from error
    if isinstance(loaded, dict):
        if len(loaded) != 1:
            raise ManifestError(f"{text}: has splits {', '.join(loaded)}; name one, as in hf:NAME:{next(iter(loaded))}")
        (loaded,) = loaded.values()
    base = folder if folder.is_dir() else None
    findings: list[Finding] = []
    utterances = utterances_from(loaded, name=text, folder=base, findings=findings, **options)
    return loaded, utterances, findings
