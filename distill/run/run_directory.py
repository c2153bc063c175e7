"""The run directory: the one interface between training and analysis, and the truth that trackers copy.

Logs are JSON lines, one object a line, appended and flushed as they happen. `rewind` cuts them back to the row counts
that a checkpoint recorded, so that a resumed run neither loses nor doubles a row.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

LOGS = ("metrics", "decisions", "evaluations")
PROBES = "probes"


class RunDirectoryError(ValueError):
    """A directory that cannot take or give a run; the message says why and what to do."""


class RunDirectory:
    """Files of one run (see the README for their columns).

    Attributes:
        path: The directory.
        rows: Rows of each log so far.
        writer: Whether this process writes. In a run of several processes one does; the others only count along.
    """

    def __init__(self, path: Path, rows: dict[str, int], *, writer: bool = True) -> None:
        self.path = path
        self.rows = rows
        self.writer = writer

    @classmethod
    def create(cls, path: str | Path, resolved: Mapping[str, Any]) -> RunDirectory:
        """A new run; refuses a directory that holds anything already.

        Raises:
            RunDirectoryError: The directory exists and is not empty.
        """
        path = Path(path)
        if (path / "resolved.json").exists():
            raise RunDirectoryError(
                f"{path} already holds a run. Continue it with `distill resume {path}`, or choose another --output."
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunDirectoryError(f"{path} exists and is not an empty directory. Choose another --output.")
        path.mkdir(parents=True, exist_ok=True)
        for name in ("checkpoints", "traces", "transcripts"):
            (path / name).mkdir()
        for name in LOGS:
            (path / f"{name}.jsonl").touch()
        write_atomically(path / "resolved.json", json.dumps(resolved, indent=2, ensure_ascii=False) + "\n")
        return cls(path, dict.fromkeys((*LOGS, PROBES), 0))

    @classmethod
    def open(cls, path: str | Path, *, writer: bool = True) -> RunDirectory:
        """An existing run.

        Args:
            path: The run directory.
            writer: Whether this process writes to it.

        Raises:
            RunDirectoryError: No `resolved.json` there.
        """
        path = Path(path)
        if not (path / "resolved.json").is_file():
            raise RunDirectoryError(f"{path} holds no run (resolved.json is missing)")
        rows = {name: (path / f"{name}.jsonl").read_bytes().count(b"\n") for name in LOGS}
        probes = path / "probes.parquet"
        return cls(path, rows | {PROBES: len(pd.read_parquet(probes)) if probes.exists() else 0}, writer=writer)

    @property
    def resolved(self) -> dict[str, Any]:
        """What the run was started with: recipe, versions, hashes."""
        return json.loads((self.path / "resolved.json").read_text(encoding="utf-8"))

    def append(self, log: str, row: Mapping[str, Any]) -> None:
        """Add one row to `metrics`, `decisions` or `evaluations`; NaN becomes null."""
        self.rows[log] += 1
        if not self.writer:
            return
        line = json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) + "\n"
        with (self.path / f"{log}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def append_probes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a probe's rows; the Parquet file is replaced whole, so a reader never sees half of it."""
        self.rows[PROBES] += len(rows)
        if not self.writer:
            return
        target = self.path / "probes.parquet"
        frame = pd.DataFrame(list(rows))
        if target.exists():
            frame = pd.concat([pd.read_parquet(target), frame], ignore_index=True)
        write_parquet(target, frame)

    def rewind(self, rows: Mapping[str, int]) -> None:
        """Cut every log back to the given number of rows; processes that do not write must wait for the one that does.

        Raises:
            RunDirectoryError: A log holds fewer rows than that.
        """
        self.rows = dict(rows)
        if not self.writer:
            return
        for log in LOGS:
            path = self.path / f"{log}.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            complete = [line for line in lines if line.endswith(b"\n")]
            if len(complete) < rows[log]:
                raise RunDirectoryError(f"{path} has {len(complete)} rows, the checkpoint recorded {rows[log]}")
            if len(lines) != rows[log]:
                write_atomically(path, b"".join(complete[: rows[log]]))
        probes = self.path / "probes.parquet"
        if probes.exists():
            frame = pd.read_parquet(probes)
            if rows[PROBES] == 0:
                probes.unlink()
            elif len(frame) > rows[PROBES]:
                write_parquet(probes, frame.iloc[: rows[PROBES]])


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    frame.to_parquet(temporary, index=False)
    temporary.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
