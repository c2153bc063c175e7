"""Overlap and error rate over the training steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from overlap.definitions import canonical
from overlap.errors import UserError

from ..run.load import ERROR_RATES, Run
from ..run.visits import Visit
from ..stages.ends import fall_backs_before
from ..stages.error_rates import evaluated
from ..stages.gate_readings import gate_readings
from .fonts import legible
from .gate_levels import draw_levels, level_entries
from .panels import (
    check_states,
    finite,
    given_panels,
    interval_units_text,
    key_below,
    new_panels,
    span,
    write_message,
)
from .several_runs import draw_several, shared_rate
from .style import INK, STATES, axis_label
from .training_axis import FALL_BACK, broken, draw_stages, label_stages, last_step, widen_flat_axis


@legible
def overlap_over_training(
    run: Run | Mapping[str, Run],
    statistics: Sequence[str] = ("union_size", "top1_agreement", "total_variation"),
    states: Sequence[str] | None = None,
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw probes and evaluations over training steps, one panel for each statistic and a last one for the word error
    rate.

    Lines are means over positions, shades and bars their 95 % bootstrap intervals over utterances; those of the error
    rate are as `inference.evaluated` has them, over speakers where ten or more are known. The background shows
    the stage; a vertical line is a switch, dashed and red after a fall back. A line is broken where a fall back
    restored earlier weights. If a gate read the statistic, its threshold is a dashed line over the stage, and triangles
    are the bounds of the interval that were compared with it, filled if they satisfy it; a dotted red line is a limit
    beyond which the gate falls back or aborts.

    Of several runs each has a color, on one kind of states; ticks of that color on the axis are its switches. Their
    stages and gates differ, so there is no background and no level. Error rates under several normalizers or on several
    evaluation sets are not drawn: the panel says why.

    Args:
        run: A run, finished or not; or several by name, from `load_many`.
        statistics: Names as in `run.probes`, such as `union_size` (VUSS, in tokens).
        states: On whose transcripts: `student`, `fixed`, `teacher`, `reference`; those not probed are left out. None
            means the first three, or `student` for several runs, which need a single kind.
        axes: Where to draw: one more than statistics, all empty. Without them a figure is made.
        width: Of the figure that is made, in inches: 8 for a page, 3.5 for a column. Text is as legible in both.

    Returns:
        The axes, of shape [statistics + 1].

    Raises:
        UserError: An unknown statistic or kind of states, a wrong number of axes or drawn ones, several runs on
            several kinds of states, or of which one has another error rate.
    """
    statistics = [canonical(name) for name in statistics]
    labels = [axis_label(statistic) for statistic in statistics]
    if states is None:
        states = ("student",) if isinstance(run, Mapping) else ("student", "fixed", "teacher")
    check_states(states)
    number = len(labels) + 1
    if axes is None:
        panels = new_panels(number, 1, (width, (1.35 if width < 6 else 1.6) * number + 1.2), sharex=True)
    else:
        panels = given_panels(axes, number, "one a statistic and one for the error rate")
        if any(panel.has_data() for panel in panels):
            raise UserError(
                "axes: something is drawn there already, and a second run would move its scale; for several runs in "
                'one figure give them together: overlap_over_training(load_many(["runs/0", "runs/1"]))'
            )
    if isinstance(run, Mapping):
        rates = shared_rate(run, states)
        for panel, label in zip(panels, [*labels, f"{rates}\n(%)"], strict=True):
            panel.set_ylabel(label)
        draw_several(panels, run, statistics, states[0])
        return panels
    visits = run.visits
    shown = [name for name in states if name in set(run.probes["states"])]
    for panel, statistic, label in zip(panels, statistics, labels, strict=False):
        panel.set_ylabel(label)
        _draw_statistic(panel, run, statistic, shown)
    _draw_error_rate(panels[-1], run)
    end = last_step(run)
    readings = gate_readings(run)
    readings = readings.loc[readings["states"].isin(shown)]
    for panel, statistic in zip(panels, statistics, strict=False):
        draw_levels(panel, readings.loc[readings["statistic"] == statistic], visits, end)
    for panel in panels:
        draw_stages(panel, visits, end)
    label_stages(panels[0], visits)
    panels[-1].set_xlabel("Training step")
    _draw_legend(panels, run, visits, statistics, shown)
    return panels


def _draw_statistic(panel: Axes, run: Run, statistic: str, states: Sequence[str]) -> None:
    probes = run.probes.assign(part=fall_backs_before(run, run.probes))
    drawn, spans = False, []
    for name in states:
        rows, style = probes.loc[(probes["statistic"] == statistic) & (probes["states"] == name)], STATES[name]
        step, value, low, high = broken(finite(rows[["step", "value", "low", "high"]]), rows["part"])
        panel.fill_between(step, low, high, color=style.color, alpha=0.25, linewidth=0, zorder=2)
        size = 3.5 if len(step) <= 40 else 2.0
        line = {"color": style.color, "linestyle": style.dashes, "linewidth": 1.2, "zorder": 3}
        panel.plot(step, value, marker=style.marker, markersize=size, markeredgewidth=0, gid=name, **line)
        drawn |= len(rows) > 0
        spans.append(np.stack([value, low, high]))
    widen_flat_axis(panel, spans)
    if not drawn:
        write_message(panel)


def _draw_error_rate(panel: Axes, run: Run) -> None:
    panel.set_ylabel(f"{run.error_rate.upper()}\n(%)")
    evaluations = evaluated(run)
    students, teachers = (evaluations.loc[evaluations["model"] == model] for model in ("student", "teacher"))
    if run.evaluations.empty:
        write_message(panel, "not evaluated in this run")
        return
    columns = [f"{run.error_rate}.{field}" for field in ("value", "low", "high")]
    step, value, low, high = broken(finite(students[["step", *columns]]), fall_backs_before(run, students))
    value, low, high = 100 * value, 100 * low, 100 * high
    panel.vlines(step, low, high, color=INK, linewidth=1.2, zorder=3)
    for end in (low, high):
        panel.plot(step, end, color=INK, linestyle="", marker="_", markersize=5, zorder=3)
    panel.plot(step, value, color=INK, marker="o", markersize=2.5, linewidth=0.8, gid="student", zorder=3)
    if len(teachers):
        value, low, high = 100 * finite(teachers[columns]).iloc[-1].to_numpy(dtype=float)
        panel.axhspan(low, high, color=INK, alpha=0.2, linewidth=0, zorder=1)
        panel.axhline(value, color=INK, linestyle=":", linewidth=1.2, gid="teacher")
    panel.set_ylim(0, 1.05 * panel.get_ylim()[1])


def _draw_legend(
    panels: NDArray[np.object_], run: Run, visits: Sequence[Visit], statistics: Sequence[str], states: Sequence[str]
) -> None:
    """Draw one key for all panels, below the last, with counts for each line."""
    last = panels[-1]
    drawn = run.probes["statistic"].isin(statistics) & run.probes["value"].notna()
    entries: list[tuple[Artist, str]] = []
    for line in panels[0].lines if len(statistics) else ():
        name = line.get_gid()
        if name in states:
            rows = run.probes.loc[drawn & run.probes["states"].eq(name)]
            entries.append((line, f"{STATES[name].label}: {span(rows, 'n_positions')} / {span(rows, 'n_groups')}"))
    for line in last.lines:
        if line.get_gid() in ("student", "teacher"):
            rate, unit = run.error_rate, ERROR_RATES[run.error_rate]
            total, utterances = (span(run.main_evaluations, column) for column in (f"{rate}.total", "n_utterances"))
            entries.append((line, f"{rate.upper()} of the {line.get_gid()}: {total} {unit} / {utterances}"))
    entries += level_entries(list(panels))
    if any(visit.decision == "fall_back" for visit in visits):
        entries.append((Line2D([], [], **FALL_BACK), "gate fell back to earlier weights"))
    k = run.resolved["recipe"]["support"]["k"]
    over = interval_units_text(evaluated(run), run.error_rate)
    title = f"Means with {over}, k = {k}; in the key: n positions / n utterances"
    key_below(last, entries, title)
