"""Recordings that noise is taken from: which they are, and whether they are still the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from overlap.extras import require


def background_files(place: str) -> list[Path]:
    """Audio files at a place, a file or a folder with all below it, in an order that every machine shares.

    Args:
        place: Where they are.

    Returns:
        Their paths; an empty list where there is no audio.

    Raises:
        MissingExtraError: audiomentations, which reads them, is not installed.
    """
    utilities = require("audiomentations.core.utils", extra="augment", purpose=f"Background noise from {place}")
    return sorted(path for path in utilities.find_audio_files_in_paths(place) if Path(path).is_file())


def background_sha256(place: str) -> str:
    """A digest of what the files are called below the place, and of what they hold.

    Args:
        place: A file or a folder.

    Raises:
        MissingExtraError: audiomentations is not installed.
    """
    digest = hashlib.sha256()
    for path in background_files(place):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{Path(os.path.relpath(path, place)).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
