"""Divergence beside overlap for every token of one utterance, through the stages of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm, to_rgb
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from overlap.errors import UserError

from ..run.display_text import shown_token
from ..run.load import Run
from .cells import readable, shortened
from .fonts import drawable, families, legible
from .panels import check_states, fitted, given_panels, inches, new_panels, small, text_width, write_message
from .style import INK, STATES
from .visit_ends import Moment, moments

MOST_KL = 4.0
"""Nats from which on the color of forward KL stays the same."""
STATISTICS: tuple[tuple[str, str, str, Normalize], ...] = (
    ("forward_kl", "Forward KL (nats)", "cividis", PowerNorm(0.5, 0.0, MOST_KL, clip=True)),
    ("overlap_ratio", "Overlap |I|/k", "cividis_r", Normalize(0.0, 1.0, clip=True)),
)
"""Statistic, title, map and scale of each panel; in both, light tokens are those where the models are apart."""
NOT_USED = "#c9c9c9"
ROOM = 42.0
"""Points that a scale takes beside a panel."""
LEAST_SIZE = 6.0
"""Points of the smallest text in a cell."""
MOST_CHARACTERS = 6
"""Of a token, in the cells of an utterance that does not fit."""


@legible
def token_heat_map(
    run: Run,
    utterance: str | None = None,
    states: str = "teacher",
    axes: Sequence[Axes] | NDArray[np.object_] | None = None,
    *,
    first: int = 0,
    columns: int | None = None,
    width: float = 8.0,
) -> NDArray[np.object_]:
    """Draw forward KL beside overlap for every token of one utterance, a row for the start and the end of each stage.

    In both panels light cells are tokens where the models are apart; gray cells could not be compared. On the states
    `teacher`, `fixed` and `reference` all rows are of the same transcript, so that a column is a token; the student's
    own rollouts differ from row to row.

    Args:
        run: A run with traces.
        utterance: Its id; by default the first that was traced on these states.
        states: On whose transcripts.
        axes: Where to draw, two panels. Without them a figure is made.
        first: Position to begin at.
        columns: Positions shown; by default as many as have room for a short token.
        width: Of the figure that is made, in inches.

    Returns:
        The axes, of shape [2].

    Raises:
        UserError: Several runs, an unknown kind of states or utterance, or a wrong number of axes.
    """
    check_states([states])
    traces = run.traces.loc[run.traces["states"] == states]
    known = list(dict.fromkeys(traces["id"]))
    if utterance is not None and utterance not in known:
        there = ", ".join(map(str, known[:8])) or "no traces on these states in this run"
        raise UserError(f"utterance: no trace has id {utterance!r} on the states {states!r}; choose one of: {there}")
    chosen = traces.loc[traces["id"] == (utterance if utterance is not None or not known else known[0])]
    rows = moments(run, chosen, states)
    made = axes is None
    if axes is None:
        height = (0.22 if width >= 5 else 0.28) * max(len(rows), 1) + (0.6 if width >= 5 else 0.75)
        panels = new_panels(2, 1, (width, 2 * height + 0.2))
    else:
        panels = given_panels(axes, 2, "one for the divergence and one for overlap")
    if not rows or not any(len(moment.rows["token_ids"].iloc[0]) for moment in rows):
        for panel in panels:
            write_message(panel, "not traced in this run" if not rows else "this utterance has no tokens")
        return panels
    names = [moment.name.replace(", ", ",\n") if width < 5 else moment.name for moment in rows]
    beside = max(text_width(line, small(panels[0])) for name in names for line in name.splitlines()) + ROOM
    room = 72 * width - beside if made else 72 * inches(panels[0])
    shown = _shown(rows, first, columns, room)
    for number, (panel, (statistic, title, colors, scale)) in enumerate(zip(panels, STATISTICS, strict=True)):
        where = f"{chosen['id'].iloc[0]}, {STATES[states].label}; " if not number else ""
        _draw(panel, rows, statistic, colors, scale, shown, room)
        panel.set_yticks(range(len(rows)), names)
        _write_title(panel, f"{where}{title}{_cut(rows, shown)}", room)
    panels[-1].set_xlabel("Position (tokens before it)")
    return panels


def _draw(
    panel: Axes,
    rows: Sequence[Moment],
    statistic: str,
    colors: str,
    scale: Normalize,
    shown: range,
    room: float,
) -> None:
    traced: list[dict[Any, Any]] = [moment.rows.iloc[0].to_dict() for moment in rows]
    cell = room / max(1, len(shown))
    size = min(small(panel), max(5.0, cell / 1.6))
    most = max(1, int(cell / (0.62 * size)))
    mapped = mpl.colormaps[colors]
    for y, one in enumerate(traced):
        tokens = list(map(shown_token, one["token_bytes"], one["tokens"]))
        for x, position in enumerate(shown):
            if position >= len(tokens):
                continue
            value = _value(one, statistic, position)
            color = mapped(scale(value))[:3] if not np.isnan(value) else to_rgb(NOT_USED)
            patch = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=0.5)
            patch.set_gid(f"{y}, {position}")
            panel.add_patch(patch)
            text = shortened(drawable(tokens[position]), most)
            look: dict[str, Any] = {"fontsize": size, "color": readable(color), "family": families(text)}
            panel.text(x, y, text, ha="center", va="center", parse_math=False, **look)
    panel.set_xlim(-0.5, len(shown) - 0.5)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    every = max(1, int(np.ceil(text_width("000", small(panel)) / cell)))
    panel.set_xticks(range(0, len(shown), every), [str(position) for position in shown[::every]])
    panel.tick_params(length=0)
    for side in panel.spines.values():
        side.set_visible(False)
    ends = ("0", f"≥ {MOST_KL:g}") if statistic == "forward_kl" else ("0", "1")
    _draw_scale(panel, mapped, scale, ends)


def _shown(rows: Sequence[Moment], first: int, columns: int | None, room: float) -> range:
    """Return the positions that fit so many points, at the width of most tokens or of a few characters."""
    traced = [moment.rows.iloc[0] for moment in rows]
    length = max(len(one["token_ids"]) for one in traced)
    tokens = [shown_token(*pair) for one in traced for pair in zip(one["token_bytes"], one["tokens"], strict=True)]
    lengths = sorted(map(len, tokens))
    widest = min(
        MOST_CHARACTERS, max(2, lengths[int(0.8 * (len(lengths) - 1))])
    )  # a few, as of control tokens, are cut
    fit = max(1, int(room / (LEAST_SIZE * (0.62 * widest + 0.9))))
    return range(first, min(first + (columns or fit), length))


def _cut(rows: Sequence[Moment], shown: range) -> str:
    """Return how many positions are shown if not all are, in words."""
    length = max(len(moment.rows["token_ids"].iloc[0]) for moment in rows)
    return f"; {len(shown)} of {length} positions shown" if len(shown) < length else ""


def _write_title(panel: Axes, title: str, room: float) -> None:
    text = fitted(drawable(title), small(panel), room)
    style: dict[str, Any] = {"fontsize": small(panel), "color": INK, "parse_math": False, "family": families(text)}
    panel.set_title(text, loc="left", **style)


def _value(trace: Mapping[Any, Any], statistic: str, position: int) -> float:
    """Return a statistic at a position; NaN where it is undefined, not traced or not used."""
    if statistic not in trace or not trace["used"][position]:
        return float("nan")
    return float(trace[statistic][position])


def _draw_scale(panel: Axes, mapped: Any, scale: Normalize, ends: tuple[str, str]) -> None:
    bar = panel.figure.colorbar(
        ScalarMappable(scale, mapped), ax=panel, fraction=0.03, pad=0.01, aspect=12, shrink=0.95
    )
    assert scale.vmin is not None
    assert scale.vmax is not None
    bar.set_ticks([scale.vmin, scale.vmax], labels=list(ends))
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=small(panel), length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
