"""The error rate against overlap, over checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from overlap.definitions import canonical

from ..formatting import count, plural
from ..run.load import ERROR_RATES, Run
from ..stages.ends import fall_backs_before
from ..stages.error_rates import OVER, evaluated, student_evaluations
from .fonts import legible
from .panels import (
    check_states,
    finite,
    interval_units_text,
    key_below,
    name_x,
    one_panel,
    small,
    span,
    text_width,
    tidy,
    write_message,
)
from .several_runs import check_like, draw_several_against, shared_rate
from .style import INK, STATES, axis_label
from .visit_ends import Moment, repeats

PLACES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Possible places of a label beside its point, best first: right or left, above or below."""


@legible
def wer_against_overlap(
    run: Run | Mapping[str, Run],
    statistic: str = "top1_agreement",
    states: str = "student",
    ax: Axes | None = None,
    *,
    width: float = 8.0,
) -> Axes:
    """Draw the student's error rate against a statistic, one point for each evaluated checkpoint, connected in order.

    Bars are 95 % bootstrap intervals on both axes, of overlap over utterances and of the error rate as
    `inference.evaluated` has them, over speakers where ten or more are known; numbers beside points are training
    steps. The dotted line is the teacher's error rate, its shade the interval. The line is broken where a gate fell
    back. Of several runs each has a color, and its last checkpoint a larger point; there are no numbers of steps.

    Args:
        run: A run, finished or not; or several by name, from `load_many`. Evaluations at steps without a probe are left
            out, and of one run counted.
        statistic: As in `run.probes`.
        states: On whose transcripts.
        ax: Where to draw. Without it a figure is made.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: An unknown statistic or kind of states, or several runs of which one has another error rate,
            normalizer or evaluation set.
    """
    statistic = canonical(statistic)
    label = axis_label(statistic)
    check_states([states])
    several = isinstance(run, Mapping)
    rate = shared_rate(run, [states]).lower() if several else run.error_rate
    panel = one_panel(ax, width, 3.6 if width > 5 else 3.7)
    name_x(panel, label.replace("\n", " "), f"on {STATES[states].label}")
    panel.set_ylabel(f"{rate.upper()} (%)")
    if several:
        check_like(run)
        every = {name: checkpoints(one, statistic, states) for name, one in run.items()}
        if all(part.empty for part in every.values()):
            write_message(panel, "no checkpoint was both probed and evaluated in these runs")
        else:
            draw_several_against(panel, run, every)
        return panel
    points = checkpoints(run, statistic, states)
    if points.empty:
        write_message(panel, "no checkpoint was both probed and evaluated in this run")
        return panel
    for _, part in points.groupby("part"):
        panel.plot(part["value"], part["rate"], color=INK, linewidth=0.8, zorder=2, gid="path")
    entries: list[tuple[Artist, str]] = []
    kinds = dict(zip(run.begun["visit"], run.begun["type"], strict=True))
    for visit, part in points.groupby("visit", sort=False):
        kind = kinds.get(visit, "start")  # without visits.jsonl the stages' types are not known
        moment = Moment("", 0, kind, repeats(run, int(str(visit)), kind), part)
        style: dict[str, Any] = moment.line | {"linestyle": ""}
        errors: dict[str, Any] = {
            "xerr": [part["value"] - part["low"], part["high"] - part["value"]],
            "yerr": [part["rate"] - part["rate_low"], part["rate_high"] - part["rate"]],
        }
        drawn = panel.errorbar(
            part["value"], part["rate"], **errors, markersize=5, elinewidth=0.9, capsize=1.5, zorder=3, **style
        )
        drawn.lines[0].set_gid(f"{part['stage'].iloc[0]} {visit}")
        counts = f"{span(part, 'n_positions')} / {span(part, 'n_groups')}"
        entries.append((drawn.lines[0], f"{part['stage'].iloc[0]}: {counts}"))
    evaluations = evaluated(run)
    teachers = evaluations.loc[evaluations["model"] == "teacher"]
    if len(teachers):
        value, low, high = 100 * finite(teachers[[f"{rate}.{end}" for end in ("value", "low", "high")]]).iloc[-1]
        panel.axhspan(low, high, color=INK, alpha=0.15, linewidth=0, zorder=1)
        line = panel.axhline(value, color=INK, linestyle=":", linewidth=1.2, gid="teacher", zorder=1)
        entries.append((line, f"teacher's {rate.upper()}"))
    panel.margins(x=0.09)
    panel.set_ylim(0, 1.05 * panel.get_ylim()[1])
    _label_steps(panel, points)
    tidy(panel, grid="both")
    words, utterances = span(points, "total"), span(points, "n_utterances")
    title = (
        f"{interval_units_text(points, rate)}; {rate.upper()}: {words} {ERROR_RATES[rate]} / {utterances} utterances"
    )
    left_out = len(evaluations.loc[evaluations["model"] == "student"]) - len(points)
    omitted = f"; {count(left_out)} {plural('evaluation', left_out)} without a probe left out" if left_out else ""
    key_below(panel, entries, f"{title}; overlap: n positions / n utterances{omitted}")
    return panel


def _label_steps(panel: Axes, points: pd.DataFrame) -> None:
    """Write the step beside each point where there is room, at the first and last points of each visit first."""
    size, scale = 0.9 * small(panel), 72 / panel.figure.dpi
    inside = Bbox(scale * panel.get_window_extent().get_points())
    at, low, high = (
        scale * panel.transData.transform(points[list(names)].fillna(0).to_numpy(dtype=float))
        for names in (("value", "rate"), ("low", "rate_low"), ("high", "rate_high"))
    )
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in at]
    taken += [Bbox([[x, below], [x, above]]) for (x, _), (_, below), (_, above) in zip(at, low, high, strict=True)]
    taken += [Bbox([[left, y], [right, y]]) for (_, y), (left, _), (right, _) in zip(at, low, high, strict=True)]
    for (x, y), (end_x, end_y) in pairwise(at):  # the line from checkpoint to checkpoint
        steps = np.linspace(0, 1, 2 + int(np.hypot(end_x - x, end_y - y) / 2))[:, None]
        taken += [Bbox.from_bounds(a - 1, b - 1, 2, 2) for a, b in (x, y) + steps * ((end_x, end_y) - np.array((x, y)))]
    visit = points["visit"].to_numpy()
    inner = [0 < i < len(visit) - 1 and visit[i - 1] == visit[i] == visit[i + 1] for i in range(len(visit))]
    for i in sorted(range(len(points)), key=inner.__getitem__):
        text = count(points["step"].iloc[i])
        width, height = text_width(text, size), 0.8 * size
        for right, up in PLACES:
            left = {1: 5.0, 0: -width / 2, -1: -5.0 - width}[right]
            away = 3.0 if right else 6.0
            bottom = {1: away, 0: -height / 2, -1: -away - height}[up]
            box = Bbox.from_bounds(at[i, 0] + left, at[i, 1] + bottom, width, height)
            gaps = np.hypot(*(at - (box.x0 + width / 2, box.y0 + height / 2)).T)
            free = inside.x0 < box.x0 and box.x1 < inside.x1 and not any(box.overlaps(other) for other in taken)
            if free and gaps[i] == gaps.min():  # no label should seem to belong to another point
                taken.append(box.padded(1))
                where = (float(points["value"].iloc[i]), float(points["rate"].iloc[i]))
                panel.annotate(text, where, (left, bottom), textcoords="offset points", fontsize=size, color=INK)
                break


def checkpoints(run: Run, statistic: str, states: str) -> pd.DataFrame:
    """Return the points of `wer_against_overlap`, error rates in percent: a row an evaluation of the student with a
    probe.

    `part` counts the fall backs before it: weights continue only within a part.
    """
    rate = run.error_rate
    students = student_evaluations(run)
    columns = ["step", "stage", "visit", "rate", "rate_low", "rate_high", "total", "n_utterances", *OVER]
    if students.empty:
        return pd.DataFrame(columns=[*columns, "part"])
    for name, field in {"rate": "value", "rate_low": "low", "rate_high": "high"}.items():
        students[name] = 100 * students[f"{rate}.{field}"].astype(float)
    students["total"] = students[f"{rate}.total"]
    probes = run.probes.loc[(run.probes["statistic"] == statistic) & (run.probes["states"] == states)]
    measured = probes[["step", "visit", "value", "low", "high", "n_positions", "n_groups"]]
    found = finite(students[columns].merge(measured.dropna(subset="value"), on=["step", "visit"], how="inner"))
    return found.assign(part=fall_backs_before(run, found))
