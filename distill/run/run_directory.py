"""The run directory: the only interface between training and analysis, and the source of truth for trackers.

Logs are JSON lines, appended and flushed immediately; probes are a folder of Parquet files, one for each probe.
`rewind` cuts them back to the row counts that a checkpoint recorded, so a resumed run neither loses nor duplicates a
row. One process at a time works on a run (`process.json` says which); any may read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import parquet

from overlap.errors import UserError
from overlap.plain_json import dumps
from overlap.version import SCHEMA, foreign_schema

from ..files import first_line, write_atomically, write_parquet, writing
from ..locations import require_writable
from .process_lock import at_work, refuse_if_at_work

LOGS = ("visits", "metrics", "decisions", "evaluations")
PROBES = "probes"
OF_PROBES = ("probe_sums", "traces", "token_rules", "no_speech", "signal", "calibration", "probe_groups")
"""Folders with more of a probe, in files of its name."""
SUMS, TRACES, TOKEN_RULES, NO_SPEECH, SIGNAL, CALIBRATION, GROUPS = OF_PROBES
LOCK, PROCESS = ".lock", "process.json"
"""Lock file and record of the process that works on a run."""


class RunDirectoryError(UserError):
    """A run directory that cannot be created or read; the message says why and what to do."""


class RunDirectory:
    """Files of one run; RUN_DIRECTORY.md has their columns.

    Attributes:
        path: The directory.
        rows: Rows of each log so far.
        writer: Whether this process writes. In a run of several processes only one does; the others only count rows.
    """

    def __init__(self, path: Path, rows: dict[str, int], *, writer: bool = True) -> None:
        self.path = path
        self.rows = rows
        self.writer = writer

    @classmethod
    def create(cls, path: str | Path, resolved: Mapping[str, Any]) -> RunDirectory:
        """Create a new run; refuses a directory that is not empty.

        Raises:
            RunDirectoryError: The directory exists and is not empty.
        """
        path = Path(path)
        _check_empty(path)
        path.mkdir(parents=True, exist_ok=True)
        for name in ("checkpoints", PROBES, *OF_PROBES, "transcripts"):
            (path / name).mkdir()
        for name in LOGS:
            (path / f"{name}.jsonl").touch()
        tree = {"schema": SCHEMA, **resolved}
        write_atomically(path / "resolved.json", dumps(tree, indent=2) + "\n")
        return cls(path, dict.fromkeys((*LOGS, PROBES), 0))

    @classmethod
    def check_vacant(cls, path: str | Path) -> None:
        """Refuse a directory that cannot be created or has files other than a process's lock and record.

        Raises:
            RunDirectoryError: It exists and is not empty.
            OSError: Nothing can be written there.
            AtWorkError: A process of this machine works there.
        """
        path = Path(path)
        refuse_if_at_work(path / LOCK, path / PROCESS, str(path))
        _check_empty(path)
        require_writable(path / "resolved.json", "--output", makes_folders=True)

    @classmethod
    def open(cls, path: str | Path, *, writer: bool = True) -> RunDirectory:
        """Return an existing run.

        Args:
            path: The run directory.
            writer: Whether this process writes to it.

        Raises:
            RunDirectoryError: No `resolved.json` there, one of another schema version, or a log is missing or damaged.
        """
        path = Path(path)
        if not (path / "resolved.json").is_file():
            raise RunDirectoryError(
                f"{path} holds no run: resolved.json is missing. Give the --output of `distill train`"
            )
        tree = read_json(path / "resolved.json")
        if isinstance(tree, dict) and (why := foreign_schema(tree, tree)):
            raise RunDirectoryError(f"{path}: {why}")
        logs = {name: path / f"{name}.jsonl" for name in LOGS}
        if folders := [str(log) for log in logs.values() if log.is_dir()]:
            raise RunDirectoryError(f"{', '.join(folders)}: a folder, not a file; {_RESTORE}")
        if missing := [str(log) for log in logs.values() if not log.is_file()]:
            raise RunDirectoryError(f"{', '.join(missing)}: missing; {_RESTORE}")
        rows = {name: log.read_bytes().count(b"\n") for name, log in logs.items()}
        return cls(path, rows | {PROBES: sum(map(_rows_of, _parts(path)))}, writer=writer)

    @property
    def resolved(self) -> dict[str, Any]:
        """The contents of `resolved.json`: recipe, versions, hashes."""
        tree = read_json(self.path / "resolved.json")
        for name in ("recipe", "manifest_sha256"):
            if not isinstance(tree, dict) or name not in tree:
                raise RunDirectoryError(f"{self.path / 'resolved.json'}: its {name} is missing; {_RESTORE}")
        for name in ("recipe", "manifest_sha256", "background_sha256"):
            if not isinstance(tree.get(name, {}), dict):
                raise RunDirectoryError(f"{self.path / 'resolved.json'}: its {name} is no object; {_RESTORE}")
        return tree

    def append(self, log: str, row: Mapping[str, Any]) -> None:
        """Add one row to a log; NaN becomes null, infinities text (`overlap.plain_json`)."""
        self.rows[log] += 1
        if not self.writer:
            return
        line = dumps(row) + "\n"
        path = self.path / f"{log}.jsonl"
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(line)

    def rows_of(self, log: str) -> list[dict[str, Any]]:
        """Return the rows of a log so far."""
        return [json.loads(line) for line in (self.path / f"{log}.jsonl").read_bytes().splitlines()]

    def append_probes(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a probe's rows, as a Parquet file of their own.

        Args:
            name: Of the file; names sort by time.
            rows: The measurements; without any, nothing is written.
        """
        self.rows[PROBES] += len(rows)
        if self.writer and rows:
            write_parquet(self.path / PROBES / f"{name}.parquet", pd.DataFrame(list(rows)))

    def probes(self) -> pd.DataFrame:
        """Return all probes so far, one row per kind of states and statistic, in the order of the run."""
        parts = [_read_probes(part) for part in _parts(self.path)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def rewind(self, rows: Mapping[str, int], *, until: tuple[int, int]) -> None:
        """Cut every log back to a checkpoint; processes that do not write must wait for the one that does.

        Args:
            rows: Rows of each log that the checkpoint recorded.
            until: Its visit and step: probes from there on are deleted, wherever their files sort.

        Raises:
            RunDirectoryError: A log holds fewer rows than that, or damaged ones, or probes that are not the run's;
                nothing is cut.
        """
        if self.writer:
            self._check_rows(rows, until)
        self.rows = dict(rows)
        if not self.writer:
            return
        for log in LOGS:
            path = self.path / f"{log}.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            complete = [line for line in lines if line.endswith(b"\n")]
            if len(lines) != rows[log]:
                write_atomically(path, b"".join(complete[: rows[log]]))
        for part in _parts(self.path):
            if _place_of(part) >= until:
                part.unlink()
                for folder in OF_PROBES:
                    (self.path / folder / part.name).unlink(missing_ok=True)  # of the same probe

    def _check_rows(self, rows: Mapping[str, int], until: tuple[int, int]) -> None:
        for log in LOGS:
            path = self.path / f"{log}.jsonl"
            lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            _check_number(path, len(lines), rows[log])
            for number, line in enumerate(lines[: rows[log]], start=1):
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise RunDirectoryError(f"{path}:{number}: not a line of JSON ({error}); {_RESTORE}") from error
                if not isinstance(row, dict):
                    raise RunDirectoryError(f"{path}:{number}: not an object; {_RESTORE}")
        places: dict[tuple[int, int], Path] = {}
        for part in _parts(self.path):
            other = places.setdefault(place := _place_of(part), part)
            if other != part:
                raise RunDirectoryError(
                    f"{part}: of visit {place[0]}, step {place[1]}, as {other.name}; one of them is a copy or of "
                    "another run: remove it"
                )
        found = sum(_rows_of(part) for place, part in places.items() if place < until)
        _check_number(self.path / PROBES, found, rows[PROBES])
        if found > rows[PROBES]:
            raise RunDirectoryError(
                f"{self.path / PROBES} has {found} rows, the checkpoint recorded {rows[PROBES]}; remove the files that "
                "are not of this run"
            )


def _check_empty(path: Path) -> None:
    if (path / "resolved.json").exists():
        began = [log for log in ("metrics", "decisions") if (path / f"{log}.jsonl").exists()]
        lost = any((path / f"{log}.jsonl").stat().st_size for log in began)
        if lost and not any((path / "checkpoints").glob("step-*")):
            raise RunDirectoryError(
                f"{path} already holds a run, and no checkpoint to continue it from. Choose another --output."
            )
        raise RunDirectoryError(
            f"{path} already holds a run. Continue it with `distill resume {path}`, or choose another --output."
        )
    if path.exists() and (not path.is_dir() or {file.name for file in path.iterdir()} - {LOCK, PROCESS}):
        raise RunDirectoryError(f"{path} exists and is not an empty directory. Choose another --output.")


_NEEDED = ("step", "visit", "states", "statistic")
"""Columns of probes without which a run cannot continue."""

_RESTORE = (
    "restore it from a copy, or start a new run; to start it from the last weights here, set student.model to the "
    "newest folder in checkpoints/"
)


def _check_number(path: Path, found: int, recorded: int) -> None:
    if found < recorded:
        raise RunDirectoryError(f"{path} has {found} rows, the checkpoint recorded {recorded}; {_RESTORE}")


def _parts(path: Path) -> list[Path]:
    """Return the files of a run's probes, as they were written."""
    return sorted((path / PROBES).glob("*.parquet"), key=lambda part: (len(part.stem), part.stem))


def _read_probes(path: Path) -> pd.DataFrame:
    with _report_damage(path):
        return pd.read_parquet(path)


def _place_of(path: Path) -> tuple[int, int]:
    """Return visit and step of a probe, as its rows have them."""
    with _report_damage(path):
        table = parquet.read_table(path)
    if missing := [name for name in _NEEDED if name not in table.column_names]:
        raise RunDirectoryError(f"{path}: {', '.join(missing)} missing among its columns; {_RESTORE}")
    places = {(row["visit"], row["step"]) for row in table.select(["visit", "step"]).to_pylist()}
    if len(places) != 1 or not all(isinstance(number, int) for place in places for number in place):
        raise RunDirectoryError(f"{path}: its rows are not of one visit and step; {_RESTORE}")
    return places.pop()


def _rows_of(path: Path) -> int:
    with _report_damage(path):
        return parquet.read_metadata(path).num_rows


@contextmanager
def _report_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise damaged(path, first_line(error)) from error


def damaged(path: Path, why: str) -> RunDirectoryError:
    """Return the error for a file of a run that cannot be used, with the remedy.

    Args:
        path: The file.
        why: What is wrong with it.
    """
    return RunDirectoryError(f"{path} is cut short or damaged ({why}); {_RESTORE}")


def read_json(path: Path) -> Any:
    """Return a JSON file of a run.

    Raises:
        RunDirectoryError: It is cut short or damaged; names it.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise damaged(path, f"not JSON: {error}") from error


@contextmanager
def occupied(path: Path) -> Iterator[None]:
    """Lock a run directory for this process.

    Args:
        path: Its directory, created if missing.

    Raises:
        AtWorkError: Another process works on it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with at_work(path / LOCK, path / PROCESS, str(path)):
        yield
