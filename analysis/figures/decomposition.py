"""VUSS taken apart: what it owes to overlap, and what to sets that are not full."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..formatting import count, interval, number
from ..load import Run
from .moments import Moment, moments
from .panels import check_states, given_panels, inches, key_below, new_panels, say, small, tidy
from .style import BOTH, INK, STATES, STUDENT_ONLY, TEACHER_ONLY

SIZES = ("student_size", "teacher_size", "intersection_size", "union_size")
PARTS = {"student alone, |S| − |I|": STUDENT_ONLY, "both, |I|": BOTH, "teacher alone, |T| − |I|": TEACHER_ONLY}


def vuss_decomposition(
    run: Run,
    states: Sequence[str] = ("student", "fixed"),
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw the mean union of the two top-k sets, cut into its parts, before and after each stage.

    A bar is as long as |U| = (|S| − |I|) + |I| + (|T| − |I|) = |S| + |T| − |I|, with the 95 % interval of |U| at its
    end; the hatched part behind it, 2k − |S| − |T|, are places in the two sets that invalid tokens left empty. VUSS may
    fall because |I| grows, which is overlap, or because the hatched part does, which is not. Own transcripts change
    from bar to bar, fixed ones do not.

    Args:
        run: A run, finished or not.
        states: On whose transcripts, a panel each: `student`, `fixed`, `teacher` or `reference`.
        axes: Where to draw: one a kind of states. Without them a figure is made.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [states].

    Raises:
        ValueError: An unknown kind of states, or a wrong number of axes.
    """
    check_states(states)
    found = {name: _sizes(moments(run, run.probes, name)) for name in states}
    bars = max([len(rows) for rows in found.values()], default=0)
    if axes is None:
        height = len(states) * (0.55 + (0.42 if width > 5 else 0.52) * max(bars, 1)) + 0.95
        panels = new_panels(len(states), 1, (width, height), sharex=True)
    else:
        panels = given_panels(axes, len(states), "one a kind of states")
    k = int(run.resolved["recipe"]["support"]["k"])
    for panel, name in zip(panels, states, strict=True):
        panel.set_title(f"On {STATES[name].label}", loc="left", fontsize=small(panel))
        _draw(panel, found[name], k)
    if bars and len(panels):
        panels[-1].set_xlabel("Tokens a position, mean")
        parts: list[tuple[Artist, str]] = [(Patch(facecolor=colour), name) for name, colour in PARTS.items()]
        parts.append((Patch(facecolor="white", edgecolor=INK, hatch="////", linewidth=0.4), "invalid, 2k − |S| − |T|"))
        parts.append((Line2D([], [], color="black", marker="|", linewidth=1.2), "95 % interval of VUSS = mean |U|"))
        key_below(panels[-1], parts, f"k = {k}; intervals over utterances; n: positions / utterances")
    return panels


def _sizes(found: Sequence[Moment]) -> list[tuple[Moment, pd.DataFrame]]:
    """Estimates by statistic of each moment that has all of them."""
    tables = [(moment, moment.rows.drop_duplicates("statistic").set_index("statistic")) for moment in found]
    return [(moment, table) for moment, table in tables if set(SIZES) <= set(table.index)]


def _draw(panel: Axes, found: Sequence[tuple[Moment, pd.DataFrame]], k: int) -> None:
    if not found:
        say(panel)
        return
    size, wide = small(panel), inches(panel) > 5
    for row, (_, table) in enumerate(found):
        student, teacher, both, union = (float(table.loc[name, "value"]) for name in SIZES)
        low, high = (float(table.loc["union_size", end]) for end in ("low", "high"))
        left = 0.0
        for (name, colour), length in zip(PARTS.items(), (student - both, both, teacher - both), strict=True):
            panel.barh(row, length, left=left, height=0.5, color=colour, gid=name, zorder=2)
            left += length
        missing = 2 * k - student - teacher
        if missing > 0:
            panel.barh(
                row, missing, left=left, height=0.5, color="white", edgecolor=INK, hatch="////", linewidth=0.4, zorder=2
            )
        panel.errorbar(union, row, xerr=[[union - low], [high - union]], color="black", capsize=2.5, linewidth=1.2)
        words = (
            f"|S| {number(student, 2)}, |T| {number(teacher, 2)}, |I| {number(both, 2)}",
            f"|U| {number(union, 2)} {interval(low, high, 2)}, invalid {number(100 * missing / (2 * k), 1)} %, "
            f"n {count(table.loc['union_size', 'n_positions'])} / {count(table.loc['union_size', 'n_groups'])}",
        )
        text = ", ".join(words) if wide else "\n".join(words)
        panel.annotate(
            text, (0, row - 0.28), (1, 1), textcoords="offset points", fontsize=0.92 * size, color=INK, va="bottom"
        )
    panel.set_yticks(range(len(found)), [f"{moment.label}\nstep {count(moment.step)}" for moment, _ in found])
    panel.set_ylim(len(found) - 0.65, -0.85 if wide else -1.0)
    panel.set_xlim(0, 2 * k)
    tidy(panel, grid="x")
    panel.tick_params(axis="y", length=0)
