"""Whether statistics tell right transcripts from wrong ones, over the training steps of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from overlap.definitions import canonical
from overlap.errors import UserError
from overlap.signal import CHANCE, TEACHERS_WORD, USEFUL, Verdict

from ..formatting import counts
from ..run.load import Run
from ..stages.ends import fall_backs_before
from .fonts import legible
from .panels import check_states, finite, inches, key_below, one_panel, small, write_message
from .style import INK, axis_label
from .training_axis import broken, draw_stages, label_stages
from .visit_ends import is_measured

MARKS = {
    Verdict.CARRIES_SIGNAL: "o",
    Verdict.UNDECIDED: "D",
    Verdict.NO_USEFUL_SIGNAL: "X",
}
"""Marker of a probe by its verdict."""
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))


@legible
def signal_over_training(
    run: Run,
    statistics: Sequence[str] = (TEACHERS_WORD, "top1_agreement"),
    states: str = "student",
    ax: Axes | None = None,
    *,
    width: float = 8.0,
) -> Axes:
    """Draw how well statistics tell right transcripts from wrong ones over training steps, with the verdicts.

    The number is the AUROC: the share of pairs of a right and a wrong transcript in which the right one has the better
    mean of the statistic. Bands are 95 % intervals, not corrected for the number of statistics; marks are verdicts,
    which are. At 0.5 a statistic says nothing of errors, below 0.65 it is of no use. Where all transcripts are right,
    or all wrong, there is no number.

    Args:
        run: A run whose probe set has texts, finished or not.
        statistics: Of `run.signal`, at most four; `teacher_logprob` is s(y), the teacher's mean log-probability.
        states: On whose transcripts.
        ax: Where to draw. Without it a figure is made.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: An unknown statistic or kind of states, or too many statistics.
    """
    check_states([states])
    names = [canonical(name) for name in statistics]
    if not 0 < len(names) <= len(DASHES):
        raise UserError(f"statistics: expected one to {len(DASHES)} names, received {len(names)}")
    panel = one_panel(ax, width, 3.3 if width > 5 else 3.5)
    panel.set_ylabel("AUROC")
    panel.set_xlabel("Training step")
    rows = run.signal.loc[(run.signal["states"] == states) & (run.signal["quantity"] == "auroc")]
    rows = rows.loc[rows["statistic"].isin(names)]
    if not is_measured(rows, "value"):
        nothing = "not measured in this run" if rows.empty else "no probe has both right and wrong transcripts"
        write_message(panel, nothing)
        return panel
    entries: list[tuple[Artist, str]] = []
    colors = sns.color_palette("colorblind").as_hex()
    for number, name in enumerate(names):
        own = rows.loc[rows["statistic"] == name]
        line = _draw(panel, run, own, colors[number], DASHES[number])
        if line is not None:
            label = "s(y), teacher's mean log-probability" if name == TEACHERS_WORD else axis_label(name).split("\n")[0]
            right, wrong = (counts(own[side].astype(float)) for side in ("n_right", "n_wrong"))
            entries.append((line, f"{label}: {right} / {wrong}"))
    for level, said in ((CHANCE, "chance"), (USEFUL, "useful")):
        panel.axhline(level, color=INK, linewidth=0.9, linestyle="--" if level == USEFUL else "-", zorder=1, gid=said)
        where = (1, level)
        panel.annotate(
            f"{level:g} {said}",
            where,
            (-3, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=0.9 * small(panel),
            color=INK,
        )
    entries += [
        (
            Line2D([], [], marker=mark, linestyle="", color=INK, markersize=5, markerfacecolor=_face(verdict, INK)),
            verdict,
        )
        for verdict, mark in MARKS.items()
        if (rows["verdict"] == str(verdict)).any()
    ]
    logs = (run.metrics, run.probes, run.evaluations)
    draw_stages(panel, run.visits, max((int(step) for log in logs for step in log["step"].tail(1)), default=0))
    label_stages(panel, run.visits)
    low, high = panel.get_ylim()
    panel.set_ylim(max(min(low, 0.3), -0.02), min(max(high, 0.9), 1.02))
    over = " or ".join(dict.fromkeys(rows["over"]))
    title = f"95 % intervals over {counts(rows['n_groups'].astype(float))} {over}; marks are verdicts, Holm-corrected "
    title += "over the probe's statistics; in the key: n right / n wrong transcripts"
    key_below(panel, entries, title)
    return panel


def _draw(
    panel: Axes, run: Run, rows: pd.DataFrame, color: str, dashes: str | tuple[int, tuple[float, ...]]
) -> Artist | None:
    """Draw one statistic; None where it has no number."""
    if not is_measured(rows, "value"):
        return None
    numbers = pd.DataFrame(rows, columns=["step", "value", "low", "high"])
    step, value, low, high = broken(finite(numbers), fall_backs_before(run, rows))
    panel.fill_between(step, low, high, color=color, alpha=0.18, linewidth=0, zorder=2)
    (line,) = panel.plot(step, value, color=color, linestyle=dashes, linewidth=1.2, zorder=3)
    line.set_gid(str(rows["statistic"].iloc[0]))
    for verdict, mark in MARKS.items():
        at = rows.loc[rows["verdict"] == str(verdict)]
        size = 5 if inches(panel) > 4 else 4
        face = _face(verdict, color)
        panel.plot(
            np.asarray(at["step"], dtype=float),
            np.asarray(at["value"], dtype=float),
            linestyle="",
            marker=mark,
            markersize=size,
            markerfacecolor=face,
            markeredgecolor=color,
            markeredgewidth=0.8,
            zorder=4,
        )
    return line


def _face(verdict: Verdict, color: str) -> str:
    """Return the color inside a mark: none where the verdict is open."""
    return "white" if verdict is Verdict.UNDECIDED else color
