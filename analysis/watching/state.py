"""The state of a run, from its directory: the numbers of the view."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from overlap.errors import UserError

from ..run.files import read_json, read_object
from ..run.kinds import REMEDY
from ..run.load import Run, load
from ..run.process import read_process

RECENT_STEPS = 50
"""Number of steps over which the usual time of a step is averaged."""
STALLED_STEPS = 100
"""A run is stalled if nothing was written for the time of so many usual steps …"""
STALLED_SECONDS = 60.0
"""… and for so many seconds: probes, evaluations and checkpoints take time between steps."""
WRITTEN = ("*.jsonl", "probes", "teacher-transcripts-*", "traces")


@dataclass(frozen=True, eq=False)
class RunState:
    """The state of a run.

    Attributes:
        run: Its files as frames.
        stage: Index of the current stage in the recipe; the next one's once a gate has advanced.
        stage_step: Steps taken in it since it was last entered.
        step: Steps taken in the run.
        outcome: How the run ended: `finished`, `stopped` or `aborted`; None while it has not.
        reason: Why it ended, in words.
        quiet_seconds: Seconds since the last write.
        step_seconds: Mean of the last steps of this stage, without probes and evaluations; NaN before the first.
        phase_seconds: The same by phase.
        transcripts: By stage of teacher data: its summary, or the number of transcripts so far.
        interrupted: How its process ended before the run did, in words; None while it works, or if unknown.
    """

    run: Run
    stage: int
    stage_step: int
    step: int
    outcome: str | None
    reason: str
    quiet_seconds: float
    step_seconds: float = math.nan
    phase_seconds: dict[str, float] = field(default_factory=dict)
    transcripts: dict[str, dict[str, Any] | int] = field(default_factory=dict)
    interrupted: str | None = None

    @property
    def stage_name(self) -> str:
        """Name of the current stage."""
        return self.run.stages[self.stage]["name"]

    @property
    def stage_steps(self) -> int | None:
        """Maximum number of steps of the current stage: its own, or the run's remaining steps; None if not known."""
        own, total = self.run.stages[self.stage].get("steps"), self.total_steps
        limits = [] if own is None else [int(own)]
        limits += [] if total is None else [self.stage_step + total - self.step]
        return min(limits, default=None)

    @property
    def total_steps(self) -> int | None:
        """Total number of steps after which the run ends in any stage; None without such a limit."""
        return self.run.resolved["recipe"].get("total_steps")

    @property
    def stage_seconds_left(self) -> float:
        """Maximum remaining seconds of the stage's steps; NaN before its first step or without a limit."""
        if self.stage_steps is None:
            return math.nan
        return self.step_seconds * max(0, self.stage_steps - self.stage_step)

    @property
    def aborted(self) -> bool:
        """Whether a gate aborted the run."""
        return self.outcome == "aborted"

    @property
    def stalled(self) -> bool:
        """Whether nothing was written for unusually long."""
        usual = 0.0 if math.isnan(self.step_seconds) else self.step_seconds
        return self.outcome is None and self.quiet_seconds > max(STALLED_SECONDS, STALLED_STEPS * usual)


def run_state(path: str | Path, now: float | None = None) -> RunState:
    """Read a run, finished or running.

    Args:
        path: The run directory.
        now: Seconds since the epoch; None uses the current time.

    Raises:
        FileNotFoundError, ValueError: See `analysis.run.load`; a trace of a probe is refused.
    """
    now = time.time() if now is None else now
    run = load(path)
    if run.probed is not None:
        raise UserError(f"{path} is the trace of a probe, not a run; see it with `distill report {path}`")
    if not run.stages:
        raise UserError(f"{run.path / 'resolved.json'}: field `recipe.stages` is empty; {REMEDY}")
    process = read_process(run.path, now)
    (stage, stage_step, step), (outcome, reason) = _position(run), run.ended or (None, "")
    written = [p.stat().st_mtime for pattern in (*WRITTEN, "resolved.json") for p in run.path.glob(pattern)]
    quiet = max(0.0, now - max(written))
    phases = _phase_seconds(run, run.stages[stage]["name"])
    total = sum(phases.values()) if phases else math.nan
    interrupted = process.ended if process is not None and outcome is None else None
    return RunState(run, stage, stage_step, step, outcome, reason, quiet, total, phases, _transcripts(run), interrupted)


def _position(run: Run) -> tuple[int, int, int]:
    """Return the index of the stage, steps in it, and steps of the run."""
    last: dict[str, Any] | None = run.decisions.iloc[-1].to_dict() if len(run.decisions) else None
    trained: dict[str, Any] | None = run.metrics.iloc[-1].to_dict() if len(run.metrics) else None
    if last is None or (trained is not None and trained["step"] > last["step"]):
        if trained is None:
            return 0, 0, 0
        return _stage_of(run, trained), int(trained["stage_step"]), int(trained["step"])
    stage, stage_step, step = _stage_of(run, last), int(last["stage_step"]), int(last["step"])
    entered: dict[str, Any] = run.begun.iloc[-1].to_dict() if len(run.begun) else last
    if entered["visit"] > last["visit"]:
        return _stage_of(run, entered), 0, int(entered["first_step"])
    if last["decision"] == "advance" and stage + 1 < len(run.stages):  # between two stages
        return stage + 1, 0, step
    return stage, stage_step, step


def _stage_of(run: Run, row: Mapping[str, Any]) -> int:
    """Return the index of a row's stage, or of its visit's stage where the recipe has none of that name."""
    names = [stage["name"] for stage in run.stages]
    visited = run.begun.loc[run.begun["visit"] == row["visit"], "stage"].tolist()
    return next((names.index(name) for name in (row["stage"], *visited) if name in names), 0)


def _phase_seconds(run: Run, stage: str) -> dict[str, float]:
    mine = run.metrics[run.metrics["stage"] == stage].tail(RECENT_STEPS)
    columns = [name for name in mine.columns if name.startswith("seconds.")]
    taken = {name: np.asarray(mine[name], dtype=float) for name in columns}
    seconds = {n.removeprefix("seconds."): float(np.nan_to_num(v).mean()) for n, v in taken.items() if len(v)}
    return {phase: mean for phase, mean in seconds.items() if mean > 0}


def _transcripts(run: Run) -> dict[str, dict[str, Any] | int]:
    found: dict[str, dict[str, Any] | int] = {}
    for stage in run.stages:
        base = run.path / f"teacher-transcripts-{stage['name']}"
        summary, journal = (base.with_name(f"{base.name}.{end}") for end in ("summary.json", "journal.jsonl"))
        if summary.exists():
            found[stage["name"]] = read_object(summary.read_bytes(), str(summary), ("n", "n_kept"))
        elif journal.exists():
            found[stage["name"]] = _transcribed(journal)
    return found


def _transcribed(journal: Path) -> int:
    """Return transcripts in the complete lines of a journal, a batch each; the first line is a header."""
    lines = journal.read_bytes().splitlines(keepends=True)
    n = 0
    for number, line in enumerate(lines, start=1):
        where = f"{journal}, line {number}"
        if not line.endswith(b"\n"):  # the last one, which is being written right now
            continue
        if number == 1:
            read_object(line, where, ())
        elif isinstance(batch := read_json(line, where), list):
            n += len(batch)
        else:
            raise UserError(
                f"{where}: expected a list of transcripts, found {type(batch).__name__}; restore the file from a copy, "
                "or delete it and resume the run, which lets the teacher write them again"
            )
    return n
