"""Sums of every probe by utterance: `probe_sums/*.parquet` of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums

from .files import read_parquet
from .kinds import required
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
    known = set(zip(probes["step"], probes["visit"], strict=True))
    frames = []
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        frame = read_parquet(path, required(ProbeSum))
        frames.append(frame[[place in known for place in zip(frame["step"], frame["visit"], strict=True)]])
    if not frames:
        return pd.DataFrame(columns=list(required(ProbeSum)))
    joined = pd.concat(frames, ignore_index=True).astype(dict.fromkeys(_TEXTS, "category"))
    return joined.sort_values(["visit", "step"], kind="stable", ignore_index=True)


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
