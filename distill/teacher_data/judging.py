"""A teacher's transcript of an utterance, judged by the filters of teacher data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..data.manifest import Utterance
from ..models.vocabulary import Tokens
from ..recipe import Filters
from .confidence import Transcript
from .filters import dropped_by, measures
from .journal import Row
from .labels import TRANSCRIPT, described
from .references import REFERENCE


@dataclass(frozen=True)
class Judged:
    """An utterance with the teacher's text.

    Attributes:
        utterance: With what is known of the transcript in its extra field `transcript`.
        measured: The checked values by filter.
        dropped_by: The filters that drop it, each with its value.
    """

    utterance: Utterance
    measured: Mapping[str, float]
    dropped_by: Mapping[str, float]


def judge(
    utterance: Utterance, row: Row, seconds: float, filters: Filters, about: Mapping[str, Any], tokens: Tokens
) -> Judged:
    """Return an utterance with its transcript, and which filters drop it.

    Args:
        utterance: Of the manifest.
        row: Of the journal: a transcript, or an error.
        seconds: Duration of its audio; NaN if it is not known.
        filters: Limits.
        about: Who wrote the transcript and how.
        tokens: Of the teacher.
    """
    result = {name: value for name, value in row.items() if name != "id"}
    measured = measures(None if "error" in row else Transcript(**result), seconds, utterance.language)
    dropped = dropped_by(measured, filters)
    text, token_ids = result.pop("text", None), result.pop("token_ids", None)
    written = described(text or "", token_ids, tokens)
    transcript = {**about, **result, **written, **({"dropped_by": dropped} if dropped else {})}
    # The text of earlier teacher data is not a reference; its own reference is kept.
    known = utterance.text is not None and TRANSCRIPT not in utterance.extra
    extra = {**utterance.extra, **({REFERENCE: utterance.text} if known else {}), TRANSCRIPT: transcript}
    return Judged(replace(utterance, text=text, extra=extra), measured, dropped)
