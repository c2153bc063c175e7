"""How statistics depend on the size of the sets and on the temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from overlap.definitions import canonical
from overlap.errors import UserError
from overlap.estimates.group_sums import Groups
from overlap.estimates.summary import OverlapSummary
from overlap.statistics.measure import TokenStatistics

from .fonts import legible
from .panels import NARROW, key_below, one_panel, span, tidy, write_message
from .style import axis_label
from .visit_ends import is_measured

Swept = Mapping[tuple[int, float], TokenStatistics | OverlapSummary]
"""By (k, temperature)."""
MARKERS = "os^Dv<>P"


@legible
def k_sweep(
    swept: Swept,
    statistic: str = "overlap_ratio",
    ax: Axes | None = None,
    *,
    groups: Groups | None = None,
    width: float = 8.0,
) -> Axes:
    """Draw a statistic against k, one line for each temperature; a single line if temperature does not matter.

    Shades are 95 % bootstrap intervals over utterances.

    Args:
        swept: From `overlap.sweep`; or the summaries of its statistics.
        statistic: A statistic of positions, such as `overlap_ratio`.
        ax: Where to draw. Without it a figure is made.
        groups: The utterance of each position, as for `TokenStatistics.summary`. Not for summaries.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: An unknown statistic, an empty sweep, or groups beside summaries.
    """
    statistic = canonical(statistic)
    frame = sweep_frame(swept, statistic, groups)
    panel = _draw(frame, statistic, ax, width, x="k", line="temperature", label="temperature {:g}")
    panel.set_xlabel("k (tokens in each set)")
    return panel


@legible
def temperature_sweep(
    swept: Swept,
    statistic: str = "forward_kl",
    ax: Axes | None = None,
    *,
    groups: Groups | None = None,
    width: float = 8.0,
) -> Axes:
    """Draw a statistic against the temperature, one line for each k; a single line if k does not matter. See
    `k_sweep`."""
    frame = sweep_frame(swept, statistic, groups)
    panel = _draw(frame, statistic, ax, width, x="temperature", line="k", label="k = {:g}")
    panel.set_xlabel("Temperature (divides both models' logits)")
    return panel


def sweep_frame(swept: Swept, statistic: str, groups: Groups | None = None) -> pd.DataFrame:
    """Return the numbers of the curves: `k`, `temperature`, `value`, `low`, `high` and counts, one row for each
    setting."""
    axis_label(statistic)
    if not isinstance(swept, Mapping) or not all(isinstance(key, tuple) and len(key) == 2 for key in swept):
        what = f"received a {type(swept).__name__}"
        raise UserError(f"swept: expected the result of one overlap.sweep, by (k, temperature), {what}")
    if not swept:
        raise UserError("swept: expected the result of overlap.sweep, received nothing")
    rows = []
    for (k, temperature), found in swept.items():
        if isinstance(found, TokenStatistics):
            found = found.summary(groups)
        elif groups is not None:
            raise UserError("groups: summaries have their intervals already; leave groups out, or pass statistics")
        if statistic in found:
            item = found[statistic]
            numbers = {name: getattr(item, name) for name in ("value", "low", "high", "n_positions", "n_groups")}
            rows.append({"k": k, "temperature": temperature, **numbers})
    columns = ["k", "temperature", "value", "low", "high", "n_positions", "n_groups"]
    return pd.DataFrame(rows, columns=columns).sort_values(["temperature", "k"], ignore_index=True)


def _draw(frame: pd.DataFrame, statistic: str, ax: Axes | None, width: float, *, x: str, line: str, label: str) -> Axes:
    lines = [(value, frame.loc[frame[line] == value]) for value in sorted(set(frame[line]))]
    same = len(lines) > 1 and all(_equal(rows, lines[0][1], x) for _, rows in lines[1:])
    shown = lines[:1] if same else lines
    panel = one_panel(ax, width, 2.7 + (0.09 if width > NARROW else 0.16) * len(shown))
    panel.set_ylabel(axis_label(statistic))
    if not is_measured(frame, "value"):
        write_message(panel, "not measured in this sweep")
        return panel
    entries: list[tuple[Artist, str]] = []
    colors = sns.color_palette("viridis", max(len(lines), 2)) if not same else ["#0173b2"]
    for number, (value, rows) in enumerate(shown):
        color, marker = colors[number], MARKERS[number % len(MARKERS)]
        panel.fill_between(rows[x], rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0, zorder=2)
        (curve,) = panel.plot(rows[x], rows["value"], color=color, marker=marker, markersize=4, linewidth=1.3, zorder=3)
        alike = ", ".join(f"{value:g}" for value, _ in lines)
        every = f"the same at {line} {alike}" if same else label.format(value)
        entries.append((curve, f"{every}: {span(rows, 'n_positions')} / {span(rows, 'n_groups')}"))
    panel.set_xscale("log", base=2)
    _ticks(panel, sorted(set(frame[x])))
    tidy(panel)
    key_below(panel, entries, "Means with 95 % intervals over utterances; n positions / n utterances")
    return panel


def _equal(one: pd.DataFrame, other: pd.DataFrame, x: str) -> bool:
    columns = [x, "value", "low", "high"]
    same = one.shape == other.shape
    return same and bool(np.allclose(one[columns], other[columns], rtol=1e-6, atol=1e-9, equal_nan=True))


def _ticks(panel: Axes, values: Sequence[float]) -> None:
    """Draw a tick at every setting."""
    panel.xaxis.set_major_locator(FixedLocator(values))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xticks(values, [f"{value:g}" for value in values])
