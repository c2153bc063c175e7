"""Membership of tokens in both models' sets along one utterance."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch, Rectangle

from overlap.errors import UserError

from ..run.checks import want_run
from ..run.display_text import shown_token
from ..run.load import Run
from .cells import cell_text_size, readable, shortened
from .fonts import drawable, families, legible
from .panels import check_states, inches, key_below, one_panel, small, write_message
from .style import BOTH, INK, STATES, STUDENT_ONLY, TEACHER_ONLY

COLORS = {"both sets": BOTH, "student's alone": STUDENT_ONLY, "teacher's alone": TEACHER_ONLY}
FAINT = 1e-4
"""Probabilities up to this one have the palest color."""
CELL = 3.2
"""Least width of a cell, in multiples of its text size."""
SHADES = (1.0, 0.1, 0.01, 0.001, FAINT)
"""Probabilities in the key."""


def choose_trace(
    run: Run,
    utterance: str | None = None,
    states: str = "student",
    *,
    step: int | None = None,
    stage: str | None = None,
) -> pd.Series:
    """Return one row of `run.traces`.

    Args:
        run: A run with traces.
        utterance: Its id; by default the first.
        states: On whose transcripts.
        step: Training step; by default the last that was traced.
        stage: Stage; by default the last at that step.

    Raises:
        UserError: Several runs, or there is no such trace; names those there are.
    """
    want_run(run, remedy="; a trace is of one run")
    check_states([states])
    rows = run.traces
    wanted: dict[str, Any] = {"states": states, "step": step, "stage": stage, "id": utterance}
    for column, value in wanted.items():
        if value is None and len(rows) and column in ("step", "stage"):
            value = rows.iloc[-1][column]
        chosen = rows if value is None else rows.loc[rows[column] == value]
        if chosen.empty:
            there = ", ".join(map(str, list(dict.fromkeys(rows[column]))[:8])) or "no traces in this run"
            raise UserError(f"no trace has {column} = {value!r}; choose one of: {there}")
        rows = chosen
    return rows.iloc[0]


@legible
def support_membership(
    trace: pd.Series | Mapping[str, Any],
    ax: Axes | None = None,
    *,
    rows: int = 10,
    first: int = 0,
    columns: int | None = None,
    width: float = 8.0,
) -> Axes:
    """Draw the union of both models' sets at every token of one utterance, the most probable tokens on top.

    Color shows whose set a token is in, its strength the larger of both models' probabilities on a logarithmic scale.
    The written token is framed if it is shown.

    Args:
        trace: A row of `run.traces`, see `choose_trace`.
        ax: Where to draw. Without it a figure is made.
        rows: Union tokens shown at each position.
        first: Position to begin at.
        columns: Positions shown; by default as many as have room for a short token.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: Not a trace, no position at `first`, or rows or columns are not at least 1.
    """
    if not isinstance(trace, pd.Series | Mapping) or "token_ids" not in trace:
        what = f"received a {type(trace).__name__}"
        raise UserError(f"trace: expected one row of run.traces, such as choose_trace(run), {what}")
    length = len(trace["token_ids"])
    if rows < 1 or (columns is not None and columns < 1):
        raise UserError(f"rows, columns: expected at least 1 of each, received {rows} and {columns}")
    if not 0 <= first < max(length, 1):
        raise UserError(f"first: the utterance has positions 0 to {length - 1}, received {first}")
    panel = one_panel(ax, width, 0.2 * rows + (2.1 if width > 5 else 2.0))
    columns = columns or max(1, int(72 * inches(panel) / (CELL * small(panel))))
    shown = range(first, min(first + columns, length))
    if not len(shown):
        write_message(panel, "this utterance has no tokens")
        return panel
    size, most = cell_text_size(panel, len(shown))
    deepest = 0
    for x, position in enumerate(shown):
        cells = _cells(trace, position)
        deepest = max(deepest, len(cells))
        for y, (token, owner, probability, written) in enumerate(cells[:rows]):
            color = _mixed(COLORS[owner], probability)
            panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=0.6))
            if written:
                frame = {"fill": False, "edgecolor": "black", "linewidth": 1.2, "zorder": 3}
                panel.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, gid="written", **frame))
            style: dict[str, Any] = {
                "fontsize": size,
                "color": readable(color),
                "parse_math": False,
                "family": families(token),
            }
            panel.text(x, y, shortened(drawable(token), most), ha="center", va="center", **style)
    drawn = min(rows, deepest)
    panel.set_xlim(-0.5, len(shown) - 0.5)
    panel.set_ylim(drawn - 0.5, -0.5)
    panel.set_yticks(range(drawn), [str(rank + 1) for rank in range(drawn)])
    panel.set_ylabel("Rank in the union\n(by larger probability)")
    panel.set_xticks(range(len(shown)), [str(position) for position in shown])
    panel.set_xlabel("Position (tokens before it)")
    panel.tick_params(length=0)
    for side in panel.spines.values():
        side.set_visible(False)
    _write_titles(panel, trace, shown, drawn, deepest)
    return panel


def _cells(trace: pd.Series | Mapping[str, Any], position: int) -> list[tuple[str, str, float, bool]]:
    """Return token, owner, larger probability, and whether it is in the transcript: best first."""
    logs = np.array(
        [np.asarray(trace[name][position], dtype=float) for name in ("student_logprobs", "teacher_logprobs")]
    )
    probabilities = np.exp(np.where(np.isnan(logs), -np.inf, logs)).max(axis=0, initial=0.0)
    owners = []
    for student, teacher in zip(trace["in_student"][position], trace["in_teacher"][position], strict=True):
        owners.append("both sets" if student and teacher else "student's alone" if student else "teacher's alone")
    order = np.argsort(-probabilities, kind="stable")
    ids, written = list(trace["union_ids"][position]), list(trace["token_ids"])[position]
    tokens = list(map(shown_token, trace["union_bytes"][position], trace["union_tokens"][position]))
    return [(tokens[i], owners[i], float(probabilities[i]), bool(ids[i] == written)) for i in order]


def _write_titles(panel: Axes, trace: pd.Series | Mapping[str, Any], shown: range, drawn: int, deepest: int) -> None:
    where = [str(trace["id"]), STATES[str(trace["states"])].label]
    if "step" in trace:
        where.insert(1, f"{trace['stage']} step {int(str(trace['step'])):,}")
    lines = [", ".join(where), f"text: {trace['text']}"]
    if trace["reference"] is not None:
        lines.append(f"reference: {trace['reference']}")
    most = int(72 * inches(panel) / (0.58 * small(panel)))
    title = "\n".join(textwrap.fill(drawable(line), most, max_lines=2, placeholder=" …") for line in lines)
    style: dict[str, Any] = {"fontsize": small(panel), "color": INK, "parse_math": False, "family": families(title)}
    panel.set_title(title, loc="left", **style)
    entries: list[tuple[Artist, str]] = []
    for name, color in COLORS.items():
        shades = tuple(Patch(facecolor=_mixed(color, probability)) for probability in SHADES)
        entries.append((cast(Artist, shades), f"in {name}"))
    entries.append((Patch(facecolor="white", edgecolor="black", linewidth=1.2), "token in the transcript"))
    length = len(trace["token_ids"])
    parts = [f"k = {trace['k']}", f"shades: probability {', '.join(f'{shade:g}' for shade in SHADES)} or less"]
    if drawn < deepest:
        parts.append(f"{drawn} of up to {deepest} union tokens shown")
    if len(shown) < length:
        parts.append(f"{len(shown)} of {length} positions shown")
    key_below(panel, entries, "; ".join(parts), handler_map={tuple: HandlerTuple(ndivide=None, pad=0)})


def _mixed(color: str, probability: float) -> tuple[float, float, float]:
    """Return a mixture of white and the color, by the probability on the logarithmic scale."""
    share = 1 - min(1.0, math.log(max(probability, FAINT)) / math.log(FAINT)) if probability > 0 else 0.0
    weight = 0.15 + 0.85 * share
    red, green, blue = (1 - weight * (1 - part) for part in to_rgb(color))
    return red, green, blue
