"""A run on one page."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..load import Run
from .decomposition import vuss_decomposition
from .distributions import mass_distribution
from .error_against_overlap import wer_against_overlap
from .funnel import funnel
from .membership import choose_trace, support_membership
from .overlap_over_training import overlap_over_training
from .panels import say, text_style
from .profiles import position_profile
from .strata import strata
from .style import INK

POINTS = 7.0


def dashboard(run: Run) -> Figure:
    """Draw the figures of a run on one page (A4, upright). What was not measured says so in its place.

    Args:
        run: A run, finished or still being written.
    """
    with plt.rc_context(text_style(POINTS)):
        figure = plt.figure(figsize=(8.27, 11.69), layout="constrained")
        figure.suptitle(f"Run {run.recipe}, seed {run.seed}", fontsize=POINTS + 2, color=INK, parse_math=False)
        grid = figure.add_gridspec(5, 2, height_ratios=[1.1, 1.1, 1.5, 1.4, 1.5])
        overlap_over_training(run, axes=[figure.add_subplot(place) for place in grid[:2, 0].subgridspec(4, 1)])
        wer_against_overlap(run, ax=figure.add_subplot(grid[0:2, 1]))
        vuss_decomposition(run, ("student",), axes=[figure.add_subplot(grid[2, 0])])
        funnel(run, ax=figure.add_subplot(grid[2, 1]))
        position_profile(run, ax=figure.add_subplot(grid[3, 0]), relative=True)
        mass_distribution(run, ax=figure.add_subplot(grid[3, 1]))
        strata(run, ax=figure.add_subplot(grid[4, 0]))
        last = figure.add_subplot(grid[4, 1])
        if run.traces.empty:
            say(last)
        else:
            support_membership(choose_trace(run), last, rows=8, columns=10)
    return figure
