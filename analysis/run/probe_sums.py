"""Sums of every probe by utterance: `probe_sums/*.parquet` of a run."""

from __future__ import annotations

import pandas as pd

from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums

TEXTS = ("stage", "states", "id", "statistic")
"""Columns with few values."""
_PROBE = ("step", "visit", "stage", "states")


def group_sums(rows: pd.DataFrame) -> GroupSums:
    """Return the sums of one probe, for `overlap.estimates.summary.estimate` and `overlap.estimates.paired_change`.

    Args:
        rows: Of `Run.probe_sums`, of one probe and kind of states.

    Raises:
        UserError: They are of several probes or kinds of states, or a row is there twice.
    """
    several = [name for name in _PROBE if len(rows[name].unique()) > 1]
    if several:
        raise UserError(
            f"rows: expected those of one probe and kind of states, received several values of {several[0]}; choose "
            f"one of {sorted(map(str, rows[several[0]].unique()))}"
        )
    columns = {"key": rows["id"], **{name: rows[name] for name in ("statistic", "sum", "count", "undefined")}}
    return GroupSums.from_columns({name: column.to_numpy() for name, column in columns.items()})
