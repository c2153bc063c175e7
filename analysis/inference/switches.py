"""Does a quantity change at a stage switch more than it was changing anyway?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from overlap.bootstrap import DRAWS, check

from ..formatting import count, decimals, interval, number, signed
from ..printed import PrintedTable
from ..run.load import Run
from ..run.visits import visit_numbers, visits

LEAST = 4
"""Points on a side below which the wiggle around its line is not known."""


@dataclass(frozen=True)
class SwitchChange:
    """Two straight lines that meet, or do not, at a switch.

    Attributes:
        jump: What the later line gives at the switch minus what the earlier gives there.
        jump_low: Lower end of its interval; NaN with fewer than four points on either side.
        jump_high: Upper end.
        slope_before: Change a step of the earlier line.
        slope_after: Of the later.
        slope_change: slope_after − slope_before.
        slope_low: Lower end of the interval of the change of slope.
        slope_high: Upper end.
        n_before: Points before.
        n_after: Points after.
        block: Points resampled together.
    """

    jump: float
    jump_low: float
    jump_high: float
    slope_before: float
    slope_after: float
    slope_change: float
    slope_low: float
    slope_high: float
    n_before: int
    n_after: int
    block: int


def change_at(
    steps: Sequence[float] | np.ndarray,
    values: Sequence[float] | np.ndarray,
    switch: float,
    *,
    block: int | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> SwitchChange:
    """Fit a line on either side of a known switch, and the jump between them, by least squares.

    The interval is from a moving-block bootstrap of each side's residuals (Künsch 1989), widened for the two
    parameters of each line: neighbouring readings wiggle together. It says what other wiggles of this run would have
    given, not what other utterances or seeds would. A curve that is not straight shows as a jump, so look at the series
    and keep to a window around the switch.

    Args:
        steps: `[n]` training steps of the readings.
        values: `[n]` readings; NaN is left out.
        switch: Step of the switch. A reading at the switch itself counts as before: no step was taken since.
        block: Readings resampled together; without it the cube root of the shorter side's length.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.

    Raises:
        ValueError: Steps and values differ in length, or a setting is out of range.
    """
    check(level, draws)
    t, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.ndim != 1 or t.shape != y.shape:
        raise ValueError(f"expected a value a step, received {list(t.shape)} steps and {list(y.shape)} values")
    if block is not None and block < 1:
        raise ValueError(f"block: expected at least 1 reading, received {block!r}")
    t, y = t[~np.isnan(y)] - switch, y[~np.isnan(y)]
    order = np.argsort(t, kind="stable")
    t, y = t[order], y[order]
    sides = [(t[side], y[side]) for side in (t <= 0, t > 0)]
    lengths = [len(times) for times, _ in sides]
    block = max(1, round(min(lengths) ** (1 / 3))) if block is None else min(block, max(1, *lengths))
    fits = [_line(times, values[None]) for times, values in sides]
    (level_before, slope_before), (level_after, slope_after) = (fit[:, 0] for fit in fits)
    jump, bend = level_after - level_before, slope_after - slope_before
    ends = [math.nan] * 4
    if min(lengths) >= LEAST:
        generator = np.random.default_rng(seed)
        errors = [
            _line(times, _residual_draws(times, readings, fit[:, 0], min(block, len(times)), draws, generator))
            for (times, readings), fit in zip(sides, fits, strict=True)
        ]
        moved = errors[1] - errors[0]  # of level and slope, around 0
        low, high = np.quantile(moved, [(1 - level) / 2, (1 + level) / 2], axis=1)
        ends = [jump - high[0], jump - low[0], bend - high[1], bend - low[1]]
    return SwitchChange(
        jump=float(jump),
        jump_low=float(ends[0]),
        jump_high=float(ends[1]),
        slope_before=float(slope_before),
        slope_after=float(slope_after),
        slope_change=float(bend),
        slope_low=float(ends[2]),
        slope_high=float(ends[3]),
        n_before=lengths[0],
        n_after=lengths[1],
        block=block,
    )


def _line(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`[2, draws]` level at time 0 and slope of the least-squares line through each row of values."""
    if len(np.unique(times)) < 2:
        return np.full((2, len(values)), np.nan)
    design = np.stack([np.ones(len(times)), times], 1)
    return np.linalg.pinv(design) @ values.T


def _residual_draws(
    times: np.ndarray, values: np.ndarray, line: np.ndarray, block: int, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """`[draws, n]` residuals in blocks, as wide as noise would have to be to leave the residuals of a fit."""
    n = len(times)
    residuals = (values - line[0] - line[1] * times) * math.sqrt(n / (n - 2))
    starts = generator.integers(n - block + 1, size=(draws, math.ceil(n / block)))
    chosen = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :n]
    return residuals[chosen]


def switch_changes(
    run: Run,
    statistics: Sequence[str] = ("union_size", "top1_agreement", "total_variation"),
    states: str = "teacher",
    *,
    block: int | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> PrintedTable:
    """Change of level and slope of probed statistics at every switch of a run, from the stay before to the one after.

    Args:
        run: A run with probes.
        statistics: Names as in `probes.parquet`.
        states: On whose transcripts: `teacher`, `fixed`, `reference`, or `student`, where rollouts change as well.
        block: See `change_at`.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.

    Raises:
        ValueError: These states or statistics were not probed.
    """
    probes = run.probes.assign(visit=visit_numbers(run.probes)).loc[run.probes["states"] == states]
    missing = [name for name in statistics if name not in set(probes["statistic"])]
    if missing:
        kinds = ", ".join(sorted(set(run.probes["states"]))) or "none"
        raise ValueError(f"{run.path}: {missing[0]!r} was not probed on states {states!r}; probed states are {kinds}")
    rows = []
    for before, after in pairwise(visits(run)):
        for name in statistics:
            series = probes.loc[(probes["statistic"] == name) & probes["visit"].isin([before.number, after.number])]
            # The stage's first probe repeats the last one of the stage before: same weights, same transcripts.
            series = series.loc[(series["visit"] == before.number) | (series["step"] > after.first_step)]
            found = change_at(
                series["step"].to_numpy(),
                series["value"].to_numpy(),
                after.first_step,
                block=block,
                level=level,
                draws=draws,
                seed=seed,
            )
            place = {"from": before.stage, "to": after.stage, "step": after.first_step, "statistic": name}
            rows.append(place | {field: getattr(found, field) for field in found.__dataclass_fields__})
    columns = ["from", "to", "step", "statistic", *SwitchChange.__dataclass_fields__]
    return _printed(pd.DataFrame(rows, columns=columns), states, level)


def _printed(frame: pd.DataFrame, states: str, level: float) -> PrintedTable:
    percent = f"[{100 * level:g} %]"
    heading = ["switch", "step", "statistic", f"jump {percent}", "slope", f"change of slope {percent}", "n probes"]
    rows = []
    for row in frame.to_dict("records"):
        digits = decimals((row["jump_high"] - row["jump_low"]) / 4)
        slope = decimals(100 * (row["slope_high"] - row["slope_low"]) / 4)
        rows.append(
            [
                *(f"{row['from']} → {row['to']}", count(row["step"]), str(row["statistic"])),
                f"{signed(row['jump'], digits)} {interval(row['jump_low'], row['jump_high'], digits)}",
                " → ".join(number(100 * row[f"slope_{side}"], slope) for side in ("before", "after")),
                f"{signed(100 * row['slope_change'], slope)} "
                f"{interval(100 * row['slope_low'], 100 * row['slope_high'], slope)}",
                ", ".join(count(row[f"n_{side}"]) for side in ("before", "after")),
            ]
        )
    notes = [
        f"A line through the probes of the stage before a switch and one through those after it, states {states!r}; "
        "slopes are a change in 100 steps. A curve that is not straight shows as a jump: look at the figure as well.",
        f"[ ]: moving-block bootstrap of the residuals; – with fewer than {LEAST} probes on a side. Other utterances "
        "or seeds are not in it: see stage_changes.",
    ]
    return PrintedTable(frame, heading, rows, notes, left=3)
