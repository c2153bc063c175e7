"""Statistics by class of token and by correctness of the token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from overlap.definitions import canonical
from overlap.errors import UserError
from overlap.strata import CORRECTNESS, TOKEN_CLASSES, Labels, align_to_reference, by, correctness, token_classes

from ..formatting import count
from ..run.display_text import plain
from ..run.load import Run
from ..run.traces import units
from .fonts import legible
from .panels import check_states, key_below, one_panel, small, tidy, write_message
from .style import INK, axis_label
from .visit_ends import Moment, counts_text, moments, used_levels

STRATA = {"token_class": TOKEN_CLASSES, "correctness": CORRECTNESS}


@legible
def strata(
    run: Run,
    labels: str = "token_class",
    statistic: str = "top1_agreement",
    states: str = "student",
    ax: Axes | None = None,
    *,
    width: float = 8.0,
) -> Axes:
    """Draw a statistic by stratum, one dot with an interval for the run's start and the end of each stage.

    Dots are means over the traced positions of the stratum, bars their 95 % bootstrap intervals over utterances (none
    where a single utterance has such positions), the numbers on the right n positions.

    Args:
        run: A run with traces.
        labels: `token_class`, or `correctness` of the token by an alignment with the reference.
        statistic: A statistic of positions.
        states: On whose transcripts.
        ax: Where to draw. Without it a figure is made.
        width: Of the figure that is made, in inches.

    Raises:
        UserError: Unknown labels, or an unknown statistic or kind of states.
    """
    statistic = canonical(statistic)
    if labels not in STRATA:
        raise UserError(f"labels: no strata are called {labels!r}; there are {', '.join(STRATA)}")
    label = axis_label(statistic)
    check_states([states])
    found = strata_frames(run, labels, statistic, states)
    levels = used_levels([frame for _, frame in found], labels)
    height = 0.15 * max(len(levels) * (len(found) + 0.8), 8) + 1.0 + (0.12 if width > 5 else 0.2) * len(found)
    panel = one_panel(ax, width, height)
    panel.set_xlabel(label.replace("\n", " "))
    if not found:
        write_message(panel)
        return panel
    entries: list[tuple[Artist, str]] = []
    step = 0.8 / max(len(found), 1)
    pitch = 72 * panel.get_window_extent().height / panel.figure.dpi / len(levels) * step
    beside: dict[str, Any] = {
        "textcoords": "offset points",
        "fontsize": min(0.9 * small(panel), 0.85 * pitch),
        "color": INK,
    }
    panel.annotate("n", (1, 1), (3, 2), xycoords="axes fraction", **beside)
    for number, (moment, rows) in enumerate(found):
        y = np.array([levels.index(name) for name in rows[labels]]) + step * (number - (len(found) - 1) / 2)
        value, low, high = (rows[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
        panel.hlines(y, low, high, color=moment.color, linewidth=1.4, zorder=2)
        style: dict[str, Any] = moment.line | {"linestyle": ""}
        (dots,) = panel.plot(value, y, markersize=4.5, zorder=3, gid=moment.name, **style)
        entries.append((dots, f"{moment.name}: {counts_text(moment.rows)}"))
        for place, n in zip(y, rows["n_positions"], strict=True):
            panel.annotate(count(n), (1, place), (3, 0), xycoords=("axes fraction", "data"), va="center", **beside)
    panel.set_yticks(range(len(levels)), [name.replace("_", " ") for name in levels])
    panel.set_ylim(len(levels) - 0.5, -0.5)
    for edge in np.arange(1, len(levels)) - 0.5:
        panel.axhline(edge, color="#d0d0d0", linewidth=0.5, zorder=0.4)
    tidy(panel, grid="x")
    panel.tick_params(axis="y", length=0)
    aside = " (correct: ignoring case and punctuation)" if labels == "correctness" else ""
    key_below(
        panel,
        entries,
        f"Means with 95 % intervals over utterances{aside}; n positions / n utterances, by stratum at the right",
    )
    return panel


def strata_frames(run: Run, parted: str, statistic: str, states: str) -> list[tuple[Moment, pd.DataFrame]]:
    """Return the numbers of `strata`: for each moment, one row for each stratum with positions, with value, interval
    and counts."""
    found = []
    for moment in moments(run, run.traces, states):
        if statistic not in moment.rows:
            continue
        labels, groups, keep = _labels(moment.rows, parted)
        values = np.concatenate([np.asarray(row, dtype=float) for row in moment.rows[statistic]])
        frame = by({statistic: values}, labels, groups, mask=keep)
        if len(frame := frame.loc[frame["n_positions"] > 0]):
            found.append((moment, frame))
    return found


def _labels(traces: pd.DataFrame, parted: str) -> tuple[Labels, np.ndarray, np.ndarray]:
    """Return the label and utterance of every position, and whether it was used."""
    codes: list[np.ndarray] = []
    columns = traces[["token_bytes", "text", "reference", "finished"]]
    for spelled, text, reference, finished in columns.itertuples(index=False):
        codes.append(_codes([piece or b"" for piece in spelled], text, reference, finished, parted))
    lengths = [len(row) for row in codes]
    groups = np.repeat(units(traces), lengths)
    keep = np.concatenate([np.asarray(used, dtype=bool) for used in traces["used"]])
    return Labels(parted, STRATA[parted], np.concatenate(codes)), groups, keep


def _codes(pieces: Sequence[bytes], text: str, reference: str | None, finished: bool, parted: str) -> np.ndarray:
    """Return labels of the tokens of a transcript; -1 if its text differs from its tokens."""
    if b"".join(pieces).decode("utf-8", "replace").strip() != text.strip():
        return np.full(len(pieces), -1, dtype=np.int32)
    ids = np.arange(len(pieces))[None]
    ends = [len(pieces) - 1] if finished and pieces and not pieces[-1] else []
    if parted == "token_class":
        return token_classes(ids, pieces, end_of_text=ends).codes[0]
    return correctness(
        ids, pieces, align_to_reference(ids, pieces, [reference], normalize=plain), end_of_text=ends
    ).codes[0]
