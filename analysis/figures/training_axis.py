"""The axis of training steps: stages behind it, their names above it, and lines that break where weights do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from ..run.load import Run
from ..run.visits import Visit
from .panels import inches, small, text_width
from .several_runs import NICE
from .style import ALARM, INK, STAGE_TINTS

SWITCH: dict[str, Any] = {"color": INK, "linestyle": "-", "linewidth": 0.8}
FALL_BACK: dict[str, Any] = {"color": ALARM, "linestyle": "--", "linewidth": 1.2}


def last_step(run: Run) -> int:
    """Return the last training step of any record of a run; 0 before the first."""
    logs = (run.metrics, run.probes, run.evaluations)
    return max((int(step) for log in logs for step in log["step"].tail(1)), default=0)


def widen_flat_axis(panel: Axes, drawn: Sequence[NDArray[np.float64]]) -> None:
    """If a statistic does not change, widen the axis so that its interval takes a fifth of the panel.

    Args:
        panel: Of one statistic, drawn already.
        drawn: Values with their lower and upper bounds, [3, probes] each; NaN where there is none.
    """
    value, low, high = np.concatenate([np.empty((3, 0)), *drawn], axis=1)
    if np.isnan(value).all() or np.isnan(low).all() or np.nanmin(value) < np.nanmax(value):
        return
    bottom, top = np.nanmin(low), np.nanmax(high)
    if top > bottom:
        panel.set_ylim(bottom - 2 * (top - bottom), top + 2 * (top - bottom))


def broken(columns: pd.DataFrame, part: pd.Series) -> NDArray[np.float64]:
    """Return columns as rows of an array, with NaN between parts to break lines."""
    breaks = np.flatnonzero(np.diff(part.to_numpy(dtype=int))) + 1
    return np.insert(columns.to_numpy(dtype=float).T, breaks, np.nan, axis=1)


def draw_stages(panel: Axes, visits: Sequence[Visit], end: int) -> None:
    """Draw the stages behind a panel, rules at their switches, and its ticks.

    Args:
        panel: Drawn already.
        visits: Of the run.
        end: Last training step.
    """
    for visit in visits:
        left = end if visit.ongoing else visit.last_step
        panel.axvspan(visit.first_step, left, color=STAGE_TINTS[visit.kind], linewidth=0, zorder=0)
    for visit in visits[:-1]:
        panel.axvline(visit.last_step, zorder=1, **(FALL_BACK if visit.decision == "fall_back" else SWITCH))
    panel.set_xlim(-0.015 * max(end, 1), 1.015 * max(end, 1))
    panel.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=NICE))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.yaxis.set_major_locator(MaxNLocator(5, steps=NICE))
    panel.grid(axis="y", color="white", linewidth=0.8, zorder=0.5)
    panel.tick_params(width=0.6, length=2.5)
    sns.despine(ax=panel)


def label_stages(panel: Axes, visits: Sequence[Visit]) -> None:
    """Write names above the stages; names that would touch are placed on the lowest free line."""
    size = small(panel)
    start, end = panel.get_xlim()
    points = 72 * inches(panel)
    taken: list[float] = []  # right end of the last label on each line, as a share of the panel's width
    for visit in visits:
        half = text_width(visit.stage, size) / 2 / points
        center = ((visit.first_step + visit.last_step) / 2 - start) / (end - start)
        center = min(max(center, half), 1 - half)
        line = next((i for i, right in enumerate(taken) if right < center - half), len(taken))
        taken[line : line + 1] = [center + half + 4 / points]
        panel.annotate(
            visit.stage,
            (center, 1),
            (0, 3 + 1.3 * size * line),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=size,
            color=INK,
            parse_math=False,
        )
