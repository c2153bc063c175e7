"""Distributions behind the averages: entropies of both models, and the mass on each other's sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from overlap.groups import GroupSums
from overlap.summary import estimate

from ..load import Run
from .moments import Moment, measured, moments, rests_on
from .panels import check_states, given_panels, inches, key_below, new_panels, one_panel, say, small, tidy
from .style import INK, axis_label

FLOOR = 1e-4
"""Nats: entropies below are drawn here."""
EDGE = 1e-5
"""Masses closer to 0 or 1 are drawn at this distance."""
MASSES = ("student_mass", "teacher_mass")


def entropy_density(
    run: Run,
    states: str = "student",
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw how often the student's entropy meets which entropy of the teacher, a panel for the start and each stage.

    Every traced position counts in one hexagon, both axes logarithmic. On the diagonal the models are equally sure;
    above it the student is less sure than the teacher.

    Args:
        run: A run with traces.
        states: On whose transcripts.
        axes: Where to draw: one a moment. Without them a figure is made.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [moments]; one that says so where nothing was traced.

    Raises:
        ValueError: An unknown kind of states, or a wrong number of axes.
    """
    check_states([states])
    both = ["student_entropy", "teacher_entropy"]
    found = moments(run, run.positions, states)
    found = [moment for moment in found if all(measured(moment.rows, name) for name in both)]
    number = max(len(found), 1)
    if axes is None:
        columns = min(number, 4 if width > 5 else 2)
        rows = -(-number // columns)
        size = (width, rows * (width / max(columns, 2) + 0.25) + 0.35)
        panels = new_panels(rows, columns, size, sharex=bool(found), sharey=bool(found))
        for spare in panels[number:]:
            spare.remove()
        panels = panels[:number]
    else:
        panels = given_panels(axes, number, "one for the start of the run and each stay in a stage that was traced")
    if not found:
        say(panels[0])
        return panels
    ends = FLOOR, max(10.0, *(float(np.nanmax(moment.rows[both].to_numpy(dtype=float))) for moment in found))
    for panel, moment in zip(panels, found, strict=True):
        _draw_density(panel, moment, ends)
    return panels


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
        ValueError: A statistic that is unknown or no probability, or an unknown kind of states.
    """
    label = axis_label(statistic)
    if "(probability)" not in label:
        raise ValueError(f"{statistic} is no probability; choose one, such as {' or '.join(MASSES)}")
    check_states([states])
    panel = one_panel(ax, width, 3.0 if width > 5 else 3.4)
    panel.set_xlabel(label.replace("\n", " "))
    found = [moment for moment in moments(run, run.positions, states) if measured(moment.rows, statistic)]
    panel.set_ylabel("Positions with at most\nthis mass (share)")
    if not found:
        say(panel)
        return panel
    entries: list[tuple[Artist, str]] = []
    for moment in found:
        mass, share, low, high = distribution(moment, statistic)
        panel.fill_between(mass, low, high, step="post", color=moment.colour, alpha=0.18, linewidth=0, zorder=2)
        style = {name: moment.line[name] for name in ("color", "linestyle")}
        (line,) = panel.step(mass, share, where="post", linewidth=1.4, zorder=3, gid=moment.name, **style)
        entries.append((line, f"{moment.name}: {rests_on(moment.rows)}"))
    panel.set_xscale("logit")
    panel.set_xlim(EDGE, 1 - EDGE)
    panel.xaxis.set_major_locator(FixedLocator([EDGE, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - EDGE]))
    panel.xaxis.set_minor_locator(NullLocator())
    labels = [f"≤{EDGE:g}", "0.001", "0.1", "0.5", "0.9", "0.999", f"≥1−{EDGE:g}"]
    panel.set_xticks([EDGE, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - EDGE], labels)
    panel.set_ylim(0, 1)
    tidy(panel, grid="both")
    key_below(panel, entries, "Shares with 95 % intervals over utterances; n positions / n utterances")
    return panel


def distribution(moment: Moment, statistic: str, points: int = 121) -> NDArray[np.float64]:
    """Masses, the share of positions with at most that, and the ends of its interval: an array [4, points]."""
    rows = moment.rows.dropna(subset=statistic)
    reach = np.log((1 - EDGE) / EDGE)
    grid = 1 / (1 + np.exp(-np.linspace(-reach, reach, points)))
    values = rows[statistic].to_numpy(dtype=float)
    below = {str(place): (values <= mass).astype(float) for place, mass in enumerate(grid)}
    found = estimate(GroupSums.from_values(below, rows["id"].to_numpy(dtype=str))).values()
    return np.array([grid, *([getattr(item, field) for item in found] for field in ("value", "low", "high"))])


def _draw_density(panel: Axes, moment: Moment, ends: tuple[float, float]) -> None:
    rows = moment.rows.dropna(subset=["student_entropy", "teacher_entropy"])
    student, teacher = (rows[name].clip(lower=FLOOR) for name in ("student_entropy", "teacher_entropy"))
    wide = inches(panel) > 1.4
    extent = (np.log10(ends[0]), np.log10(ends[1])) * 2
    panel.set_xscale("log")
    panel.set_yscale("log")
    cells = panel.hexbin(
        teacher,
        student,
        gridsize=16 if wide else 12,
        xscale="log",
        yscale="log",
        extent=extent,
        mincnt=1,
        bins="log",
        cmap="Blues",
        linewidths=0.1,
        edgecolors="face",
        gid=moment.name,
    )
    cells.set_clim(0.5, None)
    panel.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--", zorder=3)
    panel.set_xlim(*ends)
    panel.set_ylim(*ends)
    panel.set_box_aspect(1)
    panel.set_xlabel("Teacher entropy (nats)")
    panel.set_ylabel("Student entropy (nats)")
    panel.label_outer()
    above = np.mean(rows["student_entropy"].to_numpy() > rows["teacher_entropy"].to_numpy())
    panel.set_title(f"{moment.name}\nn = {rests_on(moment.rows)}", fontsize=small(panel), color=INK, loc="left")
    panel.text(
        0.03, 0.97, f"{100 * above:.0f} % above", transform=panel.transAxes, va="top", fontsize=small(panel), color=INK
    )
    tidy(panel, grid="")
