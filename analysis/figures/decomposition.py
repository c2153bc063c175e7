"""VUSS and its parts: overlap, and sets with fewer than k tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..formatting import count, number, with_interval
from ..run.load import Run
from .fonts import legible
from .panels import (
    NARROW,
    check_states,
    finite,
    given_panels,
    inches,
    key_below,
    new_panels,
    small,
    text_width,
    tidy,
    write_message,
)
from .style import BOTH, INK, STATES, STUDENT_ONLY, TEACHER_ONLY
from .visit_ends import Moment, moments

SIZES = ("student_size", "teacher_size", "intersection_size", "union_size")
HEIGHT = 0.5
"""Height of a bar, as a share of its row; the rest is for its numbers."""
INVALID: dict[str, Any] = {"facecolor": "white", "edgecolor": INK, "hatch": "////", "linewidth": 0.4}
PARTS = {"student alone, |S| − |I|": STUDENT_ONLY, "both, |I|": BOTH, "teacher alone, |T| − |I|": TEACHER_ONLY}


@legible
def vuss_decomposition(
    run: Run,
    states: Sequence[str] = ("student", "fixed"),
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw the mean union of the two supports, cut into its parts, before and after each stage.

    A bar is as long as |U| = (|S| − |I|) + |I| + (|T| − |I|) = |S| + |T| − |I|, with the 95 % interval of |U| at its
    end; the hatched part after it, 2k − |S| − |T|, is the number of slots in both sets that are empty because of
    invalid tokens. VUSS may fall because |I| grows, which is overlap, or because the hatched part grows, which is not.
    The student's rollouts differ between bars, fixed ones do not.

    Args:
        run: A run, finished or not.
        states: On whose transcripts, one panel for each: `student`, `fixed`, `teacher` or `reference`.
        axes: Where to draw: one for each kind of states. Without them a figure is made.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [states].

    Raises:
        UserError: An unknown kind of states, or a wrong number of axes.
    """
    check_states(states)
    found = {name: _sizes(moments(run, run.probes, name)) for name in states}
    rows = [max(len(bars), 1) for bars in found.values()]
    if axes is None:
        pitch = 0.42 if width > 7 else 0.58
        size = (width, pitch * sum(rows) + 0.4 * len(rows) + (0.95 if width > NARROW else 1.65))
        panels = new_panels(max(len(states), 1), 1, size, sharex=True, gridspec_kw={"height_ratios": rows})
    else:
        panels = given_panels(axes, len(states), "one a kind of states")
    k = int(run.resolved["recipe"]["support"]["k"])
    for panel, name in zip(panels, states, strict=True):
        panel.set_title(f"On {STATES[name].label}", loc="left", fontsize=small(panel))
        _draw(panel, found[name], k)
    if any(found.values()):
        panels[-1].set_xlabel("VUSS = mean |U| (tokens)")
        parts: list[tuple[Artist, str]] = [(Patch(facecolor=color), name) for name, color in PARTS.items()]
        parts.append((Patch(**INVALID), "invalid, 2k − |S| − |T|"))
        parts.append((Line2D([], [], color="black", marker="|", linewidth=1.2), "95 % interval of |U|"))
        key_below(panels[-1], parts, f"k = {k}, intervals over utterances; n positions / n utterances")
    if axes is None:
        panels[-1].figure.draw_without_rendering()  # to compute the width of the panels
    for panel, bars in zip(panels, found.values(), strict=True):
        for row, (_, table) in enumerate(bars):
            _describe(panel, row, table, len(bars), k)
    return panels


def _sizes(found: Sequence[Moment]) -> list[tuple[Moment, pd.DataFrame]]:
    """Return estimates by statistic of each moment that has all of them."""
    tables = [(moment, moment.rows.drop_duplicates("statistic").set_index("statistic")) for moment in found]
    return [(moment, table) for moment, table in tables if set(SIZES) <= set(table.index)]


def _draw(panel: Axes, found: Sequence[tuple[Moment, pd.DataFrame]], k: int) -> None:
    if not found:
        write_message(panel)
        return
    for row, (_, table) in enumerate(found):
        student, teacher, both, union = (float(table.loc[name, "value"]) for name in SIZES)
        left = 0.0
        for (name, color), length in zip(PARTS.items(), (student - both, both, teacher - both), strict=True):
            panel.barh(row, length, left=left, height=HEIGHT, color=color, gid=name, zorder=2)
            left += length
        if (invalid := 2 * k - student - teacher) > 0:
            panel.barh(row, invalid, left=left, height=HEIGHT, zorder=2, gid="invalid", **INVALID)
        low, high = finite(table).loc["union_size", ["low", "high"]].astype(float)
        panel.errorbar(union, row, xerr=[[union - low], [high - union]], color="black", capsize=2.5, linewidth=1.2)
    panel.set_yticks(range(len(found)), [f"{moment.label}\nstep {count(moment.step)}" for moment, _ in found])
    panel.set_ylim(len(found) - 1 + 0.6 * HEIGHT, -1 + 0.4 * HEIGHT)
    panel.set_xlim(0, 2 * k)
    tidy(panel, grid="x")
    panel.tick_params(axis="y", length=0)


def _describe(panel: Axes, row: int, table: pd.DataFrame, rows: int, k: int) -> None:
    """Write the numbers of a bar above it, as detailed as the room allows."""
    student, teacher, both, union = (float(table.loc[name, "value"]) for name in SIZES)
    low, high, positions, utterances = (
        float(table.loc["union_size", name]) for name in ("low", "high", "n_positions", "n_groups")
    )
    invalid = number(100 * (2 * k - student - teacher) / (2 * k), 1)
    parts = f"|S| {number(student, 2)}, |T| {number(teacher, 2)}, |I| {number(both, 2)}, invalid {invalid} %"
    union_text = f"|U| {with_interval(union, low, high, 2)}"
    rest = f"n {count(positions)} / {count(utterances)}"
    across = 72 * inches(panel)
    size = 0.92 * small(panel)
    room = 72 * panel.get_window_extent().height / panel.figure.dpi / rows * (1 - HEIGHT)
    if text_width(line := f"{parts}, {union_text}, {rest}", size) < across:
        text = line
    elif room > 2.7 * size and max(text_width(line, size) for line in (parts, f"{union_text}, {rest}")) < across:
        text = f"{parts}\n{union_text}, {rest}"
    else:
        text = union_text
    panel.annotate(
        text, (0, row - HEIGHT / 2), (1, 1), textcoords="offset points", fontsize=size, color=INK, va="bottom"
    )
