"""Audio of utterances, compressed for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soundfile

RATE = 16_000
"""Samples a second, mono."""
COMPRESSION = 0.975
"""Compression level of libsndfile for Opus: about 12 kbit/s, enough to check a transcript."""


class Clips(Protocol):
    """Gives the audio of utterances; `distill.clips.ManifestClips` reads it from a run's manifests."""

    def __call__(self, manifest: str, ids: Iterable[str]) -> Iterable[tuple[str, np.ndarray]]:
        """Ids and mono samples at 16 kHz, of those utterances that have audio.

        Args:
            manifest: As the recipe names it.
            ids: Utterances asked for.
        """
        ...


@dataclass(frozen=True)
class Audio:
    """Clips by manifest and utterance.

    Attributes:
        clips: Ogg Opus in base64 by utterance id.
        notes: Sentences on omitted audio.
    """

    clips: Mapping[str, str]
    notes: tuple[str, ...] = ()


def encoded(samples: np.ndarray) -> bytes:
    """Return mono samples at 16 kHz as Ogg Opus."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
    return file.getvalue()


def collect(clips: Clips, wanted: Mapping[str, Iterable[str]], budget: int) -> Audio:
    """Encode clips until the budget is spent.

    Args:
        clips: Where audio comes from.
        wanted: Ids by manifest, the most important first.
        budget: Bytes in the page at most.
    """
    found: dict[str, str] = {}
    left, asked = budget, 0
    for manifest, ids in wanted.items():
        rest = [i for i in dict.fromkeys(ids) if i not in found]
        asked += len(rest)
        for name, samples in clips(manifest, rest):
            text = base64.b64encode(encoded(samples)).decode("ascii")
            if len(text) > left:
                left = 0  # stop here although later clips may be shorter: gaps in the middle would be harder to explain
                break
            left -= len(text)
            found[name] = text
        if not left:
            break
    missing = asked - len(found)
    note = f"{missing} of {asked} utterances have no audio here, to limit the size of the page."
    return Audio(found, (note,) if missing else ())
