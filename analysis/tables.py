"""Tables of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from .load import Run

OVERLAP_COLUMNS = {
    "union_size": "VUSS",
    "student_size": "|S|",
    "teacher_size": "|T|",
    "intersection_size": "|I|",
    "top1_agreement": "top-1",
    "total_variation": "TV",
}
"""Statistics shown by stage, with their headings. VUSS is the mean |U|."""


@dataclass(frozen=True)
class StageTable:
    """What each stage of a run did.

    Attributes:
        frame: A row a stage as it was left: steps, WER with interval, overlap on the student's own states with
            intervals and counts, and why the stage ended. Columns ending in `.low` and `.high` are 95 % intervals.
    """

    frame: pd.DataFrame

    def to_text(self) -> str:
        """Aligned plain text; intervals in brackets."""
        shown = pd.DataFrame({"stage": self.frame["stage"], "steps": self.frame["steps"]})
        shown["WER [95 %]"] = self._interval("wer")
        for statistic, heading in OVERLAP_COLUMNS.items():
            if statistic in self.frame:
                full = statistic in ("union_size", "top1_agreement", "total_variation")
                shown[heading] = self._interval(statistic) if full else [_number(v) for v in self.frame[statistic]]
        if "n_positions" in self.frame:
            shown["n pos."] = [_count(value) for value in self.frame["n_positions"]]
        lines = shown.to_string(index=False).splitlines()
        reasons = [f"  {row.stage}: {row.reason}" for row in self.frame.itertuples() if isinstance(row.reason, str)]
        return "\n".join([*lines, "", "why each stage ended:", *reasons])

    def _interval(self, name: str) -> list[str]:
        if name not in self.frame:
            return ["–"] * len(self.frame)
        columns = zip(self.frame[name], self.frame[f"{name}.low"], self.frame[f"{name}.high"], strict=True)
        return [
            f"{_number(value)} [{_number(low)}, {_number(high)}]" if not math.isnan(value) else "–"
            for value, low, high in columns
        ]


def stage_table(run: Run) -> StageTable:
    """Steps, error rate, overlap and gate reason of every stage a run has left, and of the teacher."""
    rows = []
    evaluations = run.evaluations
    if len(evaluations) and (evaluations["model"] == "teacher").any():
        teacher = evaluations[evaluations["model"] == "teacher"].iloc[-1]
        rows.append({"stage": "(teacher)", "steps": "–", "reason": None} | _error_rate(teacher))
    ends = run.decisions[run.decisions["decision"] != "stay"] if len(run.decisions) else run.decisions
    # A run's last stage also has the row that closes the run; the gate's own row says why.
    for (step, stage), decisions in ends.groupby(["step", "stage"], sort=False):
        row = {"stage": stage, "steps": int(decisions["stage_step"].iloc[0]), "reason": decisions["reason"].iloc[0]}
        row["decision"] = decisions["decision"].iloc[0]
        if len(evaluations):
            mine = (evaluations["step"] == step) & (evaluations["stage"] == stage) & (evaluations["model"] == "student")
            if mine.any():
                row |= _error_rate(evaluations[mine].iloc[-1])
        row |= _overlap(run.probes, step, stage)
        rows.append(row)
    return StageTable(pd.DataFrame(rows))


def _error_rate(row: pd.Series) -> dict[str, float]:
    return {"wer": row["wer.value"], "wer.low": row["wer.low"], "wer.high": row["wer.high"]}


def _overlap(probes: pd.DataFrame, step: int, stage: str) -> dict[str, float]:
    chosen = (probes["step"] == step) & (probes["stage"] == stage) & (probes["states"] == "student")
    mine = probes[chosen].drop_duplicates("statistic", keep="last").set_index("statistic")
    found: dict[str, float] = {}
    for name in OVERLAP_COLUMNS:
        if name in mine.index:
            found |= {name: mine.loc[name, "value"], f"{name}.low": mine.loc[name, "low"]}
            found |= {f"{name}.high": mine.loc[name, "high"], "n_positions": mine.loc[name, "n_positions"]}
    return found


def _number(value: float) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}" if abs(value) >= 2 else f"{value:.3f}"


def _count(value: float) -> str:
    return "–" if math.isnan(value) else f"{int(value):,}"
