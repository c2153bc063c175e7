"""What rules for single positions would keep, and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..formatting import count, number
from ..run.load import Run
from .cells import cell_text_size, readable
from .fonts import legible
from .panels import fitted, given_panels, inches, key_below, new_panels, small, span, tidy, write_message
from .style import INK

KEPT, WEIGHT = "#0173b2", "#de8f05"
MAP = "cividis"
"""Perceptually uniform, and the same to readers who do not tell red from green."""


@legible
def shadow_rules(
    run: Run,
    step: int | None = None,
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw what rules for single positions would keep on the student's rollouts, and how alike their choices are.

    Above the share of positions that each rule keeps and its mean weight, with 95 % intervals over utterances. Below
    it every two rules: below the diagonal the Jaccard index of the positions that they keep, above it the
    Spearman correlation of their weights. Training does not use these numbers.

    Args:
        run: A run with `token_rules`.
        step: Training step of the probe; by default the last that has a panel.
        axes: Where to draw, two panels. Without them a figure is made.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [2].

    Raises:
        UserError: A wrong number of axes.
    """
    rows = run.token_rules
    rows = rows.loc[(rows["step"] == (rows["step"].iloc[-1] if len(rows) and step is None else step))]
    rows = rows.loc[rows["visit"] == rows["visit"].max()]
    names = list(dict.fromkeys(rows["rule"]))
    if axes is None:
        panels = new_panels(2, 1, (width, 2 * (0.26 * max(len(names), 4) + 1.6)))
    else:
        panels = given_panels(axes, 2, "one for shares and one for pairs")
    shares, pairs = panels
    if rows.empty:
        for panel in panels:
            write_message(panel)
        return panels
    _draw_shares(shares, rows, names)
    _draw_pairs(pairs, rows, names)
    return panels


def _draw_shares(panel: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    entries: list[tuple[Artist, str]] = []
    styles = (("kept", "share kept", KEPT, "o", -0.14), ("weight", "mean weight", WEIGHT, "s", 0.14))
    for quantity, label, color, marker, shift in styles:
        part = rows.loc[rows["quantity"] == quantity].set_index("rule").loc[list(names)]
        y = np.arange(len(names)) + shift
        value, low, high = (part[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
        panel.hlines(y, low, high, color=color, linewidth=1.4, zorder=2)
        look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4, "linestyle": ""}
        panel.plot(value, y, zorder=3, gid=quantity, **look)
        entries.append((Line2D([], [], **look), label))
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlim(left=-0.03)
    panel.set_xlabel("Share kept, mean weight")
    tidy(panel, grid="x")
    panel.tick_params(axis="y", length=0)
    place = rows.iloc[0]
    weights = rows.loc[rows["quantity"] == "weight"]
    n = f"{span(weights, 'n_positions')} / {span(weights, 'n_groups')}"
    title = f"{place['stage']}, step {count(place['step'])}; 95 % intervals; n positions / n utterances: {n}"
    key_below(panel, entries, title)


def _draw_pairs(panel: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    colors, scale = mpl.colormaps[MAP], Normalize(-1, 1)
    n = len(names)
    grid = np.full((n, n), np.nan)
    place = {name: i for i, name in enumerate(names)}
    for row in rows.loc[rows["other"].notna()].to_dict("records"):
        i, j = sorted((place[row["rule"]], place[row["other"]]))
        here = (j, i) if row["quantity"] == "jaccard" else (i, j)
        grid[here] = float(row["value"])
    panel.imshow(np.ma.masked_invalid(grid), cmap=colors, norm=scale, aspect="auto", gid="pairs")
    size, _ = cell_text_size(panel, max(n, 1))
    for (i, j), value in np.ndenumerate(grid):
        if i != j:
            defined = not np.isnan(value)
            ink = readable(colors(scale(value))[:3]) if defined else INK
            panel.text(j, i, number(float(value), 2), ha="center", va="center", fontsize=0.9 * size, color=ink)
    labels = [name.replace("_", " ") for name in names]
    panel.set_xticks(range(n), labels, rotation=35, ha="right", rotation_mode="anchor")
    panel.set_yticks(range(n), labels)
    panel.tick_params(length=0)
    for side in panel.spines.values():
        side.set_visible(False)
    style: dict[str, Any] = {"fontsize": small(panel), "color": INK}
    panel.set_title(
        fitted("below: Jaccard of kept positions; above: Spearman of weights", small(panel), 72 * inches(panel)),
        loc="left",
        **style,
    )
