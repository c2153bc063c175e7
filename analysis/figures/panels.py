"""Common parts of all figures: panels, text sizes, keys, rules, and messages for missing data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.textpath import TextPath
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from overlap.errors import UserError

from ..formatting import counts
from ..stages.error_rates import bootstrap_unit_text
from .fonts import drawable, families
from .style import INK, LABEL_SIZE, STATES

NOT_MEASURED = "not measured in this run"
NARROW = 5.0
"""Inches: narrower panels are for a single column."""


def new_panels(rows: int, columns: int, size: tuple[float, float], **options: Any) -> NDArray[np.object_]:
    """Return axes of a new figure, of shape [rows · columns], with text legible in a column or on a page.

    Args:
        rows: Of panels.
        columns: Of panels.
        size: Of the figure: width and height in inches.
        **options: Of `plt.subplots`.
    """
    with plt.rc_context(text_style(7.5 if size[0] < 6 else 9.0)):
        figure, made = plt.subplots(rows, columns, squeeze=False, figsize=size, layout="constrained", **options)
        if columns == 1:  # alignment keeps references to panels, even if the caller removes them
            figure.align_ylabels()
    return made.ravel()


def text_style(points: float) -> dict[Any, Any]:
    """Return settings for panels with this text size."""
    sizes = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), points)
    ticks = dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), LABEL_SIZE * points)
    return {**sizes, **ticks, "axes.linewidth": 0.6}


def one_panel(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the caller's axes, or those of a new figure of so many inches."""
    return new_panels(1, 1, (width, height))[0] if ax is None else ax


def given_panels(axes: Sequence[Axes] | NDArray[np.object_], number: int, what: str) -> NDArray[np.object_]:
    """Return the caller's axes.

    Raises:
        UserError: There are too few or too many; the message has the required number.
    """
    given = np.asarray(axes, dtype=object).ravel()
    if len(given) != number:
        raise UserError(f"axes: expected {number}, {what}, got {len(given)}")
    return given


def small(panel: Axes) -> float:
    """Return the size of keys and labels inside a panel, in points."""
    return LABEL_SIZE * panel.yaxis.label.get_fontproperties().get_size_in_points()


def inches(panel: Axes) -> float:
    """Return the width of a panel."""
    return panel.get_window_extent().width / panel.figure.dpi


def text_width(text: str, size: float) -> float:
    """Return the width of a line of text, in points."""
    shown = drawable(text)
    fonts = FontProperties(family=families(shown))
    return float(TextPath((0, 0), shown.replace("$", r"\$"), size=size, prop=fonts).get_extents().width)


def fitted(text: str, size: float, width: float) -> str:
    """Return text on as few lines as fit a width in points, broken at semicolons, and at spaces where those are not
    enough.

    A number keeps its sign: there is no break at `95 %`, `k = 8` or `n positions / n utterances`.
    """
    lines: list[str] = []
    for part in text.split("; "):
        pieces = [part] if text_width(part, size) < width else re.split(r"(?<![=/]) (?![=/%])", part)
        for number, piece in enumerate(pieces):
            joint = " " if number else "; "
            if lines and text_width(lines[-1] + joint + piece, size) < width:
                lines[-1] += joint + piece
            elif lines:
                lines[-1] += joint.rstrip()
                lines.append(piece)
            else:
                lines.append(piece)
    return "\n".join(lines)


def name_x(panel: Axes, name: str, rest: str) -> None:
    """Label the x axis `name, rest`, on two lines if it is too long for one."""
    line = f"{name}, {rest}"
    size = panel.xaxis.label.get_fontproperties().get_size_in_points()
    panel.set_xlabel(line if text_width(line, size) < 72 * inches(panel) else line.replace(", ", ",\n", 1))


def tidy(panel: Axes, grid: str = "y") -> None:
    """Draw thin ticks, no box, and rules behind the data along `grid`: `x`, `y`, `both` or none."""
    if grid:
        panel.grid(axis=grid, color="#e4e4e4", linewidth=0.6, zorder=0.5)  # pyright: ignore[reportArgumentType]
    panel.set_axisbelow(True)
    panel.tick_params(width=0.6, length=2.5)
    sns.despine(ax=panel)


def write_message(panel: Axes, text: str = NOT_MEASURED) -> None:
    """Write a message if there is nothing to draw, so missing data does not look like zero."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=INK, wrap=True)
    panel.set_yticks([])
    if len(panel.get_shared_x_axes().get_siblings(panel)) == 1:
        panel.set_xticks([])


def key_below(
    panel: Axes, entries: Iterable[tuple[Artist, str]], title: str, *, lines: float = 3.7, **options: Any
) -> Legend | None:
    """Draw a key below a panel, in as many columns as fit, at most three.

    Args:
        panel: Below which.
        entries: What is drawn, and what it is.
        title: Above the entries; wrapped if it is wider than the panel, see `fitted`.
        lines: Lines of text that the panel has below itself: ticks and a label of one line.
        **options: Of `Axes.legend`.
    """
    entries = list(entries)
    if not entries:
        return None
    size, width = small(panel), 72 * inches(panel)
    lines += 1.2 / LABEL_SIZE * panel.get_xlabel().count("\n")
    longest = max(text_width(label, size) for _, label in entries) + 5.5 * size
    columns = max(1, min(3, len(entries) // 2, int(width / longest)))
    return panel.legend(
        [artist for artist, _ in entries],
        [label for _, label in entries],
        title=fitted(title, size, width),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=panel.transAxes + ScaledTranslation(0, -lines * size / 72, panel.figure.dpi_scale_trans),
        ncols=columns,
        fontsize=size,
        title_fontsize=size,
        frameon=False,
        borderaxespad=0.2,
        handlelength=2.6,
        **options,
    )


def check_states(names: Iterable[str]) -> None:
    """Refuse unknown kinds of states.

    Raises:
        UserError: Names those there are.
    """
    unknown = [name for name in names if name not in STATES]
    if unknown:
        raise UserError(f"no states are called {unknown}; there are {', '.join(STATES)}")


def interval_units_text(evaluations: pd.DataFrame, rate: str) -> str:
    """Return bootstrap units of 95 % intervals, in words: of overlap, and of an error rate from rows of
    `inference.evaluated`."""
    if set(evaluations["over"].dropna()) <= {"utterances"}:
        return "95 % intervals over utterances"
    return f"95 % intervals of overlap over utterances, of {rate.upper()} {bootstrap_unit_text(evaluations)}"


def finite(ends: pd.DataFrame) -> pd.DataFrame:
    """Return numbers with infinite ones replaced by NaN, which is not drawn."""
    return ends.replace([np.inf, -np.inf], np.nan)


def span(rows: pd.DataFrame, column: str) -> str:
    """Return the smallest and largest count in a column, as one number if equal."""
    return counts(rows[column].astype(float)) if len(rows) else "0"
