"""Error rates of a run's evaluations with the interval that all tables, figures, tiles and verdicts show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from overlap.estimates.clusters import resampled

from ..formatting import counts, plural
from ..run.checks import want_run
from ..run.load import EVALUATED, Run
from ..stats.error_rates import Unit, error_rate

UNITS: dict[str, Unit] = {"wer": "words", "mer": "tokens", "cer": "characters"}
"""Unit of each error rate."""
OVER = ("over", "n_over", "stored")
"""Columns with the bootstrap unit of an interval."""
_found: WeakKeyDictionary[Run, pd.DataFrame] = WeakKeyDictionary()


def cluster_of(*transcripts: pd.DataFrame) -> str | None:
    """Return the bootstrap unit of these transcripts: `speaker`, or None for utterances.

    Args:
        transcripts: Rows of `Run.transcripts`, one frame for each evaluation that is shown or compared together.
    """
    return "speaker" if all(map(_by_speaker, transcripts)) else None


def transcripts_of(run: Run, evaluation: Mapping[Any, Any]) -> pd.DataFrame:
    """Return the transcripts of a row of `Run.evaluations`; empty if they were not kept."""
    written = run.transcripts
    chosen = pd.Series(True, index=written.index)
    for place in EVALUATED:
        chosen &= written[place] == evaluation[place]
    return written.loc[chosen]


def evaluated(run: Run, *, all_sets: bool = False) -> pd.DataFrame:
    """Return the evaluations of a run with intervals over speakers, or over utterances if speakers are few or unknown.

    Intervals are those of `error_rate` on the transcripts, as in `error_rate_difference`; a rate therefore has the same
    interval everywhere. Without transcripts the interval stored with the evaluation is kept.

    Args:
        run: A run, finished or not.
        all_sets: Include those on all sets, not only on the main one with its error rate.

    Returns:
        `Run.evaluations`, with value and ends of `wer` (or `mer`) and `cer` from the transcripts, and the columns
        `over` (`speakers` or `utterances`), `n_over` (how many) and `stored` (whether transcripts are missing).

    Raises:
        UserError: No run, or a file of transcripts is damaged, or holds an utterance twice.
    """
    want_run(run)
    if run not in _found:
        _found[run] = with_intervals(run, run.evaluations)
    rows = _found[run]
    return rows.copy() if all_sets else rows.loc[run.main_evaluations.index].copy()


def student_evaluations(run: Run) -> pd.DataFrame:
    """Return the student's evaluations on the run's main set, as `evaluated` returns them."""
    rows = evaluated(run)
    return rows.loc[rows["model"] == "student"]


def with_counts(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """Return some rows of `Run.evaluations` with the value and counts of their transcripts, where those were kept.

    As `with_intervals`, without intervals, which take long for many rows.
    """
    made = [row | _counted(transcripts_of(run, row), row) for row in rows.to_dict("records")]
    return pd.DataFrame(made, columns=rows.columns).set_axis(rows.index)


def with_intervals(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what `evaluated` returns for some rows of `Run.evaluations`, for a view that is redrawn often.

    Args:
        run: The run that they are of.
        rows: Some of its evaluations.

    Raises:
        UserError: As `evaluated`.
    """
    made = [row | _intervals(run, row) for row in rows.to_dict("records")]
    return pd.DataFrame(made, columns=[*rows.columns, *OVER]).set_axis(rows.index)


def bootstrap_unit_text(rows: pd.DataFrame) -> str:
    """Return the bootstrap unit of these rows' intervals, such as `over 25 speakers`; mentions missing transcripts.

    Args:
        rows: Of `evaluated`, or of another frame with its columns `over`, `n_over` and `stored`.
    """
    parts = []
    known = rows.dropna(subset="n_over")
    for stored, over in sorted(set(zip(known["stored"], known["over"], strict=True))):
        n = known.loc[(known["stored"] == stored) & (known["over"] == over), "n_over"].astype(int)
        beside, _, noun = str(over).rpartition(" ")  # `seeds and utterances`
        words = " ".join(filter(None, ["over", beside, counts(n), plural(noun.removesuffix("s"), max(n))]))
        parts.append(f"{words} (stored: no transcripts were kept)" if stored else words)
    return " or ".join(parts) or "over utterances"


def _intervals(run: Run, row: Mapping[Any, Any]) -> dict[str, Any]:
    written = transcripts_of(run, row)
    if written.empty:
        over, n = row.get("interval.over"), row.get("interval.n")  # optional in the schema: over utterances
        known = isinstance(over, str)
        return {
            "over": over if known else "utterances",
            "n_over": n if known else row.get("n_utterances"),
            "stored": True,
        }
    by, found = cluster_of(written), {}
    for rate, unit in UNITS.items():
        if f"{rate}.value" in row and _counts_all(written, unit):
            over = error_rate(written, unit, by=by)
            found |= {f"{rate}.value": over.value, f"{rate}.low": over.low, f"{rate}.high": over.high}
            found["n_over"] = over.n_groups
    return found | {"over": f"{by or 'utterance'}s", "stored": False}


def _counted(written: pd.DataFrame, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return values and counts of an evaluation's error rates from its transcripts; nothing where there are none."""
    found: dict[str, Any] = {}
    for rate, unit in UNITS.items():
        if len(written) and f"{rate}.value" in row and _counts_all(written, unit):
            errors, total = (int(np.sum(written[f"{unit}.{field}"].to_numpy())) for field in ("errors", "total"))
            value = errors / total if total else math.nan
            found |= {f"{rate}.value": value, f"{rate}.errors": errors, f"{rate}.total": total}
    return found


def _counts_all(transcripts: pd.DataFrame, unit: str) -> bool:
    """Return whether every transcript has this count; transcripts of other sets may have other counts."""
    column = f"{unit}.errors"
    return column in transcripts and not any(map(pd.isna, transcripts[column].tolist()))


def _by_speaker(transcripts: pd.DataFrame) -> bool:
    return (
        resampled([None if pd.isna(speaker) else speaker for speaker in transcripts["speaker"].tolist()]) == "speakers"
    )
