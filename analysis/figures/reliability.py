"""Reliability diagrams: are tokens or words right as often as their probability says?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from overlap.calibration import Calibration
from overlap.errors import UserError

from ..formatting import count, counts, number
from ..run.against_references import calibration_readings
from ..run.load import Run
from .fonts import legible
from .panels import check_states, fitted, given_panels, inches, new_panels, small, tidy, write_message
from .style import INK
from .visit_ends import Moment, moments

Unit = Literal["token", "word"]
MODELS = ("student", "teacher")
MOST = 6
"""Columns at most: the start and the latest ends of stages."""
_ENDS = ("value", "low", "high")


@legible
def reliability(
    run: Run,
    unit: Unit = "token",
    states: str = "student",
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw reliability diagrams of student and teacher, a column for the start and for the end of each stage.

    Tokens (or words) are in bins of equal mass by their probability, the least probable on the left. A bar is the
    bin's mean probability, the dot the share that is right, with its 95 % interval: a dot below its bar is
    overconfidence. Both models' probabilities are of what the student wrote.

    Args:
        run: A run whose probe set has texts, finished or not.
        unit: `token` or `word`; the probability of a word is the product of its tokens'.
        states: On whose transcripts.
        axes: Two axes for each moment, the student's first, then the teacher's. Without them a figure is made.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [2 · moments].

    Raises:
        UserError: An unknown unit or kind of states, or a wrong number of axes.
    """
    check_states([states])
    if unit not in get_args(Unit):
        raise UserError(f"unit: expected {' or '.join(get_args(Unit))}, received {unit!r}")
    found = calibrations(run, unit, states)
    columns = max(len(found), 1)
    if axes is None:
        panels = new_panels(2, columns, (width, 2 * (1.5 if width < 6 else 1.8) + 1.1), sharex=True, sharey=True)
    else:
        panels = given_panels(axes, 2 * columns, "two a moment: the student's in order, then the teacher's")
    for place, panel in enumerate(panels):
        model, column = MODELS[place // columns], place % columns
        readings = found[column][1] if found else {}
        _draw_panel(panel, readings.get(model), found[column][0] if found else None)
        if column == 0:
            panel.set_ylabel(f"{model.capitalize()}'s,\n% of {unit}s")
        if place < columns and found:
            label = fitted(found[column][0].label, small(panel), 72 * inches(panel))
            panel.set_title(label, loc="left", fontsize=small(panel), parse_math=False)
    if not found:
        return panels
    panels[columns].set_xlabel(f"{unit.capitalize()}s by their probability (%)", loc="left")
    over = calibration_readings(found[0][0].rows).over
    eces = [one.ece for _, readings in found for one in readings.values()]
    entries = [
        (Patch(facecolor=INK, alpha=0.3), "mean probability of the bin"),
        (Line2D([], [], color=INK, marker="o", markersize=3.5, linewidth=0.9), "share that is right"),
    ]
    title = f"{max(one.bins for _, readings in found for one in readings.values())} bins of equal mass; "
    title += f"95 % intervals over {counts(float(e.n_groups) for e in eces)} {over}; n = {unit}s in all bins"
    # Of the figure, not of a panel: a column is too narrow for a key.
    points = small(panels[0])
    panels[0].get_figure(root=True).legend(
        [artist for artist, _ in entries],
        [label for _, label in entries],
        title=fitted(title, points, 0.95 * 72 * panels[0].get_figure(root=True).get_figwidth()),
        loc="outside lower center",
        ncols=2,
        fontsize=points,
        title_fontsize=points,
        frameon=False,
    )
    return panels


def calibrations(run: Run, unit: Unit, states: str) -> list[tuple[Moment, Mapping[str, Calibration]]]:
    """Return the calibration of each model at each moment, at most `MOST` of them; one that is undefined is left
    out."""
    found = []
    for moment in moments(run, run.calibration, states):
        readings = calibration_readings(moment.rows)
        defined = {model: one for (model, of), one in readings.items() if of == unit and one.diagram}
        if defined:
            found.append((moment, defined))
    return found if len(found) <= MOST else [found[0], *found[1 - MOST :]]


def _draw_panel(panel: Axes, one: Calibration | None, moment: Moment | None) -> None:
    if one is None or moment is None:
        write_message(panel, "not measured")
        return
    masses = np.array([bin_.accuracy.n_positions for bin_ in one.diagram], dtype=float)
    edges = 100 * np.concatenate([[0.0], masses.cumsum()]) / masses.sum()
    middles, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    confidence = 100 * np.array([bin_.confidence for bin_ in one.diagram])
    value, low, high = (100 * np.array([getattr(bin_.accuracy, end) for bin_ in one.diagram]) for end in _ENDS)
    panel.bar(
        middles, confidence, 0.86 * widths, color=moment.color, alpha=0.3, linewidth=0, zorder=2, gid="confidence"
    )
    panel.vlines(middles, low, high, color=moment.color, linewidth=0.9, zorder=3)
    panel.plot(middles, value, linestyle="", marker="o", markersize=3, color=moment.color, zorder=4, gid="accuracy")
    panel.set_xlim(0, 100)
    panel.set_ylim(0, 103)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(FixedLocator((0, 50, 100)))
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0f}"))
    tidy(panel)
    said = f"ECE {number(one.ece.value, 3)}\nn = {count(one.ece.n_positions)}"
    panel.annotate(
        said,
        (0.97, 0.05),
        xycoords="axes fraction",
        ha="right",
        fontsize=0.9 * small(panel),
        color=INK,
        zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.0},
    )
