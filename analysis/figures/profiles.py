"""Statistics along the utterance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from overlap.definitions import canonical
from overlap.errors import UserError
from overlap.strata import Labels, by, position_bins, relative_position_bins

from ..formatting import plural
from ..run.load import Run
from ..run.traces import units
from .fonts import legible
from .panels import check_states, key_below, one_panel, tidy, write_message
from .style import axis_label
from .visit_ends import Moment, counts_text, is_measured, moments, used_levels

DODGE = 0.05
"""Distance between the lines' marks, in bins."""
LEAST = 8
"""Least number of utterances of a bin that is drawn."""


@legible
def position_profile(
    run: Run,
    statistic: str = "top1_agreement",
    states: str = "student",
    ax: Axes | None = None,
    *,
    relative: bool = False,
    bins: int = 5,
    least: int = LEAST,
    width: float = 8.0,
) -> Axes:
    """Draw a statistic along the traced utterances, a line for the run's start and for the end of each stage.

    Lines are means over positions, shades their 95 % bootstrap intervals over utterances. A bin with fewer than `least`
    utterances is left out.

    Args:
        run: A run with traces.
        statistic: A statistic of positions, such as `union_size`.
        states: On whose transcripts.
        ax: Where to draw. Without it a figure is made.
        relative: Over the share of the utterance that has been written, rather than the number of tokens.
        bins: Number of bins of relative positions. Bins of absolute positions get wider along the utterance.
        least: Utterances that a bin must have.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: An unknown statistic or kind of states, or a number of bins or utterances out of range.
    """
    statistic = canonical(statistic)
    label = axis_label(statistic)
    check_states([states])
    if least < 2:
        raise UserError(f"least: an interval takes at least 2 utterances, received {least!r}")
    panel = one_panel(ax, width, 3.0 if width > 5 else 3.3)
    panel.set_ylabel(label)
    found = profiles(run, statistic, states, relative=relative, bins=bins)
    if not found:
        write_message(panel)
        return panel
    levels = used_levels([frame.loc[frame["n_groups"] >= least] for _, frame in found], "bin")
    if not levels:
        write_message(panel, f"no bin has the {least} utterances that an interval takes")
        return panel
    entries: list[tuple[Artist, str]] = []
    left_out = 0
    for number, (moment, frame) in enumerate(found):
        enough = frame.loc[frame["n_groups"] >= least]
        left_out += len(frame) - len(enough)
        by_bin = enough.set_index(enough["bin"].astype(str))[["value", "low", "high"]].reindex(levels)
        value, low, high = by_bin.to_numpy(dtype=float).T
        # Side by side, because equal values would hide each other.
        x = np.arange(len(levels)) + DODGE * (number - (len(found) - 1) / 2)
        panel.fill_between(x, low, high, color=moment.color, alpha=0.2, linewidth=0, zorder=2)
        (line,) = panel.plot(x, value, markersize=4, linewidth=1.3, zorder=3, gid=moment.name, **moment.line)
        entries.append((line, f"{moment.name}: {counts_text(moment.rows)}"))
    panel.set_xticks(range(len(levels)), [name.removesuffix(" %") for name in levels])
    panel.set_xlabel("Place in the utterance (%)" if relative else "Tokens before this one")
    tidy(panel)
    omitted = f"; {left_out} {plural('bin', left_out)} with fewer than {least} utterances left out" if left_out else ""
    key_below(panel, entries, f"Means with 95 % intervals over utterances; n positions / n utterances{omitted}")
    return panel


def profiles(run: Run, statistic: str, states: str, *, relative: bool, bins: int) -> list[tuple[Moment, pd.DataFrame]]:
    """Return the numbers of `position_profile`: for each moment, one row for each `bin`, with value, interval and
    counts."""
    found = []
    for moment in moments(run, run.positions, states):
        rows = moment.rows.sort_values(["id", "position"], kind="stable")
        if not is_measured(rows, statistic):
            continue
        labels = _labels(rows, relative, bins)
        frame = by({statistic: rows[statistic].to_numpy(dtype=float)}, labels, units(rows))
        found.append((moment, frame.loc[frame["n_positions"] > 0].rename(columns={labels.name: "bin"})))
    return found


def _labels(rows: pd.DataFrame, relative: bool, bins: int) -> Labels:
    """Return bins of positions, whose rows are sorted by utterance and position."""
    lengths = rows.groupby("id", sort=False).size().to_numpy()
    mask: Any = np.arange(lengths.max(initial=0)) < lengths[:, None]
    labels = relative_position_bins(mask, bins) if relative else position_bins(mask)
    return Labels(labels.name, labels.levels, labels.codes[mask])
