"""What a run tells whoever watches it. The trainer is silent; the command line and notebooks show what they hear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..teacher_data.summary import TeacherDataSummary


class Observer:
    """Hears every event of a run; this one ignores them all."""

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """A stage of at most `steps` steps begins, or continues, at `step`."""

    def step(self, row: Mapping[str, Any]) -> None:
        """A row of `metrics.jsonl`."""

    def probe(self, rows: list[dict[str, Any]]) -> None:
        """Rows of `probes.parquet`."""

    def decision(self, row: Mapping[str, Any]) -> None:
        """A row of `decisions.jsonl`."""

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """A row of `evaluations.jsonl`."""

    def teacher_data(self, stage: str, summary: TeacherDataSummary) -> None:
        """A stage of teacher data has its transcripts."""

    def work(self, what: str, done: int, total: int) -> None:
        """Progress of something other than training steps, such as teacher transcripts."""
