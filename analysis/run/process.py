"""The process that works on a run, or did last, from the trainer's record in the run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .files import read_record
from .records import ProcessRecord

FILE = "process.json"
SILENT_SECONDS = 60.0
"""Seconds without an update of its record after which a process counts as dead; updates come every few seconds."""


@dataclass(frozen=True)
class Process:
    """A process of the trainer.

    Attributes:
        host: Name of its machine.
        pid: Its number there.
        left: How it ended, such as `interrupted`; None while it works, or if it was killed.
        silent_seconds: Since the last update of its record.
    """

    host: str
    pid: int
    left: str | None
    silent_seconds: float

    @property
    def ended(self) -> str | None:
        """How it ended, in words; None while it works."""
        if self.left is not None:
            return self.left
        if self.silent_seconds > SILENT_SECONDS:
            return f"process {self.pid} on {self.host} ended without notice: killed, or its machine went down"
        return None


def read_process(run: Path, now: float) -> Process | None:
    """Return the last process of a run; None without a record.

    Args:
        run: The run directory.
        now: Seconds since the epoch.

    Raises:
        UserError: The record is damaged; names it.
    """
    path = run / FILE
    try:
        content, written = path.read_bytes(), path.stat().st_mtime
    except FileNotFoundError:
        return None
    row = read_record(content, str(path), ProcessRecord)
    return Process(row["host"], int(row["pid"]), row["left"], max(0.0, now - written))
