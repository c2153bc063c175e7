"""Distributions over positions: entropies of both models, and the mass on each other's sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from overlap.definitions import canonical
from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate

from ..formatting import count
from ..run.load import Run
from ..run.traces import units
from .fonts import legible
from .panels import (
    NARROW,
    check_states,
    given_panels,
    inches,
    key_below,
    new_panels,
    one_panel,
    small,
    tidy,
    write_message,
)
from .style import INK, axis_label
from .visit_ends import Moment, counts_text, is_measured, moments

FLOOR = 1e-4
"""Nats: entropies below are drawn here."""
EDGE = 1e-5
"""Masses closer to 0 or 1 are drawn at this distance."""
MASS_TICKS = {EDGE: "≤10⁻⁵", 1e-3: "10⁻³", 0.1: "0.1", 0.5: "0.5", 0.9: "0.9", 1 - 1e-3: "1−10⁻³", 1 - EDGE: "≥1−10⁻⁵"}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
CELLS = LinearSegmentedColormap.from_list("cells", ["#cfe3f3", "#5aa3d6", "#0173b2", "#08304e"])
GRID = 15
"""Cells of a density along an axis."""
ENTROPIES = ("student_entropy", "teacher_entropy")
MASSES = ("student_mass", "teacher_mass")


@legible
def entropy_density(
    run: Run,
    states: str = "student",
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    last: int | None = None,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw the joint distribution of the student's and teacher's entropy, a panel for the start and each stage.

    Every traced position counts in one hexagon, both axes logarithmic; the title says n positions / n utterances. On
    the diagonal the models are equally sure; above it the student is less sure than the teacher.

    Args:
        run: A run with traces.
        states: On whose transcripts.
        axes: Where to draw: one for each moment. Without them a figure is made.
        last: Draw only so many last moments.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [moments]; one with a note if nothing was traced.

    Raises:
        UserError: An unknown kind of states, or a wrong number of axes.
    """
    check_states([states])
    if last is not None and last < 1:
        raise UserError(f"last: expected at least 1 moment, received {last}")
    found = entropy_moments(run, states)[-last if last else None :]
    number = max(len(found), 1)
    if axes is None:
        columns = min(number, max(2, int(width / 1.9)))
        rows = -(-number // columns)
        size = (width, rows * ((0.9 if width > NARROW else 0.95) * width / max(columns, 2) + 0.35) + 0.4)
        panels = new_panels(rows, columns, size, sharex=bool(found), sharey=bool(found))
        for spare in panels[number:]:
            spare.remove()
        panels = panels[:number]
        for place, panel in enumerate(panels):
            # Only for the lowest and leftmost panels, to save room.
            panel.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= number)
    else:
        panels = given_panels(axes, number, "one for the start of the run and each traced visit of a stage")
    if not found:
        write_message(panels[0])
        return panels
    top = max(10.0, *(float(np.nanmax(moment.rows[list(ENTROPIES)].to_numpy(dtype=float))) for moment in found))
    cells = [_draw_density(panel, moment, top) for panel, moment in zip(panels, found, strict=True)]
    most = max(2.0, *(float(np.max(np.asarray(cell.get_array()))) for cell in cells))
    for cell in cells:
        cell.set_norm(LogNorm(1, most))
    wide = panels[0].figure.get_figwidth() > NARROW
    beside: dict[str, Any] = {"location": "right", "shrink": 0.8} if wide else {"location": "bottom", "shrink": 0.6}
    bar = panels[0].figure.colorbar(cells[0], ax=list(panels), aspect=25, pad=0.02, **beside)
    bar.set_label("Positions in a cell\n(titles: n positions / n utterances)", fontsize=small(panels[0]))
    bar.ax.tick_params(labelsize=small(panels[0]), width=0.6, length=2.5)
    bar.formatter = StrMethodFormatter("{x:,.0f}")
    bar.minorformatter = NullFormatter()
    bar.outline.set_visible(False)
    return panels


def entropy_moments(run: Run, states: str) -> list[Moment]:
    """Return the moments at which both models' entropies were traced."""
    return [
        moment
        for moment in moments(run, run.positions, states)
        if all(is_measured(moment.rows, name) for name in ENTROPIES)
    ]


@legible
def mass_distribution(
    run: Run,
    statistic: str = "teacher_mass",
    states: str = "student",
    ax: Axes | None = None,
    *,
    width: float = 8.0,
) -> Axes:
    """Draw the distribution of one model's mass on the other's set, a curve for the start and the end of each stage.

    A curve is the share of traced positions with at most that mass, its shade the 95 % bootstrap interval over
    utterances at each mass. The mass is on a logit axis, which spreads both ends alike.

    Args:
        run: A run with traces.
        statistic: `student_mass`, `teacher_mass` or another statistic that is a probability.
        states: On whose transcripts.
        ax: Where to draw. Without it a figure is made.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: A statistic that is unknown or not a probability, or an unknown kind of states.
    """
    statistic = canonical(statistic)
    label = axis_label(statistic)
    if "(probability)" not in label:
        raise UserError(f"{statistic} is not a probability; choose one, such as {' or '.join(MASSES)}")
    check_states([states])
    panel = one_panel(ax, width, 3.0 if width > 5 else 3.4)
    panel.set_xlabel(label.replace("\n", " "))
    found = [moment for moment in moments(run, run.positions, states) if is_measured(moment.rows, statistic)]
    panel.set_ylabel("Positions with at most\nthis mass (share)")
    if not found:
        write_message(panel)
        return panel
    entries: list[tuple[Artist, str]] = []
    for moment in found:
        mass, share, low, high = distribution(moment, statistic)
        panel.fill_between(mass, low, high, step="post", color=moment.color, alpha=0.18, linewidth=0, zorder=2)
        style = {name: moment.line[name] for name in ("color", "linestyle")}
        (line,) = panel.step(mass, share, where="post", linewidth=1.4, zorder=3, gid=moment.name, **style)
        entries.append((line, f"{moment.name}: {counts_text(moment.rows)}"))
    panel.set_xscale("logit")
    panel.set_xlim(0.5 * EDGE, 1 - 0.5 * EDGE)
    panel.xaxis.set_minor_locator(NullLocator())
    ticks = MASS_TICKS if inches(panel) > 2.6 else {place: MASS_TICKS[place] for place in (EDGE, 1e-3, 0.5, 1 - 1e-3)}
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.set_ylim(-0.01, 1.01)
    tidy(panel, grid="both")
    key_below(panel, entries, "Shares with 95 % intervals over utterances; n positions / n utterances")
    return panel


def distribution(moment: Moment, statistic: str, points: int = 121) -> NDArray[np.float64]:
    """Return masses, the share of positions with at most that, and the bounds of its interval: an array [4, points]."""
    rows = moment.rows.dropna(subset=statistic)
    reach = np.log((1 - EDGE) / EDGE)
    grid = 1 / (1 + np.exp(-np.linspace(-reach, reach, points)))
    grid[[0, -1]] = EDGE, 1 - EDGE  # exactly, for values are put there
    values = rows[statistic].to_numpy(dtype=float).clip(EDGE, 1 - EDGE)
    below = {str(place): (values <= mass).astype(float) for place, mass in enumerate(grid)}
    found = estimate(GroupSums.from_values(below, units(rows)), limits=(0.0, 1.0)).values()
    return np.array([grid, *([getattr(item, field) for item in found] for field in ("value", "low", "high"))])


def _draw_density(panel: Axes, moment: Moment, top: float) -> PolyCollection:
    rows = moment.rows.dropna(subset=list(ENTROPIES))
    student, teacher = (rows[name].to_numpy(dtype=float) for name in ENTROPIES)
    low, high = np.array([0.6 * FLOOR, 1.3 * top])
    cell = (high / low) ** (1 / GRID)
    cells = panel.hexbin(
        teacher.clip(min=FLOOR),
        student.clip(min=FLOOR),
        gridsize=GRID,
        xscale="log",
        yscale="log",
        extent=(np.log10(low), np.log10(high), np.log10(low), np.log10(high)),
        mincnt=1,
        cmap=CELLS,
        linewidths=0.1,
        edgecolors="face",
        gid=moment.name,
        zorder=2,
    )
    low, high = low / cell, high * cell  # complete cells, also at the edges
    panel.plot((low, high), (low, high), color=INK, linewidth=0.8, linestyle="--", zorder=3, gid="diagonal")
    panel.set_xlim(low, high)
    panel.set_ylim(low, high)
    panel.set_box_aspect(1)
    decades = 10.0 ** np.arange(np.log10(FLOOR), np.log10(top) + 0.5)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_ticks(decades, [_power(value) if n % 2 == 0 else "" for n, value in enumerate(decades)])
    if panel.xaxis.get_tick_params().get("labelbottom", True):
        panel.set_xlabel("Teacher entropy (nats)")
    if panel.yaxis.get_tick_params().get("labelleft", True):
        panel.set_ylabel("Student entropy (nats)")
    above = 100 * np.mean(student > teacher)
    size = small(panel)
    lines = (
        moment.label,
        f"step {count(moment.step)}, n = {counts_text(moment.rows)}",
        f"{above:.0f} % above the line",
    )
    panel.set_title("\n".join(lines), fontsize=size, loc="left")
    tidy(panel, grid="")
    return cells


def _power(value: float) -> str:
    exponent = round(np.log10(value))
    sign = "≤" if value <= FLOOR else ""
    return f"{sign}{value:g}" if exponent in (0, 1) else f"{sign}10{str(exponent).translate(SUPERSCRIPTS)}"
