"""Correction of p-values for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from ..formatting import plural
from ..run.wanted import numbers

Correction = Literal["holm", "bh"]
CORRECTIONS = {"holm": "Holm", "bh": "BH"}
GUARDS = {
    "holm": "Holm: where those below 0.05 are taken for findings, the chance that any of them is false is below 0.05",
    "bh": "Benjamini-Hochberg: of those below 0.05, an expected share below 0.05 is false",
}


def corrected(p_values: Sequence[float] | np.ndarray, method: Correction = "holm") -> np.ndarray:
    """Adjusted p-values: compare each with the level as if it were the only one.

    Args:
        p_values: `[m]`; NaN where there is no test, which does not count as one.
        method: `holm` bounds the chance of any false finding (Holm 1979), `bh` the expected
            share of false ones among the findings (Benjamini & Hochberg 1995).

    Returns:
        `[m]`, NaN where there is no test.

    Raises:
        ValueError: An unknown method, no numbers, or a p-value outside 0 … 1.
    """
    if method not in CORRECTIONS:
        raise ValueError(f"method: expected one of {', '.join(CORRECTIONS)}, received {method!r}")
    p = numbers(p_values, "p_values", "table.frame['p']")
    tested = ~np.isnan(p)
    if ((p[tested] < 0) | (p[tested] > 1)).any():
        raise ValueError("p_values: expected numbers from 0 to 1, or NaN where there is no test")
    result = np.full(p.shape, np.nan)
    if not tested.any():
        return result
    if method == "bh":
        result[tested] = false_discovery_control(p[tested], method="bh")
    else:
        from statsmodels.stats.multitest import multipletests  # a second, which only this needs

        result[tested] = multipletests(p[tested], method="holm")[1]
    return result


def with_corrected(frame: pd.DataFrame, column: str, method: Correction) -> pd.DataFrame:
    """The frame with corrected p-values right of a column of p-values, called like it with `.corrected` at the end."""
    p_values = frame[column].to_numpy(dtype=np.float64)
    names = list(frame.columns)
    names.insert(names.index(column) + 1, f"{column}.corrected")
    return frame.assign(**{f"{column}.corrected": corrected(p_values, method)}).reindex(columns=names)


def strongest_first(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows by the size of a number, whatever its sign; undefined ones last."""
    size = np.abs(frame[column].to_numpy(dtype=np.float64))
    return frame.iloc[np.argsort(-size, kind="stable")].reset_index(drop=True)


def correction_note(frame: pd.DataFrame, column: str, method: Correction) -> str:
    """What a reader must know of the corrected p-values of a column."""
    n = int(frame[column].notna().to_numpy().sum())
    if not n:
        return "no p here to correct; intervals are not corrected."
    return f"p corrected for {n} {plural('test', n)} ({GUARDS[method]}); intervals are not corrected."
