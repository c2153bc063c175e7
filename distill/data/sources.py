"""Reads the source of a recipe or command: a manifest or a Hugging Face data set."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..locations import located
from .hf.loading import checked_dataset, dataset_identity, read_dataset
from .hf.reference import is_dataset
from .line_findings import Finding
from .manifest import Utterance, checked_manifest, read_manifest


def read_utterances(source: str | Path, *, check_audio: bool = True) -> list[Utterance]:
    """Read a manifest, or a data set named as :mod:`distill.data.hf.reference` describes.

    Args:
        source: Path of a manifest, `demo:corpus/…` or `hf:…`.
        check_audio: Whether every audio file of a manifest must exist.

    Raises:
        FileNotFoundError: The manifest does not exist.
        ManifestError: Anything else wrong with it, with place and remedy.
        MissingExtraError: A data set, and `datasets` is not installed.
    """
    return read_dataset(str(source)) if is_dataset(source) else read_manifest(source, check_audio=check_audio)


def checked_utterances(source: str | Path) -> tuple[list[Utterance], list[Finding]]:
    """Read the usable lines of a source, and collect problems of the others; audio files are not checked.

    Args:
        source: As for :func:`read_utterances`.

    Returns:
        The utterances that can be read, and the findings, both in the order of the source.

    Raises:
        MissingExtraError: A data set, and `datasets` is not installed.
    """
    return checked_dataset(str(source)) if is_dataset(source) else checked_manifest(source, check_audio=False)


def identity(source: str) -> dict[str, Any]:
    """Return values that identify a source: `sha256`, and more for a data set."""
    if is_dataset(source):
        return dataset_identity(source)
    return {"sha256": hashlib.sha256(Path(located(source)).read_bytes()).hexdigest()}
