"""Statistics and error rate of several runs over training: one color a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from ..run.load import Run
from ..stages.error_rates import student_evaluations
from .panels import finite, key_below, say, span, tidy

MARKERS = "os^Dv<>P"
NICE = (1, 2, 2.5, 5, 10)
"""Distances between ticks, up to a power of ten."""


def draw_several(panels: NDArray, runs: Mapping[str, Run], statistics: Sequence[str], states: str) -> None:
    """Draw into panels that have their labels: a statistic each, and the error rate in the last.

    Args:
        panels: One more than statistics.
        runs: By the name that stands in the key.
        statistics: Names as in `run.probes`.
        states: On whose transcripts.
    """
    palette = sns.color_palette("colorblind", max(len(runs), 1))
    entries: list[tuple[Artist, str]] = []
    for (name, run), color, marker in zip(runs.items(), palette, cycle(MARKERS), strict=False):
        style = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.2, "gid": name}
        own = run.probes.loc[run.probes["states"] == states]
        for panel, statistic in zip(panels, statistics, strict=False):
            rows = finite(
                pd.DataFrame(own.loc[own["statistic"] == statistic, ["step", "value", "low", "high"]]).astype(float)
            )
            panel.fill_between(rows["step"], rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0)
            panel.plot(rows["step"], rows["value"], **style)
        tested = student_evaluations(run)
        if len(tested):
            columns = [f"{run.error_rate}.{end}" for end in ("value", "low", "high")]
            rates = 100 * finite(pd.DataFrame(tested[columns]).astype(float))
            value, low, high = (rates[column] for column in rates)
            panels[-1].vlines(tested["step"], low, high, color=color, linewidth=1.2)
            panels[-1].plot(tested["step"], value, **style)
        for panel in panels:
            for stay in run.visits[:-1]:  # where this run was switched: a tick of its color on the axis
                panel.plot(stay.last_step, 0.03, "|", color=color, markersize=9, transform=panel.get_xaxis_transform())
        label = f"{name}: {span(own, 'n_positions')} / {span(own, 'n_groups')}"
        entries.append((Line2D([], [], color=color, marker=marker, markersize=3.5, linewidth=1.2), label))
    for panel in panels:
        _finish(panel)
    panels[-1].set_ylim(bottom=0)
    panels[-1].set_xlabel("Training step")
    key_below(
        panels[-1],
        [*entries, (Line2D([], [], color="black", marker="|", linestyle=""), "that run's switches")],
        "One color a run; shades and bars are 95 % intervals of one run; n positions / n utterances",
    )


def _finish(panel: Axes) -> None:
    if not any(len(line.get_xdata()) for line in panel.lines if line.get_gid() is not None):  # pyright: ignore[reportArgumentType]
        say(panel, "not measured in these runs")
    panel.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=NICE))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.margins(x=0.015)
    tidy(panel)
