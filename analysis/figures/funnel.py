"""The position funnel of a probe."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter

from overlap.estimates.funnel import BINS, Funnel

from ..formatting import count, number
from ..run.load import Run
from ..stages.probe_reading import funnel_of
from .fonts import legible
from .panels import check_states, inches, key_below, name_x, one_panel, small, tidy, write_message
from .style import INK, STATES
from .visit_ends import Moment, moments

GAP = 0.7
"""Between bins, in bars."""
PITCH = 0.14
"""Inches a bar."""


@legible
def funnel(run: Run, states: str = "student", ax: Axes | None = None, *, width: float = 8.0) -> Axes:
    """Draw the position funnel: positions of the probe set, used or left out, by reason.

    One bar for each bin, for the run's start and the end of each stage, with count and share of all positions. A bin
    that is always empty is one line with 0. The used positions also have the number in transcripts that did not end.

    Args:
        run: A run, finished or not.
        states: On whose transcripts.
        ax: Where to draw. Without it a figure is made.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: An unknown kind of states.
    """
    check_states([states])
    found = funnels(run, states)
    filled = {name: name == "positions" or any(counted[name] for _, counted in found) for name in ("positions", *BINS)}
    bins = [name for name in filled if name != "refused" or filled[name]]  # a probe refuses none
    lines = sum((len(found) if filled[name] else 1) + GAP for name in bins)
    panel = one_panel(ax, width, PITCH * max(lines, 12) + 0.8 + (0.09 if width > 5 else 0.18) * len(found))
    name_x(panel, "Positions", f"on {STATES[states].label}")
    if not found:
        write_message(panel)
        return panel
    size = min(0.9 * small(panel), 0.85 * 72 * panel.get_window_extent().height / panel.figure.dpi / lines)
    top, middles = 0.0, []
    for name in bins:
        if filled[name]:
            _draw_bars(panel, name, found, top, size)
        else:
            _write(panel, 0, top, "0, each time" if len(found) > 1 else "0", size)
        rows = len(found) if filled[name] else 1
        middles.append(top + (rows - 1) / 2)
        top += rows + GAP
    panel.set_yticks(middles, [name.replace("_", " ") for name in bins])
    panel.set_ylim(top - 0.5, -0.5 - GAP)
    panel.set_xlim(0, (1.3 if inches(panel) > 2.6 else 1.7) * max(1, *(counted.total for _, counted in found)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    tidy(panel, grid="x")
    panel.tick_params(axis="y", length=0)
    entries: list[tuple[Artist, str]] = [(Patch(facecolor=moment.color), moment.name) for moment, _ in found]
    key_below(panel, entries, "Counts and shares of all positions; each position is in one bin")
    return panel


def funnels(run: Run, states: str) -> list[tuple[Moment, Funnel]]:
    """Return the funnel of each moment that has one."""
    found = []
    for moment in moments(run, run.probes, states):
        if (counted := funnel_of(moment.rows)) is not None:
            found.append((moment, counted))
    return found


def _draw_bars(panel: Axes, name: str, found: Sequence[tuple[Moment, Funnel]], top: float, size: float) -> None:
    """Draw one bar for each moment, the first at the height `top`."""
    for row, (moment, counted) in enumerate(found):
        n = counted.total if name == "positions" else counted[name]
        panel.barh(top + row, n, height=0.9, color=moment.color, zorder=2, gid=f"{name}, {moment.name}")
        share = f" ({number(100 * n / counted.total, 1)} %)" if n and name != "positions" else ""
        if name == "used" and counted.used_unfinished:
            share += f", {count(counted.used_unfinished)} unfinished"
        _write(panel, n, top + row, count(n) + share, size)


def _write(panel: Axes, x: float, y: float, text: str, size: float) -> None:
    panel.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=size, color=INK)
