"""Where the positions of a probe went."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from overlap.funnel import BINS, Funnel

from ..formatting import count, number
from ..load import Run
from .moments import Moment, moments
from .panels import check_states, key_below, one_panel, say, small, tidy
from .style import INK, STATES


def funnel(run: Run, states: str = "student", ax: Axes | None = None, *, width: float = 8.0) -> Axes:
    """Draw how many positions of the probe set fell into each bin between the transcripts and the loss.

    A bar a bin, for the run's start and for the end of each stage, with count and share of all positions. A bin that
    nothing fell into is written as 0.

    Args:
        run: A run, finished or not.
        states: On whose transcripts.
        ax: Where to draw. Without it a figure is made.
        width: Of the figure that is made, in inches.

    Raises:
        ValueError: An unknown kind of states.
    """
    check_states([states])
    found = funnels(run, states)
    panel = one_panel(ax, width, 0.13 * max((len(BINS) + 1) * (len(found) + 0.8), 10) + 0.9 + 0.1 * len(found))
    panel.set_xlabel(f"Positions of the probe set, on {STATES[states].label}")
    if not found:
        say(panel)
        return panel
    names = ("positions", *BINS)
    thick = 0.82 / len(found)
    entries: list[tuple[Artist, str]] = []
    for row, (moment, counted) in enumerate(found):
        counts = [counted.total, *counted.counts.values()]
        places = np.arange(len(names)) + thick * (row - (len(found) - 1) / 2)
        panel.barh(places, counts, height=0.9 * thick, color=moment.colour, zorder=2, gid=moment.name)
        entries.append((Patch(facecolor=moment.colour), f"{moment.name}: {count(counted.total)} positions"))
        for place, n in zip(places, counts, strict=True):
            share = f" ({number(100 * n / counted.total, 1)} %)" if n and counted.total else ""
            panel.annotate(
                f"{count(n)}{share}",
                (n, place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=0.85 * small(panel),
                color=INK if n else "#8a8a8a",
            )
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlim(0, 1.3 * max(1, *(counted.total for _, counted in found)))
    tidy(panel, grid="x")
    panel.tick_params(axis="y", length=0)
    key_below(panel, entries, "Every position is in one bin")
    return panel


def funnels(run: Run, states: str) -> list[tuple[Moment, Funnel]]:
    """The funnel of each moment that has one."""
    found = []
    for moment in moments(run, run.probes, states):
        rows: pd.DataFrame = moment.rows.loc[moment.rows["statistic"].str.startswith("funnel.")]
        if len(rows):
            counts = dict(zip(rows["statistic"].str.removeprefix("funnel."), rows["value"].astype(int), strict=True))
            found.append((moment, Funnel(counts)))
    return found
