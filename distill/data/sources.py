"""Utterances from wherever a recipe or a command says they are: a manifest, or a Hugging Face data set."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..places import located
from .hf.loading import dataset_identity, read_dataset
from .hf.reference import is_dataset
from .manifest import Utterance, read_manifest


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


def identity(source: str) -> dict[str, Any]:
    """What tells whether a source is still the same: `sha256`, and for a data set some more about it."""
    if is_dataset(source):
        return dataset_identity(source)
    return {"sha256": hashlib.sha256(Path(located(source)).read_bytes()).hexdigest()}
