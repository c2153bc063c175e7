"""Jumps and changes of slope at a stage switch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import optimize, stats

from overlap.definitions import canonical
from overlap.errors import UserError
from overlap.estimates.estimate import Estimate

from ..formatting import count, decimals, number, with_interval
from ..printed_table import PrintedTable
from ..run.checks import numbers, want_run
from ..run.load import Run

AUTOCORRELATIONS = np.linspace(0, 0.95, 20)
"""Autocorrelations of the noise of two readings at the median distance."""
LEAST = 4
"""Least number of points on a side for estimating the noise around its line."""


@dataclass(frozen=True)
class SwitchChange:
    """Two straight lines, before and after a switch.

    Attributes:
        jump: Value of the later line at the switch minus that of the earlier line; without an interval with fewer than
            four points on either side, as `slope_change`.
        slope_before: Change per step of the earlier line.
        slope_after: Of the later.
        slope_change: slope_after − slope_before.
        n_before: Points before.
        n_after: Points after.
    """

    jump: Estimate
    slope_before: float
    slope_after: float
    slope_change: Estimate
    n_before: int
    n_after: int

    def row(self) -> dict[str, float]:
        """The numbers of the columns of `switch_changes`."""
        numbers = (
            *(self.jump.value, self.jump.low, self.jump.high, self.slope_before, self.slope_after),
            *(self.slope_change.value, self.slope_change.low, self.slope_change.high, self.n_before, self.n_after),
        )
        return dict(zip(COLUMNS, numbers, strict=True))


COLUMNS = (
    *("jump", "jump_low", "jump_high", "slope_before", "slope_after"),
    *("slope_change", "slope_low", "slope_high", "n_before", "n_after"),
)
"""Of the frame of `switch_changes`, behind the place of the switch."""


def change_at(
    steps: Sequence[float] | np.ndarray | pd.Series,
    values: Sequence[float] | np.ndarray | pd.Series,
    switch: float,
    *,
    level: float = 0.95,
) -> SwitchChange:
    """Fit a line on either side of a known switch, and the jump between them, by least squares.

    The interval accounts for correlated noise of neighboring readings. It assumes lines with first-order
    autoregressive noise of equal variance on both sides, and averages over autocorrelations from 0 to 0.95, weighted by
    their likelihood (Zellner & Tiao, JASA 1964, with a uniform prior there and flat priors for lines and variance).
    `tests/studies/test_coverage.py` measures its coverage. It covers other noise of this run, not other utterances or
    seeds. A curved series also appears as a jump: look at the series, and use a window around the switch.

    Args:
        steps: `[n]` training steps of the readings, no two alike.
        values: `[n]` readings; NaN is left out.
        switch: Step of the switch. A reading at the switch itself counts as before, because no step was taken since.
        level: Coverage.

    Raises:
        UserError: No numbers, steps and values differ in length, a step occurs twice, or the level is out of range.
    """
    if not 0 < level < 1:
        raise UserError(f"level: expected a coverage between 0 and 1, such as 0.95, received {level!r}")
    t, y = numbers(steps, "steps", "rows['step']"), numbers(values, "values", "rows['value']")
    if t.ndim != 1 or t.shape != y.shape:
        raise UserError(
            f"expected one value for each step, received {list(t.shape)} steps and {list(y.shape)} "
            "values; give both the same length"
        )
    t, y = t[~np.isnan(y)] - switch, y[~np.isnan(y)]
    order = np.argsort(t, kind="stable")
    t, y = t[order], y[order]
    twice = t[1:][np.diff(t) == 0]
    if len(twice):
        raise UserError(f"steps: {twice[0] + switch:g} occurs twice; give one reading for each step")
    sides = [t <= 0, t > 0]
    (level_before, slope_before), (level_after, slope_after) = (_line(t[side], y[side]) for side in sides)
    jump, bend = level_after - level_before, slope_after - slope_before
    lengths = [int(side.sum()) for side in sides]
    ends = [math.nan] * 4
    if min(lengths) >= LEAST:
        ends = _ends(t, y, np.array([level_before, slope_before, jump, bend]), level)
    counted = {"standard_error": math.nan, "n_positions": sum(lengths), "n_groups": 0, "level": level}
    return SwitchChange(
        jump=Estimate(value=float(jump), low=ends[0], high=ends[1], **counted),
        slope_before=float(slope_before),
        slope_after=float(slope_after),
        slope_change=Estimate(value=float(bend), low=ends[2], high=ends[3], **counted),
        n_before=lengths[0],
        n_after=lengths[1],
    )


def _line(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the level at time 0 and slope of the least-squares line."""
    if len(times) < 2:
        return np.full(2, np.nan)
    return np.linalg.lstsq(_design(times), values, rcond=None)[0]


def _design(times: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(times), times], 1)


def _ends(t: np.ndarray, y: np.ndarray, fitted: np.ndarray, level: float) -> list[float]:
    """Return both bounds of the intervals of the jump and of the change of slope."""
    lines = _design(t)
    design = np.concatenate([lines, lines * (t > 0)[:, None]], 1)
    if np.square(y - design @ fitted).sum() <= 1e-20 * np.square(y).sum():  # the points are exactly on the lines
        return [float(fitted[2])] * 2 + [float(fitted[3])] * 2
    free = len(t) - design.shape[1]
    apart = np.abs(t[:, None] - t) / np.median(np.diff(t))
    weights, middles, widths = [], [], []
    for correlation in AUTOCORRELATIONS:
        root = np.linalg.cholesky(np.where(apart > 0, correlation**apart, 1.0))
        x, z = np.linalg.solve(root, design), np.linalg.solve(root, y)
        spread = np.linalg.inv(x.T @ x)
        found = spread @ x.T @ z
        squares = np.square(z - x @ found).sum()
        logs = -np.log(np.diag(root)).sum() + np.linalg.slogdet(spread)[1] / 2 - free / 2 * np.log(squares)
        weights.append(logs)
        middles.append(found[2:])
        widths.append(np.sqrt(np.diag(spread)[2:] * squares / free))
    weight, middle, width = np.exp(np.array(weights) - max(weights)), np.array(middles), np.array(widths)
    weight /= weight.sum()
    far = stats.t.ppf(1 - (1 - level) / 100, free) * width
    brackets = np.stack([(middle - far).min(0), (middle + far).max(0)], 1)

    def probability_minus_tail(x: float, of: int, tail: float) -> float:
        return float(weight @ stats.t.cdf((x - middle[:, of]) / width[:, of], free)) - tail

    return [
        float(optimize.root_scalar(probability_minus_tail, args=(of, tail), bracket=tuple(brackets[of])).root)
        for of in (0, 1)
        for tail in ((1 - level) / 2, (1 + level) / 2)
    ]


def switch_changes(
    run: Run,
    statistics: Sequence[str] = ("union_size", "top1_agreement", "total_variation"),
    states: str = "teacher",
    *,
    level: float = 0.95,
) -> PrintedTable:
    """Return the change of level and slope of probed statistics at every switch of a run, between the visits before and
    after it.

    Args:
        run: A run with probes.
        statistics: Names as in `run.probes`.
        states: On whose transcripts: `teacher`, `fixed`, `reference`, or `student`, where rollouts change as well.
        level: Coverage.

    Raises:
        UserError: These states or statistics were not probed.
    """
    want_run(run)
    statistics = [canonical(name) for name in statistics]
    probes = run.probes.loc[run.probes["states"] == states]
    missing = [name for name in statistics if name not in set(probes["statistic"])]
    if missing:
        kinds = ", ".join(sorted(set(run.probes["states"]))) or "none"
        raise UserError(f"{run.path}: {missing[0]!r} was not probed on states {states!r}; probed states are {kinds}")
    rows = []
    for before, after in pairwise(run.visits):
        for name in statistics:
            series = probes.loc[(probes["statistic"] == name) & probes["visit"].isin([before.number, after.number])]
            # The stage's first probe repeats the last one of the stage before: same weights, same transcripts.
            series = series.loc[(series["visit"] == before.number) | (series["step"] > after.first_step)]
            found = change_at(series["step"], series["value"], after.first_step, level=level)
            place = {"from": before.stage, "to": after.stage, "step": after.first_step, "statistic": name}
            rows.append(place | found.row())
    columns = ["from", "to", "step", "statistic", *COLUMNS]
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
                with_interval(row["jump"], row["jump_low"], row["jump_high"], digits, sign=True),
                " → ".join(number(100 * row[f"slope_{side}"], slope) for side in ("before", "after")),
                with_interval(row["slope_change"], row["slope_low"], row["slope_high"], slope, 100, sign=True),
                ", ".join(count(row[f"n_{side}"]) for side in ("before", "after")),
            ]
        )
    notes = [
        f"A line through the probes of the stage before a switch and one through those after it, states {states!r}; "
        "slopes are a change in 100 steps. A curved series shows as a jump: look at the figure as well.",
        f"[ ]: for correlated noise of neighboring probes; – with fewer than {LEAST} probes on a side. Other "
        "utterances or seeds are not included: see stage_changes.",
    ]
    return PrintedTable(frame, heading, rows, notes, left=3)
