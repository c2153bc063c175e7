"""Rows that a run has twice: refused where they are read, because every measurement is of one place in the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from overlap.errors import UserError

_PLACE = ("step", "visit")
ONCE = {
    "metrics.jsonl": _PLACE,
    "decisions.jsonl": (*_PLACE, "gate", "decision"),
    "evaluations.jsonl": (*_PLACE, "set", "model"),
    "probes": (*_PLACE, "states", "statistic"),
    "probe_sums": (*_PLACE, "states", "id", "statistic"),
    "signal": (*_PLACE, "states", "statistic", "quantity"),
    "calibration": (*_PLACE, "states", "model", "unit", "quantity", "bin"),
    "no_speech": (*_PLACE, "model", "clip"),
    "probe_groups": (*_PLACE, "states", "field", "group", "statistic"),
    "token_rules": (*_PLACE, "states", "rule", "other", "quantity"),
    "windows": (*_PLACE, "states", "window", "statistic"),
    "traces": (*_PLACE, "states", "id"),
    "transcripts": ("id",),
}
"""By log, or by folder of tables, the columns that tell its rows apart."""


def check_once(parts: Sequence[tuple[Path, pd.DataFrame]], key: Sequence[str], noun: str = "row") -> None:
    """Refuse rows that occur twice, in one file or in two.

    Args:
        parts: Files with their rows; indices count the rows of the file from 0.
        key: Columns that tell rows apart, see `ONCE`.
        noun: What a row of such a file is called.

    Raises:
        UserError: Names both rows with their files, and what they share.
    """
    filled = [(path, frame) for path, frame in parts if len(frame)]
    keys = pd.concat([frame[list(key)] for _, frame in filled], ignore_index=True) if filled else pd.DataFrame()
    again = keys.duplicated().to_numpy(dtype=bool)
    if not again.any():
        return
    second = int(again.argmax())
    comparable = keys.astype(object).fillna("").to_numpy()
    first = int((comparable == comparable[second]).all(axis=1).argmax())
    places = [(path, int(at) + 1) for path, frame in filled for at in frame.index]
    (earlier, before), (path, number) = places[first], places[second]
    what = ", ".join(f"{name} {value!r}" for name, value in keys.astype(object).iloc[second].items())
    if path == earlier:
        raise UserError(f"{path}, {noun} {number}: {what} is also in {noun} {before}; remove one of the two")
    raise UserError(
        f"{path}, {noun} {number}: {what} is also in {earlier}, {noun} {before}; one of the files is a copy or of "
        "another run: remove it"
    )
