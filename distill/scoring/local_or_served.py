"""Chooses the scores of a local or a served teacher, and scores transcripts with both models."""

from __future__ import annotations

from typing import Any

from ..data.batch import Batch
from ..models import Recognizer, Transcripts
from ..recipe import SupportSettings
from ..teacher import ServedTeacher
from .local import LogitsScores
from .pair import Pair
from .scores import Scores, score
from .served import TopkScores


def kind_of(teacher: Recognizer | ServedTeacher) -> type[Scores]:
    """Return the class of scores for a teacher: local or behind a server."""
    return TopkScores if isinstance(teacher, ServedTeacher) else LogitsScores


def compare(pair: Pair, batch: Batch, transcripts: Transcripts, support: SupportSettings, **options: Any) -> Scores:
    """Score the same transcripts with both models; see `distill.scoring.scores.score`, also for the options."""
    return score(kind_of(pair.teacher), pair, batch, transcripts, support, **options)
