"""Audio for the report: utterances of a run's manifests as samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .audio import load_audio
from .sources import read_utterances


def manifest_clips(manifest: str, ids: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ids and mono samples at 16 kHz of utterances, in the order of `ids`; those without audio are left out.

    Args:
        manifest: Path of a manifest, or a data set such as `hf:NAME:CONFIG:SPLIT`.
        ids: Utterances asked for.

    Raises:
        FileNotFoundError: The manifest no longer exists at its path.
        ManifestError: It cannot be read.
        AudioError: Its audio cannot be read; names the utterance.
    """
    there = {utterance.id: utterance for utterance in read_utterances(manifest)}
    for name in ids:
        utterance = there.get(name)
        if utterance is not None and utterance.audio is not None:
            yield name, load_audio(utterance, max_seconds=float("inf"))
