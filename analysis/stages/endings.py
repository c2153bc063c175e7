"""Error rates of transcripts that ended by themselves and of those that did not, in the table of stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..formatting import UNDEFINED, count, with_interval

ENDINGS = ("finished", "unfinished")
ENDING_COLUMNS = tuple(column for part in ENDINGS for column in (part, f"{part}.low", f"{part}.high", f"n_{part}"))
"""Of a frame: the error rate of each part with its bounds, and its utterances."""


def ending_rates(evaluation: Mapping[Any, Any], rate: str) -> dict[str, float]:
    """Return `ENDING_COLUMNS` of a row of `Run.evaluations`: rates as stored, NaN where a run did not store them.

    Args:
        evaluation: The row.
        rate: `wer` or `mer`.
    """
    found = {}
    for part in ENDINGS:
        for column, field in ((part, "value"), (f"{part}.low", "low"), (f"{part}.high", "high")):
            found[column] = _stored(evaluation, f"{part}.{rate}.{field}")
        found[f"n_{part}"] = _stored(evaluation, f"{part}.n_utterances")
    return found


def _stored(evaluation: Mapping[Any, Any], name: str) -> float:
    value = evaluation.get(name)
    return math.nan if value is None else float(value)


def has_endings(frame: pd.DataFrame) -> bool:
    """Whether any row of a frame with `ENDING_COLUMNS` says how many transcripts ended."""
    return bool(frame["n_finished"].notna().any())


def ending_text(row: Mapping[str, Any], part: str) -> str:
    """Return `12.3 [10.0, 15.0] (98)`: the rate in percent and the number of utterances; a dash if it is not known."""
    n = row[f"n_{part}"]
    if math.isnan(n):
        return UNDEFINED
    ends = row[part], row[f"{part}.low"], row[f"{part}.high"]
    shown = UNDEFINED if math.isnan(row[part]) else with_interval(*ends, 1, 100)
    return f"{shown} ({count(n)})"


def endings_note(frame: pd.DataFrame, rate: str) -> list[str]:
    """Return a note with the error rates of finished and unfinished transcripts of each stage; none if not stored."""
    if not has_endings(frame):
        return []
    rows = frame.loc[frame["n_finished"].notna()].to_dict("records")
    said = [
        f"{row['stage']} {ending_text({str(k): v for k, v in row.items()}, 'finished')} and "
        f"{ending_text({str(k): v for k, v in row.items()}, 'unfinished')}"
        for row in rows
    ]
    return [f"{rate.upper()} % of transcripts that ended and of those cut off (n utterances): {'; '.join(said)}."]
