"""A run on one page."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..formatting import count
from ..run.load import Run
from ..stages.error_rates import evaluated
from .decomposition import vuss_decomposition
from .distributions import entropy_density, mass_distribution
from .error_against_overlap import wer_against_overlap
from .fonts import legible
from .funnel import funnel
from .membership import choose_trace, support_membership
from .overlap_over_training import overlap_over_training
from .panels import interval_units_text, small, span, text_style, write_message
from .profiles import position_profile
from .strata import strata
from .style import BOTH, INK, STUDENT_ONLY, TEACHER_ONLY
from .visit_ends import counts_text, moments

POINTS = 7.0
SETS = {"in both sets": BOTH, "in the student's alone": STUDENT_ONLY, "in the teacher's alone": TEACHER_ONLY}
SIZE = (8.27, 11.69)
"""Inches: A4, upright."""


@legible
def dashboard(run: Run) -> Figure:
    """Draw the figures of a run on one page, on the student's rollouts.

    A panel without data says so. The key at the foot serves all panels but the first three.

    Args:
        run: A run, finished or still being written.
    """
    with plt.rc_context(text_style(POINTS)):
        figure = plt.figure(figsize=SIZE, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.06, h_pad=0.04)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
        grid = figure.add_gridspec(6, 3, height_ratios=[0.9, 0.9, 0.9, 1.6, 1.5, 1.7])
        over = [figure.add_subplot(grid[row, :]) for row in range(3)]
        for panel in over[:-1]:
            panel.sharex(over[-1])
            panel.tick_params(labelbottom=False)
        panels = {
            title: figure.add_subplot(grid[3 + place // 3, place % 3])
            for place, title in enumerate(
                (
                    "VUSS and its parts",
                    f"{run.error_rate.upper()} against overlap",
                    "Position funnel",
                    "Along the utterance",
                    "Teacher's mass on the student's set",
                    "Entropies",
                    "By class of token",
                    "By correctness of the token",
                    "One utterance",
                )
            )
        }
    parts, against, lost, along, mass, entropies, classes, right, one = panels.values()
    overlap_over_training(run, ("union_size", "top1_agreement"), axes=over)
    for panel, name in zip(over, ("VUSS", "Top-1"), strict=False):  # small panels have no room for longer ones
        panel.set_ylabel(f"{name}\n{panel.get_ylabel().splitlines()[-1]}")
    vuss_decomposition(run, ("student",), [parts])
    wer_against_overlap(run, ax=against)
    funnel(run, ax=lost)
    lost.set_xlabel("Positions")
    position_profile(run, ax=along, relative=True)
    mass_distribution(run, ax=mass)
    entropy_density(run, axes=[entropies], last=1)
    strata(run, ax=classes)
    strata(run, "correctness", ax=right)
    if run.traces.empty:
        write_message(one)
    else:
        support_membership(choose_trace(run), one, rows=8, columns=6)
    for title, panel in panels.items():
        _head(panel, title)
        if (key := panel.get_legend()) is not None:
            key.remove()  # one key at the foot serves all
    for cells in entropies.collections:
        if cells.colorbar is not None:
            cells.colorbar.remove()
    figure.suptitle(_title(run), fontsize=POINTS + 2, color=INK, parse_math=False)
    _draw_key(figure, run)
    return figure


def _head(panel: Axes, title: str) -> None:
    """Write a title above existing text."""
    below = panel.get_title(loc="left")
    panel.set_title(f"{title}\n{below}".strip(), loc="left", fontsize=small(panel), parse_math=False)


def _title(run: Run) -> str:
    seed = "" if run.seed is None else f", seed {run.seed}"
    if not run.visits:
        return f"Run {run.recipe}{seed}: {run.unvisited or 'no gate readings yet'}"
    stages = " → ".join(visit.stage for visit in run.visits)
    steps = f"{count(run.visits[-1].last_step)} steps"
    return f"Run {run.recipe}{seed}: {stages}, {f'still running after {steps}' if run.ended is None else steps}"


def _draw_key(figure: Figure, run: Run) -> None:
    """Draw the key: the moments, with counts for each."""
    traced = {moment.name: counts_text(moment.rows) for moment in moments(run, run.traces, "student")}
    entries: list[tuple[Artist, str]] = []
    for moment in moments(run, run.probes, "student"):
        rows = moment.rows.loc[moment.rows["statistic"] == "union_size"]
        probed = f"{span(rows, 'n_positions')} / {span(rows, 'n_groups')}" if len(rows) else "–"
        label = f"{moment.name}: {probed} ({traced.get(moment.name, 'not traced')})"
        entries.append((Line2D([], [], markersize=4, linewidth=1.3, **moment.line), label))
    if len(run.traces) or entries:
        over = interval_units_text(evaluated(run), run.error_rate)
        entries += [(Patch(facecolor=color), name) for name, color in SETS.items()]
        figure.legend(
            [artist for artist, _ in entries],
            [label for _, label in entries],
            title=f"n positions / n utterances of the probe set (of those traced); {over}",
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=0.9 * POINTS,
            title_fontsize=0.9 * POINTS,
            handlelength=2.6,
        )
