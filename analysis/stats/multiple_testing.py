"""Correction of p-values for multiple tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from overlap.errors import UserError

from ..formatting import plural
from ..run.checks import numbers

Correction = Literal["holm", "bh"]
CORRECTIONS = {"holm": "Holm", "bh": "BH"}
GUARDS = {
    "holm": "Holm: the chance of any false positive among those below 0.05 is below 0.05",
    "bh": "Benjamini-Hochberg: the expected share of false positives among those below 0.05 is below 0.05",
}


def corrected(p_values: Sequence[float] | np.ndarray, method: Correction = "holm") -> np.ndarray:
    """Return adjusted p-values: compare each with the level as if it were the only one.

    Args:
        p_values: `[m]`; NaN where there is no test, which does not count as one.
        method: `holm` bounds the chance of any false positive (Holm 1979), `bh` the expected share of false positives
            among the positives (Benjamini & Hochberg 1995).

    Returns:
        `[m]`, NaN where there is no test.

    Raises:
        UserError: An unknown method, no numbers, or a p-value outside 0 … 1.
    """
    if method not in CORRECTIONS:
        raise UserError(f"method: expected one of {', '.join(CORRECTIONS)}, received {method!r}")
    p = numbers(p_values, "p_values", "table.frame['p']")
    tested = ~np.isnan(p)
    if ((p[tested] < 0) | (p[tested] > 1)).any():
        raise UserError("p_values: expected numbers from 0 to 1, or NaN where there is no test")
    result = np.full(p.shape, np.nan)
    if not tested.any():
        return result
    if method == "bh":
        result[tested] = false_discovery_control(p[tested], method="bh")
    else:
        from statsmodels.stats.multitest import multipletests  # takes a second to import

        result[tested] = multipletests(p[tested], method="holm")[1]
    return result


def with_corrected(frame: pd.DataFrame, column: str, method: Correction) -> pd.DataFrame:
    """Return the frame with corrected p-values to the right of a column of p-values, named like it with `.corrected`
    appended."""
    p_values = frame[column].to_numpy(dtype=np.float64)
    names = list(frame.columns)
    names.insert(names.index(column) + 1, f"{column}.corrected")
    return frame.assign(**{f"{column}.corrected": corrected(p_values, method)}).reindex(columns=names)


def strongest_first(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows ordered by absolute value of a column; undefined ones last."""
    size = np.abs(frame[column].to_numpy(dtype=np.float64))
    return frame.iloc[np.argsort(-size, kind="stable")].reset_index(drop=True)


def correction_note(frame: pd.DataFrame, column: str, method: Correction) -> str:
    """Return the note on the corrected p-values of a column."""
    n = int(frame[column].notna().to_numpy().sum())
    if not n:
        return "no p here to correct; intervals are not corrected."
    return f"p corrected for {n} {plural('test', n)} ({GUARDS[method]}); intervals are not corrected."
