"""Sums of every probe by utterance: `probe_sums/*.parquet` of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums

from .per_probe import read_per_probe
from .records import ProbeSum

_TEXTS = ("stage", "states", "id", "statistic")
_PROBE = ("step", "visit", "stage", "states")


def read_probe_sums(folder: Path | None, probes: pd.DataFrame) -> pd.DataFrame:
    """Return the sums of all probes of a run, one row for each probe, kind of states, utterance and statistic.

    Args:
        folder: `probe_sums` of a run directory; it may be absent. None where there is no run directory.
        probes: The run's probes. Files of steps without a probe are left over from before a resumption and are ignored.

    Raises:
        UserError: A file is damaged; names it and the columns.
    """
    return read_per_probe(folder, ProbeSum, probes, _TEXTS)


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
