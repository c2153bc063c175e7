"""The levels that gates compared a statistic with, and the bounds they compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..run.visits import Visit
from .style import ALARM, INK

THRESHOLD: dict[str, Any] = {"color": INK, "linestyle": (0, (6, 2)), "linewidth": 1.0}
MARK: dict[str, Any] = THRESHOLD | {"linewidth": 0.5}
LIMIT: dict[str, Any] = {"color": ALARM, "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
BOUND: dict[str, Any] = {"color": INK, "linestyle": "", "markersize": 5, "markeredgewidth": 0.8}


def draw_levels(panel: Axes, readings: pd.DataFrame, visits: Sequence[Visit], end: int) -> None:
    """Draw the levels of gates over the visits in which they read a statistic, and the bounds compared with them.

    Args:
        panel: Of one statistic, drawn already: a limit far away does not change its scale.
        readings: Rows of `gate_readings` of that statistic; those of groups are left out.
        visits: Of the run.
        end: Last training step.
    """
    whole = readings[readings["group"].isna()]
    for key, rows in whole.groupby(["visit", "side", "level"], sort=False):
        number, side, level = cast(tuple[int, str, float], key)
        visit = visits[number]
        right = end if visit.ongoing else visit.last_step
        span = (visit.first_step, max(right, visit.first_step))
        if side in ("at_least", "at_most"):
            panel.plot(span, (level, level), zorder=2.5, gid="threshold", **THRESHOLD)
            for met, part in rows.groupby("satisfied"):
                face = INK if met else "white"
                marker = "^" if side == "at_least" else "v"
                panel.plot(
                    part["step"], part["bound"], marker=marker, markerfacecolor=face, zorder=4, gid="bound", **BOUND
                )
        elif side in ("lowest", "highest") and panel.get_ylim()[0] <= level <= panel.get_ylim()[1]:
            panel.plot(span, (level, level), zorder=2.5, gid="limit", scaley=False, **LIMIT)
        elif side == "best":
            panel.plot(span, (level, level), zorder=2.5, gid="mark", scaley=False, **MARK)


def level_entries(panels: Sequence[Axes]) -> list[tuple[Artist, str]]:
    """Return entries of the key for what `draw_levels` drew."""
    drawn = {line.get_gid() for panel in panels for line in panel.lines}
    entries: dict[str, tuple[Artist, str]] = {
        "threshold": (Line2D([], [], **THRESHOLD), "threshold of the gate"),
        "bound": (Line2D([], [], marker="^", **BOUND), "bound compared with it (filled: satisfied)"),
        "mark": (Line2D([], [], **MARK), "best value so far, for a plateau gate"),
        "limit": (Line2D([], [], **LIMIT), "limit of a collapse gate"),
    }
    return [entry for name, entry in entries.items() if name in drawn]
