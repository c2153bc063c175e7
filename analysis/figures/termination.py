"""The end of transcripts over the training steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..run.load import Run
from ..stages.ends import fall_backs_before
from ..stages.gate_readings import gate_readings
from .fonts import legible
from .gate_levels import draw_levels, level_entries
from .panels import finite, given_panels, key_below, new_panels, span, write_message
from .style import STATES
from .training_axis import FALL_BACK, broken, draw_stages, label_stages, last_step, widen_flat_axis

TEACHERS_P = {"linestyle": (0, (4, 1.5)), "marker": "D"}
"""Line of the teacher's probability beside the student's, on the same states."""


@dataclass(frozen=True)
class Shown:
    """One statistic of a panel, on one kind of states.

    Attributes:
        statistic: Name as in `Run.probes`.
        states: On whose transcripts.
        label: In the key.
        line: How it differs from the usual line of these states.
    """

    statistic: str
    states: str
    label: str
    line: dict[str, Any] | None = None


OWN, TEACHERS = STATES["student"].label, STATES["teacher"].label
PANELS: tuple[tuple[str, tuple[Shown, ...]], ...] = (
    ("Ended\n(share)", (Shown("end_of_text", "student", OWN),)),
    (
        "p(end) ≥ 0.5 at\nends (share)",
        (
            Shown("student_end_likely.at_end", "student", OWN),
            Shown("student_end_likely.at_end", "teacher", TEACHERS),
        ),
    ),
    (
        "p(end), mean\nof positions",
        (
            Shown("student_end_mass", "student", OWN),
            Shown("teacher_end_mass", "student", f"{OWN}, teacher's p(end)", TEACHERS_P),
        ),
    ),
    (
        "Stop density\n(per 1,000)",
        (Shown("stop_density", "student", OWN), Shown("stop_density", "teacher", TEACHERS)),
    ),
    ("Repetition\n(ratio)", (Shown("repetition", "student", OWN), Shown("repetition", "teacher", TEACHERS))),
)
"""Label and lines of each panel, from top to bottom."""


@legible
def termination(
    run: Run, axes: Sequence[Axes] | NDArray[np.object_] | None = None, *, width: float = 8.0
) -> NDArray[np.object_]:
    """Draw the end of transcripts over training steps: whether they end, how likely the end is, whether they repeat.

    From top to bottom: the share of the student's transcripts that end by themselves; the share of ends, its own and
    the teacher's, at which the student gives the end of text at least 0.5; both models' probability of the end on the
    student's rollouts; ends in 1,000 tokens; the compression ratio. Shades are 95 % intervals over utterances; stages,
    switches and levels of gates are as in `overlap_over_training`.

    Args:
        run: A run, finished or not.
        axes: Where to draw, five panels. Without them a figure is made.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [5].

    Raises:
        UserError: A wrong number of axes.
    """
    n = len(PANELS)
    height = (1.0 if width < 6 else 1.2) * n + 1.2
    if axes is None:
        panels = new_panels(n, 1, (width, height), sharex=True)
    else:
        panels = given_panels(axes, n, "one for each of its statistics")
    end, readings = last_step(run), gate_readings(run)
    probes = run.probes.assign(part=fall_backs_before(run, run.probes))
    entries: dict[str, tuple[Artist, pd.DataFrame]] = {}
    for panel, (label, lines) in zip(panels, PANELS, strict=True):
        panel.set_ylabel(label)
        spans = []
        for shown in lines:
            rows = probes.loc[(probes["statistic"] == shown.statistic) & (probes["states"] == shown.states)]
            if rows.empty:
                continue
            line, drawn = _draw(panel, rows, shown)
            spans.append(drawn)
            _, before = entries.get(shown.label, (line, rows.iloc[:0]))
            entries[shown.label] = line, rows if before.empty else pd.concat([before, rows])
        if spans:
            widen_flat_axis(panel, spans)
        else:
            write_message(panel)
        for shown in lines:
            level = readings.loc[readings["statistic"].eq(shown.statistic) & readings["states"].eq(shown.states)]
            draw_levels(panel, level, run.visits, end)
    for panel in panels:
        draw_stages(panel, run.visits, end)
    label_stages(panels[0], run.visits)
    panels[-1].set_xlabel("Training step")
    key = [(line, f"{label}: {span(rows, 'n_groups')}") for label, (line, rows) in entries.items()]
    key += level_entries(list(panels))
    if any(visit.decision == "fall_back" for visit in run.visits):
        key.append((Line2D([], [], **FALL_BACK), "gate fell back to earlier weights"))
    key_below(panels[-1], key, "Means with 95 % intervals over utterances; in the key: n utterances")
    return panels


def _draw(panel: Axes, rows: pd.DataFrame, shown: Shown) -> tuple[Line2D, NDArray[np.float64]]:
    """Draw one line with its interval; return it, and values with their bounds."""
    style = STATES[shown.states]
    ends = pd.DataFrame(rows, columns=["step", "value", "low", "high"])
    step, value, low, high = broken(finite(ends), pd.Series(rows["part"]))
    panel.fill_between(step, low, high, color=style.color, alpha=0.2, linewidth=0, zorder=2)
    usual: dict[str, Any] = {"linestyle": style.dashes, "marker": style.marker}
    look = usual | (shown.line or {}) | {"color": style.color, "linewidth": 1.2, "markeredgewidth": 0, "zorder": 3}
    (line,) = panel.plot(
        step, value, markersize=3.5 if len(step) <= 40 else 2.0, gid=f"{shown.statistic}, {shown.states}", **look
    )
    return line, np.stack([value, low, high])
