"""Transcripts of long recordings, joined from those of their pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..data.long_recordings import PIECE, Pieces
from ..data.manifest import Utterance
from .labels import TRANSCRIPT
from .references import REFERENCE

PIECES = "pieces"
"""Extra field of a joined transcript: ids of its pieces, and of those that a filter drops from the teacher data."""


def stitched_recordings(transcribed: Iterable[Utterance], pieces: Pieces) -> tuple[Utterance, ...]:
    """Return every recording with the joined transcripts of its pieces, also of those that filters drop.

    Args:
        transcribed: Pieces, and utterances that fit, with the teacher's text.
        pieces: How the recordings were cut.
    """
    found = {utterance.id: utterance for utterance in transcribed}
    texts = pieces.stitched({name: utterance.text or "" for name, utterance in found.items()})
    joined = []
    for recording in pieces.recordings:
        names = pieces.names[recording.id]
        dropped = [name for name in names if found[name].extra[TRANSCRIPT].get("dropped_by")]
        about = {PIECES: {"ids": list(names), "dropped": dropped}}
        known = recording.text is not None and TRANSCRIPT not in recording.extra
        extra = {key: value for key, value in recording.extra.items() if key not in (PIECE, TRANSCRIPT)}
        extra |= {REFERENCE: recording.text} if known else {}
        joined.append(replace(recording, text=texts[recording.id], extra=extra | about))
    return tuple(joined)
