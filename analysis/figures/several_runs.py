"""Several runs in one figure: one color for each run, and a key with their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from overlap.errors import UserError

from ..inference.pairing import why_runs_not_comparable
from ..run.load import Run
from ..stages.error_rates import evaluated, student_evaluations
from .panels import finite, key_below, span, tidy, write_message
from .style import INK

MARKERS = "os^Dv<>P"
NICE = (1, 2, 2.5, 5, 10)
"""Distances between ticks, up to a power of ten."""


def draw_several(panels: NDArray, runs: Mapping[str, Run], statistics: Sequence[str], states: str) -> None:
    """Draw into labeled panels: one for each statistic, and a last one for the error rate.

    Args:
        panels: One more than statistics.
        runs: By the name that stands in the key.
        statistics: Names as in `run.probes`.
        states: On whose transcripts.
    """
    palette = sns.color_palette("colorblind", max(len(runs), 1))
    entries: list[tuple[Artist, str]] = []
    unlike = why_runs_not_comparable(runs)
    shared, differing = _measured_at(runs)
    for (name, run), color, marker in zip(runs.items(), palette, cycle(MARKERS), strict=False):
        style = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.2, "gid": name}
        own = run.probes.loc[run.probes["states"] == states]
        for panel, statistic in zip(panels, statistics, strict=False):
            rows = finite(
                pd.DataFrame(own.loc[own["statistic"] == statistic, ["step", "value", "low", "high"]]).astype(float)
            )
            panel.fill_between(rows["step"], rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0)
            panel.plot(rows["step"], rows["value"], **style)
        tested = student_evaluations(run)
        if len(tested) and not unlike:
            columns = [f"{run.error_rate}.{end}" for end in ("value", "low", "high")]
            rates = 100 * finite(pd.DataFrame(tested[columns]).astype(float))
            value, low, high = (rates[column] for column in rates)
            panels[-1].vlines(tested["step"], low, high, color=color, linewidth=1.2)
            panels[-1].plot(tested["step"], value, **style)
        for panel in panels:
            for visit in run.visits[:-1]:  # where this run was switched: a tick of its color on the axis
                panel.plot(visit.last_step, 0.03, "|", color=color, markersize=9, transform=panel.get_xaxis_transform())
        drawn = own.loc[own["statistic"].isin(statistics) & own["value"].notna()]
        label = f"{name}{differing.get(name, '')}: {span(drawn, 'n_positions')} / {span(drawn, 'n_groups')}"
        entries.append((Line2D([], [], color=color, marker=marker, markersize=3.5, linewidth=1.2), label))
    if unlike:
        write_message(panels[-1], f"not comparable: {unlike}")
    for panel in panels[:-1] if unlike else panels:
        _finish(panel)
    panels[-1].set_ylim(bottom=0)
    panels[-1].set_xlabel("Training step")
    key_below(
        panels[-1],
        [*entries, (Line2D([], [], color="black", marker="|", linestyle=""), "that run's switches")],
        f"One color a run; shades and bars are 95 % intervals of one run{shared}; n positions / n utterances",
    )


def draw_several_against(panel: Axes, runs: Mapping[str, Run], points: Mapping[str, pd.DataFrame]) -> None:
    """Draw error rates against a statistic into a panel that has its labels.

    Args:
        panel: Where.
        runs: By the name that stands in the key.
        points: For each run one row for each checkpoint: `value`, `rate`, their ends, counts, and `part`, within which
            weights are continuous.
    """
    entries: list[tuple[Artist, str]] = []
    teachers: dict[tuple[float, ...], str] = {}
    shared, differing = _measured_at(runs)
    palette = sns.color_palette("colorblind", max(len(runs), 1))
    for (name, run), color, marker in zip(runs.items(), palette, cycle(MARKERS), strict=False):
        rows = points[name]
        for _, part in rows.groupby("part"):
            panel.plot(part["value"], part["rate"], color=color, linewidth=0.8, zorder=2)
        errors: dict[str, Any] = {
            "xerr": [rows["value"] - rows["low"], rows["high"] - rows["value"]],
            "yerr": [rows["rate"] - rows["rate_low"], rows["rate_high"] - rows["rate"]],
        }
        sizes: dict[str, Any] = {"markersize": 4, "elinewidth": 0.8, "capsize": 1.5, "zorder": 3}
        bars = panel.errorbar(rows["value"], rows["rate"], **errors, **sizes, color=color, marker=marker, linestyle="")
        bars.lines[0].set_gid(name)
        if len(rows):  # its last checkpoint
            last = rows.iloc[-1]
            panel.plot(
                last["value"], last["rate"], marker, color=color, markersize=7, markeredgecolor="black", zorder=4
            )
        counts = f"{span(rows, 'n_positions')} / {span(rows, 'n_groups')}" if len(rows) else "no checkpoint was both"
        line = Line2D([], [], color=color, marker=marker, markersize=4, linewidth=0.8)
        entries.append(
            (line, f"{name}{differing.get(name, '')}: {counts}{'' if len(rows) else ' probed and evaluated'}")
        )
        tested = evaluated(run)
        tested = tested.loc[
            tested["model"] == "teacher", [f"{run.error_rate}.{end}" for end in ("value", "low", "high")]
        ]
        if len(tested):
            teachers.setdefault(tuple(100 * finite(tested).iloc[-1].to_numpy(dtype=float)), name)
    rate = shared_rate(runs, ())
    for (value, low, high), name in teachers.items():
        color = INK if len(teachers) == 1 else palette[list(runs).index(name)]
        panel.axhspan(low, high, color=color, alpha=0.15, linewidth=0, zorder=1)
        line = panel.axhline(value, color=color, linestyle=":", linewidth=1.2, gid="teacher", zorder=1)
        entries.append((line, f"teacher's {rate}" if len(teachers) == 1 else f"teacher's, in {name}"))
    panel.margins(x=0.06)
    panel.set_ylim(0, 1.05 * panel.get_ylim()[1])
    tidy(panel, grid="both")
    title = (
        f"One color a run, its last checkpoint larger; bars are 95 % intervals of one run{shared}; "
        "n positions / n utterances"
    )
    key_below(panel, entries, title)


def _measured_at(runs: Mapping[str, Run]) -> tuple[str, dict[str, str]]:
    """Return k and temperature of overlap: for the title if all runs share them, else for each run."""
    shared, differing = "", dict.fromkeys(runs, "")
    for name, sign in (("k", " = "), ("temperature", " ")):
        values = {label: run.resolved["recipe"]["support"][name] for label, run in runs.items()}
        if len(set(values.values())) == 1:
            shared += f"; {name}{sign}{next(iter(values.values())):g}"
        else:
            differing = {label: f"{said}, {name}{sign}{values[label]:g}" for label, said in differing.items()}
    return shared, differing


def check_like(runs: Mapping[str, Run]) -> None:
    """Refuse runs whose error rates are not comparable.

    Raises:
        UserError: Normalizers or evaluation sets differ; says how.
    """
    if unlike := why_runs_not_comparable(runs):
        raise UserError(f"runs: {unlike}, so their error rates are not comparable; draw them separately")


def shared_rate(runs: Mapping[str, Run], states: Sequence[str]) -> str:
    """Return the name of the error rate that all runs have.

    Raises:
        UserError: No run, several kinds of states, or runs of other error rates.
    """
    if not runs:
        raise UserError("runs: expected at least one, such as load_many(['runs/0', 'runs/1'])")
    if len(states) > 1:
        raise UserError(f"states: several runs take one kind of states, received {', '.join(states)}")
    rates = {run.error_rate.upper() for run in runs.values() if len(run.evaluations)}
    if len(rates) > 1:
        raise UserError(f"runs: some have {' and others '.join(sorted(rates))}, not comparable; draw them separately")
    return next(iter(rates), "WER")


def _finish(panel: Axes) -> None:
    if not any(len(line.get_xdata()) for line in panel.lines if line.get_gid() is not None):  # pyright: ignore[reportArgumentType]
        write_message(panel, "not measured in these runs")
    panel.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=NICE))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.margins(x=0.015)
    tidy(panel)
