"""Folders of a run directory with a file for each probe, in files of the probe's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .doubled import ONCE, check_once
from .files import read_parquet
from .kinds import Record, required


def read_per_probe(folder: Path, record: type[Record], probes: pd.DataFrame, texts: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows of all files of a folder in the order of the run.

    Args:
        folder: In a run directory; it may be absent.
        record: What a row is.
        probes: The run's probes. Files of steps without a probe are left over from before a resumption and are ignored.
        texts: Columns with few values, which become categories.

    Raises:
        UserError: A file is damaged, or a row is there twice; names the files, and the columns or rows.
    """
    known = set(zip(probes["step"], probes["visit"], strict=True))
    parts = []
    for path in sorted(folder.glob("*.parquet")):
        frame = read_parquet(path, required(record))
        probed = [place in known for place in zip(frame["step"], frame["visit"], strict=True)]
        parts.append((path, frame.loc[np.array(probed, dtype=bool)]))
    check_once(parts, ONCE[folder.name])
    filled = [frame for _, frame in parts if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(required(record)))
    joined = pd.concat(filled, ignore_index=True).astype(dict.fromkeys(texts, "category"))
    return joined.sort_values(["visit", "step"], kind="stable", ignore_index=True)
