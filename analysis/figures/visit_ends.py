"""The moments of a run that figures compare: its start, and the end of each visit of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..formatting import count
from ..run.load import Run
from ..stages.ends import stage_moments
from .style import STAGE_COLORS, STAGE_MARKERS, START_COLOR


@dataclass(frozen=True, eq=False)
class Moment:
    """Measurements at one moment.

    Attributes:
        label: Such as `start` or `after base`.
        step: Training steps taken.
        kind: `sft`, `td` or `opd`: of the stage that was left; `start` for what the run began with.
        repeat: How many visits of this kind came before.
        rows: Of the frame that the moments are of.
    """

    label: str
    step: int
    kind: str
    repeat: int
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        """The label with the step."""
        return f"{self.label}, step {count(self.step)}"

    @property
    def color(self) -> str:
        """The stage's color; nearly black for the start."""
        return STAGE_COLORS.get(self.kind, START_COLOR)

    @property
    def line(self) -> dict[str, Any]:
        """Color, marker and dashes of a line, different for a repeated stage."""
        dashes = "-" if self.repeat == 0 else (0, (4, 1.5)) if self.repeat == 1 else (0, (1, 1))
        face = "white" if self.repeat or self.kind == "start" else self.color
        mark = {"marker": STAGE_MARKERS.get(self.kind, "D"), "markerfacecolor": face, "markeredgecolor": self.color}
        return {"color": self.color, "linestyle": ":" if self.kind == "start" else dashes, **mark}


def moments(run: Run, rows: pd.DataFrame, states: str) -> list[Moment]:
    """Return rows of a frame at the start of the run and at the end of every visit of a stage, in order.

    A visit that has not ended counts with its gate's last reading. Moments without rows are left out.

    Args:
        run: Whose stages.
        rows: Its probes, traces or positions.
        states: On whose transcripts.
    """
    return [
        Moment(label, step, "start", 0, found)
        if visit is None
        else Moment(label, step, visit.kind, repeats(run, visit.number, visit.kind), found)
        for label, step, visit, found in stage_moments(run, rows, states)
    ]


def repeats(run: Run, visit: int, kind: str) -> int:
    """Return how many visits of a kind took steps before a visit."""
    return sum(one.kind == kind and one.steps > 0 for one in run.visits if one.number < visit)


def is_measured(rows: pd.DataFrame, column: str) -> bool:
    """Return whether a column exists and has a number."""
    return column in rows and not bool(np.isnan(rows[column].to_numpy(dtype=float)).all())


def used_levels(frames: Sequence[pd.DataFrame], column: str) -> list[str]:
    """Return levels of a categorical column that any of the frames has, in their order."""
    there = {name for frame in frames for name in frame[column]}
    return [name for name in frames[0][column].cat.categories if name in there] if frames else []


def counts_text(rows: pd.DataFrame) -> str:
    """Return `n positions / n utterances` of the traces or positions of a moment, of those that were used."""
    used = np.array([np.sum(each) for each in rows["used"]])
    return f"{count(float(used.sum()))} / {count(len(set(rows['id'].to_numpy()[used > 0])))}"
