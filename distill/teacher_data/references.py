"""Error rates of teacher data whose manifest had texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..data.manifest import Utterance
from ..evaluation.scoring import TranscriptScore, score_transcripts

REFERENCE = "reference"
"""Extra field of the manifest with its original text."""


def scores_of(sets: Mapping[str, Iterable[Utterance]], normalizer: str) -> dict[str, TranscriptScore]:
    """Return error rates of sets of transcripts; those without any reference are left out.

    Args:
        sets: Utterances with the teacher's text, and the manifest's in the field `reference`, by the set's name.
        normalizer: Applied to both sides.
    """
    scores: dict[str, TranscriptScore] = {}
    for name, utterances in sets.items():
        scored = [u for u in utterances if u.text is not None and isinstance(u.extra.get(REFERENCE), str)]
        if scored:
            references = {u.id: u.extra[REFERENCE] for u in scored}
            texts, speakers = {u.id: u.text or "" for u in scored}, {u.id: u.extra.get("speaker") for u in scored}
            scores[name] = score_transcripts(references, texts, normalizer=normalizer, speakers=speakers)
    return scores
