"""Copies of a run for TensorBoard, Weights & Biases and trackio.

The run directory is the source of truth. A tracker failure is reported once and never stops training; each tracker has
its own thread, so training does not wait for it. A resumed run continues in the same copies. TensorBoard forgets the
steps that are repeated; the other trackers cannot, and keep their first values.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from overlap.extras import require
from overlap.plain_json import dumps

from ..progress.observer import Observer, Observers
from ..recipe import Recipe, TrackerName
from ..run.run_directory import PROBES, RunDirectory, read_json, write_atomically
from ..teacher.errors import shown

COPIED = ("metrics", "evaluations", PROBES, "decisions")
"""Logs that are sent to trackers; those of one step are sent in this order."""
RECORD = "trackers.json"
"""File with the trackers' runs that mirror this one, and the number of rows of each log that they may have."""
PLACE = ("step", "visit")
"""Fields of a row that identify it and are not measurements."""
PATIENCE_SECONDS = 60.0
"""How long the end of a run waits for a slow tracker."""

Rows = dict[str, int]
"""Numbers of rows, by log."""


def check_trackers(names: Iterable[str]) -> None:
    """Refuse, before anything else, trackers that are not installed.

    Raises:
        MissingExtraError: Names the extra.
    """
    for name in names:
        require(name, extra=name, purpose=f"The tracker {name!r}")


def trackers_of(run: Path) -> tuple[TrackerName, ...]:
    """Return trackers that have a copy of the run."""
    path = run / RECORD
    return tuple(read_json(path)["rows"]) if path.exists() else ()


@contextmanager
def copied(recipe: Recipe, run: RunDirectory, observer: Observer, *, step: int, before: Rows) -> Iterator[Observer]:
    """Copy all events inside to the recipe's trackers, after the rows of the run directory that they lack.

    Args:
        recipe: Names the trackers.
        run: The run directory, cut back to where training continues; only the process that writes it copies.
        observer: Is also told what happens.
        step: Training steps so far.
        before: Rows of each log before it was cut back.

    Yields:
        The observer to train with.
    """
    if not recipe.tracking.trackers or not run.writer:
        yield observer
        return
    path = run.path / RECORD
    record = read_json(path) if path.exists() else {"id": uuid.uuid4().hex[:8], "rows": {}}
    copies: list[_Copy] = []
    for name in recipe.tracking.trackers:
        known = record["rows"].get(name)
        failed = name in record.get("failed", ())  # then its rows are known, and it lacks the rest
        least = dict.fromkeys(before, 0) if failed else before
        held = {log: max(known[log], least[log]) if known else 0 for log in COPIED}
        if name == "tensorboard" and known:  # forgets later rows, which the others cannot
            held = {log: sum(row["step"] < step for row in _rows(run, log)) for log in COPIED}
        record["rows"][name] = held
        copies.append(
            _Copy(name, lambda n=name, new=not known: _tracker(n, recipe, run.path, record["id"], step, new), held, run)
        )
    record["failed"] = []
    write_atomically(path, dumps(record, ensure_ascii=True) + "\n")
    try:
        yield Observers(*copies, observer)
    finally:
        for copy in copies:
            copy.close()
        failed = [copy for copy in copies if copy.failed]
        record["failed"] = [copy.name for copy in failed]
        record["rows"] |= {copy.name: copy.arrived for copy in failed}
        write_atomically(path, dumps(record, ensure_ascii=True) + "\n")


def _tracker(name: str, recipe: Recipe, run: Path, id_: str, step: int, new: bool) -> GeneralTracker:
    """Return one of accelerate's trackers, started; the same `id_` continues the same run of it."""
    section, config = recipe.tracking, recipe.model_dump(mode="json")
    if recipe.teacher is not None and recipe.teacher.url is not None:
        config["teacher"]["url"] = shown(recipe.teacher.url)  # data of trackers may leave the machine
    title = section.run_name or recipe.name
    if name == "tensorboard":
        tracker: GeneralTracker = TensorBoardTracker("tensorboard", str(run), purge_step=step)
        tracker.start()
        if new or step == 0:
            tracker.log({"recipe": f"```\n{json.dumps(config, indent=2, ensure_ascii=False)}\n```"}, step=0)
        return tracker
    if name == "wandb":
        import wandb

        # W&B would otherwise capture standard output, which shows progress.
        settings = wandb.Settings(console="off", quiet=True)
        options = {"name": title, "id": id_, "resume": "allow", "dir": str(run), "config": config, "settings": settings}
        tracker = WandBTracker(section.project, **options)
    else:
        _quieten_trackio()
        options = {"name": f"{title}-{id_}", "resume": "allow", "config": config, "embed": False}
        tracker = TrackioTracker(section.project, auto_log_gpu=False, auto_log_cpu=False, **options)
    tracker.start()
    return tracker


def _quieten_trackio() -> None:
    """Send trackio's output to standard error: standard output is the run's own.

    It always prints, from this thread; other threads may print at the same time.
    """
    import trackio
    from trackio import run, utils

    for module in (trackio, run, utils):
        vars(module)["print"] = _to_stderr


def _to_stderr(*words: object, **options: Any) -> None:
    options["file"] = sys.stderr
    print(*words, **options)


class _Copy(Observer):
    """One tracker's copy: first the rows that it lacks, then new ones, without those it already has."""

    def __init__(self, name: str, start: Callable[[], GeneralTracker], held: Rows, run: RunDirectory) -> None:
        self.name = name
        self.failed = False
        self._queue: SimpleQueue[tuple[str, int, int, dict[str, Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"copy to {name}", daemon=True)
        self.arrived = dict(held)
        self._held = {log: max(0, n - run.rows[log]) for log, n in held.items()}
        self._start = start
        self._thread.start()
        for log, rows in _missing_rows(run, held):
            self._put(log, rows)

    def step(self, row: Mapping[str, Any]) -> None:
        self._receive("metrics", [row])

    def probe(self, rows: list[dict[str, Any]]) -> None:
        self._receive(PROBES, rows)

    def decision(self, row: Mapping[str, Any]) -> None:
        self._receive("decisions", [row])

    def evaluation(self, row: Mapping[str, Any]) -> None:
        self._receive("evaluations", [row])

    def close(self) -> None:
        """Wait until everything is copied, up to a time limit."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(PATIENCE_SECONDS)
            if self._thread.is_alive():
                self._fail(TimeoutError(f"still behind after {PATIENCE_SECONDS:g} s"))

    def _receive(self, log: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._held[log] > 0:
            self._held[log] -= len(rows)
        else:
            self._put(log, rows)

    def _put(self, log: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows and not self.failed:
            self._queue.put((log, len(rows), int(rows[0]["step"]), tracked_values(log, rows)))

    def _work(self) -> None:
        try:
            tracker = self._start()
            while (item := self._queue.get()) is not None:
                log, n, step, values = item
                tracker.log(values, step=step)
                self.arrived[log] += n
            tracker.finish()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failed = True
        print(
            f"{self.name} gets no more copies of this run ({type(error).__name__}: {error}); training continues, and "
            "the run directory is complete",
            file=sys.stderr,
        )


def tracked_values(log: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return values of log rows for trackers: finite numbers by name, and decisions as text.

    Names are paths: `train/overlap/union_size`, `probe/student/union_size/low`, `evaluation/test/student/wer/value`,
    `decisions/teacher data/advance`.
    """
    values: dict[str, Any] = {}
    for row in rows:
        if log == "metrics":
            values |= _numbers("train", {key: value for key, value in row.items() if key not in PLACE})
        elif log == PROBES:
            estimate = {key: row[key] for key in ("value", "low", "high")}
            values |= _numbers(f"probe/{row['states']}/{row['statistic']}", estimate)
        elif log == "decisions":
            said = ": ".join(filter(None, (row["gate"], row.get("outcome"), row["reason"])))
            values[f"decisions/{row['stage']}/{row['decision']}"] = said
        else:
            about = {key: value for key, value in row.items() if key not in PLACE}
            values |= _numbers(f"evaluation/{row['set']}/{row['model']}", about)
    return values


def _numbers(name: str, value: Any) -> dict[str, float]:
    """Return leaves that are finite numbers; undefined values are left out, because trackers cannot store gaps."""
    if isinstance(value, Mapping):
        return {k: v for key, inner in value.items() for k, v in _numbers(f"{name}/{key}", inner).items()}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {name: value} if is_number and math.isfinite(value) else {}


def _missing_rows(run: RunDirectory, held: Rows) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return rows that a tracker lacks, grouped by log, step and stage, in the order of their steps."""
    groups: list[tuple[str, list[dict[str, Any]]]] = []
    for log in COPIED:
        rows = _rows(run, log)[held[log] : run.rows[log]]
        together = itertools.groupby(rows, key=lambda row: (row["step"], row["stage"]))
        groups += [(log, list(group)) for _, group in together]
    return sorted(groups, key=lambda group: group[1][0]["step"])


def _rows(run: RunDirectory, log: str) -> list[dict[str, Any]]:
    if log != PROBES:
        lines = (run.path / f"{log}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    return run.probes().to_dict("records")  # pyright: ignore[reportReturnType]
