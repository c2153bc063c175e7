"""Recordings of background noise: finds them and computes a digest to detect changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from overlap.extras import require


def background_files(place: str) -> list[Path]:
    """Return audio files at a path (a file or a folder, recursively), in the same order on every machine.

    Args:
        place: Where they are.

    Returns:
        Their paths; empty if there is no audio.

    Raises:
        MissingExtraError: audiomentations, which reads them, is not installed.
    """
    utilities = require("audiomentations.core.utils", extra="augment", purpose=f"Background noise from {place}")
    return sorted(path for path in utilities.find_audio_files_in_paths(place) if Path(path).is_file())


def background_sha256(place: str) -> str:
    """Return a digest of the files' names below the path, and of their content.

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
