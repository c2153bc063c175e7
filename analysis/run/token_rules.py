"""What rules for single positions would keep: `token_rules/*.parquet` of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .doubled import ONCE, check_once
from .files import read_parquet
from .kinds import required
from .records import TokenRule


def read_token_rules(folder: Path | None, probes: pd.DataFrame) -> pd.DataFrame:
    """Return the shadow panels of all probes of a run, one row for each number.

    Args:
        folder: `token_rules` of a run directory; it may be absent. None where there is no run directory.
        probes: The run's probes. Files of steps without a probe are left over from before a resumption and are ignored.

    Raises:
        UserError: A file is damaged, or a number is there twice; names the files, and the columns or rows.
    """
    known = set(zip(probes["step"], probes["visit"], strict=True))
    parts = []
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        frame = read_parquet(path, required(TokenRule))
        probed = [place in known for place in zip(frame["step"], frame["visit"], strict=True)]
        parts.append((path, frame.loc[np.array(probed, dtype=bool)]))
    check_once(parts, ONCE["token_rules"])
    filled = [frame for _, frame in parts if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(required(TokenRule)))
    return pd.concat(filled, ignore_index=True).sort_values(["visit", "step"], kind="stable", ignore_index=True)
