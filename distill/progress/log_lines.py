"""Progress without a terminal: complete lines, for log files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from .bars import decision_words, evaluation_line, probe_lines
from .observer import Observer

if TYPE_CHECKING:
    from ..data.line_findings import Finding
    from ..teacher_data.summary import TeacherDataSummary

PAUSE_SECONDS = 30.0
"""Shortest time between two lines of the same kind about steps or other work, except first and last ones."""


class LogProgress(Observer):
    """A line for every event; for steps and other work the first, the last and some in between.

    Args:
        file: Destination; None is standard error at the time of the first line.
        clock: Seconds, from any beginning.
    """

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._steps, self._last = 0, {"step": -float("inf"), "work": -float("inf")}

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """Print that a stage begins or continues."""
        self._steps, self._last["step"] = steps, -float("inf")
        self._line(f"step {step} · {name} ({kind}) · begins, at most {steps:,} steps")

    def step(self, row: Mapping[str, Any]) -> None:
        """Print loss, learning rate and seconds."""
        if self._due("step", last=row["stage_step"] >= self._steps):
            where = f"step {row['step']} · {row['stage']} · {row['stage_step']:,}/{self._steps:,}"
            seconds = sum(row["seconds"].values())
            self._line(f"{where} · loss {row['loss']:.4f} · lr {row['lr']:.3g} · {seconds:.2f} s")

    def work(self, what: str, done: int, total: int) -> None:
        """Print the progress of other work."""
        if done and self._due("work", last=done >= total):
            self._line(f"{what} · {done:,}/{total:,}")

    def probe(self, rows: list[dict[str, Any]]) -> None:
        """Print the statistics on each kind of states."""
        for line in probe_lines(rows):
            self._line(line)

    def decision(self, row: Mapping[str, Any]) -> None:
        """Print every reading of a gate."""
        self._line(": ".join(decision_words(row)))

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Print the error rate."""
        self._line(evaluation_line(row))

    def notice(self, text: str) -> None:
        """Print the text."""
        self._line(text)

    def unusable(self, findings: Sequence[Finding]) -> None:
        """Print the numbers of dropped and doubtful lines, with the first of each."""
        from ..data.line_findings import words

        self._line(words(findings))

    def teacher_data(self, stage: str, summary: TeacherDataSummary) -> None:
        """Print the kept share, and the reasons of drops."""
        self._line(f"{stage}: {summary.line}")

    def _due(self, kind: str, *, last: bool) -> bool:
        now = self._clock()
        if not last and now - self._last[kind] < PAUSE_SECONDS:
            return False
        self._last[kind] = -float("inf") if last else now
        return True

    def _line(self, text: str) -> None:
        print(text, file=self._file or sys.stderr, flush=True)
