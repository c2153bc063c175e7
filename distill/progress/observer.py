"""Observers of a run's events. The trainer prints nothing; the command line and notebooks show the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.line_findings import Finding
    from ..teacher_data.summary import TeacherDataSummary


class Observer:
    """Receives every event of a run; this base class ignores them."""

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """Receive the start or continuation, at `step`, of a stage of at most `steps` steps."""

    def step(self, row: Mapping[str, Any]) -> None:
        """Receive a row of `metrics.jsonl`."""

    def probe(self, rows: list[dict[str, Any]]) -> None:
        """Receive rows of `probes/`."""

    def decision(self, row: Mapping[str, Any]) -> None:
        """Receive a row of `decisions.jsonl`."""

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Receive a row of `evaluations.jsonl`."""

    def teacher_data(self, stage: str, summary: TeacherDataSummary) -> None:
        """Receive the summary of a stage's teacher data."""

    def notice(self, text: str) -> None:
        """Receive a message for readers of the log, in a sentence."""

    def unusable(self, findings: Sequence[Finding]) -> None:
        """Receive lines that the run drops, and doubtful ones that it uses."""

    def work(self, what: str, done: int, total: int) -> None:
        """Receive the progress of something other than training steps, such as teacher transcripts."""


class Observers(Observer):
    """Several observers, which receive every event in turn."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.stage(name, kind, step, steps)

    def step(self, row: Mapping[str, Any]) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.step(row)

    def probe(self, rows: list[dict[str, Any]]) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.probe(rows)

    def decision(self, row: Mapping[str, Any]) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.decision(row)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.evaluation(row)

    def teacher_data(self, stage: str, summary: TeacherDataSummary) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.teacher_data(stage, summary)

    def notice(self, text: str) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.notice(text)

    def unusable(self, findings: Sequence[Finding]) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.unusable(findings)

    def work(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        for observer in self.observers:
            observer.work(what, done, total)
