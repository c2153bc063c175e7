"""Readings of groups of a probe's utterances: `probe_groups/*.parquet` of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .doubled import ONCE, check_once
from .files import read_parquet
from .kinds import required
from .records import ProbeGroup


def read_probe_groups(folder: Path | None, probes: pd.DataFrame) -> pd.DataFrame:
    """Return the readings of groups of all probes of a run.

    Args:
        folder: `probe_groups` of a run directory; it may be absent. None where there is no run directory.
        probes: The run's probes. Files of steps without a probe are left over from before a resumption and are ignored.

    Raises:
        UserError: A file is damaged, or has a row twice; names it and the columns.
    """
    known = set(zip(probes["step"], probes["visit"], strict=True))
    mine: dict[Path, pd.DataFrame] = {}
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        frame = read_parquet(path, required(ProbeGroup))
        mine[path] = frame.loc[[place in known for place in zip(frame["step"], frame["visit"], strict=True)]]
    check_once(list(mine.items()), ONCE["probe_groups"])
    filled = [frame for frame in mine.values() if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(required(ProbeGroup)))
    joined = pd.concat(filled, ignore_index=True)
    return joined.sort_values(["visit", "step"], kind="stable", ignore_index=True)
