"""The run directory: the one interface between training and analysis, and the truth that trackers copy.

Logs are JSON lines, one object a line, appended and flushed as they happen. `rewind` cuts them back to the row counts
that a checkpoint recorded, so that a resumed run neither loses nor doubles a row. One process at a time works on a run
(`process.json` says which); any may read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ..places import require_writable
from .at_work import at_work, refuse_if_at_work
from .writing import first_line, writing

LOGS = ("metrics", "decisions", "evaluations")
PROBES = "probes"
LOCK, PROCESS = ".lock", "process.json"
"""What a process that works on a run locks, and where it says who it is."""


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
        _check_empty(path)
        path.mkdir(parents=True, exist_ok=True)
        for name in ("checkpoints", "traces", "transcripts"):
            (path / name).mkdir()
        for name in LOGS:
            (path / f"{name}.jsonl").touch()
        write_atomically(path / "resolved.json", json.dumps(resolved, indent=2, ensure_ascii=False) + "\n")
        return cls(path, dict.fromkeys((*LOGS, PROBES), 0))

    @classmethod
    def check_vacant(cls, path: str | Path) -> None:
        """Refuse a directory that holds anything but the mark of a process that works there, or cannot be made.

        Raises:
            RunDirectoryError: It exists and is not empty.
            OSError: Nothing can be written there.
            AtWorkError: A process of this machine is at work there.
        """
        path = Path(path)
        refuse_if_at_work(path / LOCK, path / PROCESS, str(path))
        _check_empty(path)
        require_writable(path / "resolved.json", "--output", makes_folders=True)

    @classmethod
    def open(cls, path: str | Path, *, writer: bool = True) -> RunDirectory:
        """An existing run.

        Args:
            path: The run directory.
            writer: Whether this process writes to it.

        Raises:
            RunDirectoryError: No `resolved.json` there, or a log is missing or damaged.
        """
        path = Path(path)
        if not (path / "resolved.json").is_file():
            raise RunDirectoryError(f"{path} holds no run (resolved.json is missing)")
        logs = {name: path / f"{name}.jsonl" for name in LOGS}
        if missing := [str(log) for log in logs.values() if not log.is_file()]:
            raise RunDirectoryError(f"{', '.join(missing)}: missing; {_RESTORE}")
        rows = {name: log.read_bytes().count(b"\n") for name, log in logs.items()}
        probes = path / "probes.parquet"
        return cls(path, rows | {PROBES: len(_read_probes(probes)) if probes.exists() else 0}, writer=writer)

    @property
    def resolved(self) -> dict[str, Any]:
        """What the run was started with: recipe, versions, hashes."""
        tree = read_json(self.path / "resolved.json")
        if not isinstance(tree, dict) or "recipe" not in tree:
            raise RunDirectoryError(f"{self.path / 'resolved.json'}: its recipe is missing; {_RESTORE}")
        return tree

    def append(self, log: str, row: Mapping[str, Any]) -> None:
        """Add one row to `metrics`, `decisions` or `evaluations`; NaN becomes null."""
        self.rows[log] += 1
        if not self.writer:
            return
        line = json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) + "\n"
        path = self.path / f"{log}.jsonl"
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(line)

    def append_probes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a probe's rows; the Parquet file is replaced whole, so a reader never sees half of it."""
        self.rows[PROBES] += len(rows)
        if not self.writer:
            return
        target = self.path / "probes.parquet"
        frame = pd.DataFrame(list(rows))
        if target.exists():
            frame = pd.concat([_read_probes(target), frame], ignore_index=True)
        write_parquet(target, frame)

    def rewind(self, rows: Mapping[str, int]) -> None:
        """Cut every log back to the given number of rows; processes that do not write must wait for the one that does.

        Raises:
            RunDirectoryError: A log holds fewer rows than that, or damaged ones; nothing is cut.
        """
        if self.writer:
            self._check_rows(rows)
        self.rows = dict(rows)
        if not self.writer:
            return
        for log in LOGS:
            path = self.path / f"{log}.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            complete = [line for line in lines if line.endswith(b"\n")]
            if len(lines) != rows[log]:
                write_atomically(path, b"".join(complete[: rows[log]]))
        probes = self.path / "probes.parquet"
        if probes.exists():
            frame = _read_probes(probes)
            if rows[PROBES] == 0:
                probes.unlink()
            elif len(frame) > rows[PROBES]:
                write_parquet(probes, frame.iloc[: rows[PROBES]])

    def _check_rows(self, rows: Mapping[str, int]) -> None:
        for log in LOGS:
            path = self.path / f"{log}.jsonl"
            lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            _check_number(path, len(lines), rows[log])
            for number, line in enumerate(lines[: rows[log]], start=1):
                try:
                    json.loads(line)
                except ValueError as error:
                    raise RunDirectoryError(f"{path}:{number}: not a line of JSON ({error}); {_RESTORE}") from error
        probes = self.path / "probes.parquet"
        _check_number(probes, len(_read_probes(probes)) if probes.exists() else 0, rows[PROBES])


def _check_empty(path: Path) -> None:
    if (path / "resolved.json").exists():
        raise RunDirectoryError(
            f"{path} already holds a run. Continue it with `distill resume {path}`, or choose another --output."
        )
    if path.exists() and (not path.is_dir() or {file.name for file in path.iterdir()} - {LOCK, PROCESS}):
        raise RunDirectoryError(f"{path} exists and is not an empty directory. Choose another --output.")


_RESTORE = (
    "restore it from a copy, or start a new run, which may begin from this one's last weights: as student.model give "
    "the newest folder in its checkpoints/"
)


def _check_number(path: Path, found: int, recorded: int) -> None:
    if found < recorded:
        raise RunDirectoryError(f"{path} has {found} rows, the checkpoint recorded {recorded}; {_RESTORE}")


def _read_probes(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path} is cut short or damaged ({first_line(error)}); {_RESTORE}") from error


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
        RunDirectoryError: It is cut short or damaged; names it.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise RunDirectoryError(f"{path} is cut short or damaged (not JSON: {error}); {_RESTORE}") from error


@contextmanager
def occupied(path: Path) -> Iterator[None]:
    """Be the only process that works on a run.

    Args:
        path: Its directory, made if it is not there.

    Raises:
        AtWorkError: Another process does.
    """
    path.mkdir(parents=True, exist_ok=True)
    with at_work(path / LOCK, path / PROCESS, str(path)):
        yield


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path, temporary):
        with temporary.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file so that it is there whole or not at all; its folder is made if need be."""
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
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
