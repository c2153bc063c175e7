"""Results of this project's study of the demo, quoted by thresholds and notebooks.

`staging.csv` beside this file is a copy of the study's table, made by `python -m tests.studies.shipped`.
"""

from __future__ import annotations

from importlib import resources
from typing import Literal

import pandas as pd

from ..formatting import count, number, plural, signed

BEGUN = ("gated", "early", "direct")
"""Schedules with on-policy distillation, ordered by decreasing amount of teacher data before it."""


def staging() -> pd.DataFrame:
    """Return the four schedules of the demo (README, *What the switch decides*): a row a schedule and seed.

    Returns:
        `arm` (`gated`: teacher data until the gate opens, then OPD; `early`: a few steps of it; `direct`: none; `td`:
        teacher data to the end), `seed`, `switch` (step), error rates as shares, `WER Base` and at the end `WER` with
        its 95 % interval `low` … `high`, `n` utterances, and overlap on the student's rollouts
        at the switch and at the end: `VUSS …`, `top-1 …`, `TV …`, `mass …` (the student's on the teacher's set),
        `entropy …`.
    """
    with (resources.files("analysis.report") / "staging.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def results_by_start(column: Literal["top-1", "mass"]) -> str:
    """Return results of the demo's OPD by the level at which it began, in one line.

    Args:
        column: Of `staging`, whose value at the switch is shown.

    Returns:
        For each schedule, the smallest and the largest result over seeds: `error rate after OPD less Base's, points:
        −15.0 to −10.0 from 0.90, …`.
    """
    frame, parts = staging(), []
    for arm in BEGUN:
        rows = frame.loc[frame["arm"] == arm]
        gained, level = 100 * (rows["WER"] - rows["WER Base"]), rows[f"{column} at switch"]
        parts.append(f"{_ends(gained, 1, sign=True)} from {_ends(level, 2)}")
    seeds = len(set(frame["seed"].tolist()))
    return (
        f"error rate after OPD less Base's, points: {', '.join(parts)} (demo, {count(seeds)} {plural('seed', seeds)})"
    )


def gated_improvement() -> str:
    """Return the distance below Base's error rate at the end of gated OPD, in words."""
    frame = staging()
    rows = frame.loc[frame["arm"] == "gated"]
    return f"{_ends(100 * (rows['WER Base'] - rows['WER']), 1)} points below Base on {count(len(rows))} seeds"


def _ends(values: pd.Series, digits: int, *, sign: bool = False) -> str:
    """Return the smallest and largest value; one number if they print the same."""
    ends = [signed(value, digits) if sign else number(value, digits) for value in (values.min(), values.max())]
    return " to ".join(dict.fromkeys(ends))
