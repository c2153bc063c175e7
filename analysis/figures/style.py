"""Colors and names that all figures share. Lines are in seaborn's color-blind palette."""

from __future__ import annotations

from dataclasses import dataclass

import seaborn as sns

from overlap.definitions.names import ALL
from overlap.errors import UserError

from ..run.display_text import STATES as LABEL

_BLUE, _ORANGE, _GREEN, _RED, _PURPLE = sns.color_palette("colorblind").as_hex()[:5]

INK = "#404040"
"""Text and rules that are not data."""
ALARM = _RED

LABEL_SIZE = 0.9
"""Size of ticks, keys and labels inside panels, relative to the font's."""

STAGE_TINTS = {"sft": "#edf0f2", "td": "#fbf0d0", "opd": "#dceefb"}
"""Background of a stage by its type, the same in all runs."""
STAGE_COLORS = {"sft": "#6f7c87", "td": "#c98200", "opd": "#0173b2"}
"""Lines and marks at the end of a stage, by its type: its tint at full strength."""
STAGE_MARKERS = {"sft": "o", "td": "s", "opd": "^"}
START_COLOR = "#303030"
"""Color of a run's start."""


STUDENT_ONLY, BOTH, TEACHER_ONLY = "#56b4e9", "#029e73", "#de8f05"
"""Tokens in the student's set alone, in both sets, in the teacher's alone."""


@dataclass(frozen=True)
class StateStyle:
    """Style and name of one kind of states."""

    label: str
    color: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]]


STATES = {
    "student": StateStyle(LABEL["student"], _BLUE, "o", "-"),
    "fixed": StateStyle(LABEL["fixed"], _ORANGE, "s", (0, (4, 1.5))),
    "teacher": StateStyle(LABEL["teacher"], _GREEN, "^", (0, (1, 1))),
    "reference": StateStyle(LABEL["reference"], _PURPLE, "D", (0, (4, 1, 1, 1))),
}
"""By kind of states, as probes name them."""

LABELS = {
    "union_size": "VUSS = mean |U|",
    "student_size": "Mean |S|",
    "teacher_size": "Mean |T|",
    "intersection_size": "Mean |I|",
    "top1_agreement": "Top-1 agreement",
    "forward_kl": "Forward KL",
    "reverse_kl": "Reverse KL",
    "union_kl": "Union KL",
    "jensen_shannon": "Jensen–Shannon",
    "student_logprob": "Student log p",
    "teacher_logprob": "Teacher log q",
}


def axis_label(statistic: str) -> str:
    """Return the name and unit of a statistic, on two lines.

    Raises:
        UserError: No such statistic; names those there are.
    """
    if statistic not in ALL:
        raise UserError(f"no statistic is called {statistic!r}; there are {', '.join(ALL)}")
    name = LABELS.get(statistic, statistic.replace("_", " ").capitalize())
    return f"{name}\n({ALL[statistic].unit})"
