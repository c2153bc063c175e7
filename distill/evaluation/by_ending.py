"""Error rates of transcripts that ended by themselves and of those that did not, apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from overlap.estimates.bootstrap import DRAWS
from overlap.plain_json import plain

from .scoring import UNITS, EditCounts, ErrorRate, TranscriptScore, error_rates

Ending = Literal["finished", "unfinished"]


@dataclass(frozen=True)
class PartScore:
    """Error rates over some utterances of a set, undefined where there is none.

    Attributes:
        n_utterances: How many.
        rate: Which error rate the set reports.
        main: That error rate.
        cer: Character error rate.
    """

    n_utterances: int
    rate: Literal["wer", "mer"]
    main: ErrorRate
    cer: ErrorRate

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON can hold them, as in `evaluations.jsonl`."""
        return {
            "n_utterances": self.n_utterances,
            self.rate: plain(self.main.to_dict()),
            "cer": plain(self.cer.to_dict()),
        }

    def __str__(self) -> str:
        found = f"{self.rate.upper()} {self.main.shown(2, 100)} % of {self.main.total:,} {UNITS[self.rate]}"
        return f"{found} in {self.n_utterances:,} utterances" if self.n_utterances else "no utterances"


def by_ending(
    score: TranscriptScore,
    finished: Mapping[str, bool],
    speakers: Mapping[str, Any],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[Ending, PartScore]:
    """Return the error rates of finished and of unfinished transcripts.

    A mean over both hides that a student loops: one transcript that does not end can have more errors than the set has
    words.

    Args:
        score: Of the whole set. Intervals are over what its intervals are over.
        finished: Whether each transcript ended by itself, by utterance id.
        speakers: By utterance id.
        draws: Bootstrap resamples.
        seed: Of the resampling.
    """
    ended = np.array([finished[id_] for id_ in score.ids], dtype=bool)
    parts: tuple[tuple[Ending, np.ndarray], ...] = (("finished", ended), ("unfinished", ~ended))
    return {name: _part(score, keep, speakers, draws, seed) for name, keep in parts}


def _part(score: TranscriptScore, keep: np.ndarray, speakers: Mapping[str, Any], draws: int, seed: int) -> PartScore:
    ids = [id_ for id_, kept in zip(score.ids, keep, strict=True) if kept]
    clusters = [str(speakers.get(id_)) for id_ in ids] if score.over == "speakers" else ids
    names, member = np.unique(np.array(clusters, dtype=object), return_inverse=True)
    whole = {"main": score.words if score.rate == "wer" else score.mixed, "cer": score.characters}
    counts = {
        name: EditCounts(one.hits[keep], one.substitutions[keep], one.deletions[keep], one.insertions[keep])
        for name, one in whole.items()
    }
    found = error_rates(names.tolist(), member, counts, level=score.level, draws=draws, seed=seed)
    return PartScore(len(ids), score.rate, found["main"], found["cer"])
