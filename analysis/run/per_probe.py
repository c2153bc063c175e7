"""Folders of a run directory with a file for each probe, in files of the probe's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .files import read_parquet
from .kinds import Record, required


def read_per_probe(
    folder: Path | None, record: type[Record], probes: pd.DataFrame, texts: Sequence[str]
) -> pd.DataFrame:
    """Return the rows of all files of a folder in the order of the run.

    Args:
        folder: In a run directory; it may be absent. None where there is no run directory.
        record: What a row is.
        probes: The run's probes. Files of steps without a probe are left over from before a resumption and are ignored.
        texts: Columns with few values, which become categories.

    Raises:
        UserError: A file is damaged; names it and the columns.
    """
    known = set(zip(probes["step"], probes["visit"], strict=True))
    frames = []
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        frame = read_parquet(path, required(record))
        frames.append(frame[[place in known for place in zip(frame["step"], frame["visit"], strict=True)]])
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(required(record)))
    joined = pd.concat(filled, ignore_index=True).astype(dict.fromkeys(texts, "category"))
    return joined.sort_values(["visit", "step"], kind="stable", ignore_index=True)
