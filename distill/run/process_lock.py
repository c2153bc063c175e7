"""Lets one process at a time write to a place; a record says which process, since when, and how it ended.

The lock is the operating system's, which releases it whenever a process ends. Machines may share a folder without
sharing locks. A process therefore updates its record regularly; a process on another machine whose record no longer
changes is dead.
"""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from filelock import FileLock, Timeout

from overlap.errors import UserError
from overlap.files import replacing
from overlap.plain_json import dumps

BEAT_SECONDS = 5.0
"""Seconds between two updates of the record."""
PATIENCE_SECONDS = 30.0
"""Seconds to wait for an update by another machine, longer than network file systems cache reads."""


class AtWorkError(UserError):
    """Another process works there; the message says which, since when, and what to do."""


class Terminated(KeyboardInterrupt):
    """A signal other than that of Ctrl-C terminates this process.

    Attributes:
        signal: Its number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


@dataclass(frozen=True)
class Process:
    """The process that works in a place, or did last.

    Attributes:
        host: Name of the machine.
        machine: Distinguishes machines with the same name, and restarts of a machine.
        pid: The process there.
        since: Its start, in UTC.
        beat: Number of updates so far.
        left: How it ended; None while it runs, or if it was killed.
    """

    host: str
    machine: str
    pid: int
    since: str
    beat: int = 0
    left: str | None = None

    @classmethod
    def own(cls) -> Process:
        """Return a record of this process, from now on."""
        return cls(platform.node(), _machine(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """Read a record; None if there is none that can be read."""
        try:
            tree: Mapping[str, Any] = json.loads(path.read_bytes())
            return cls(**{name: tree[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the record; a full or missing disk does not end the work."""
        with suppress(OSError), replacing(path, sync=False) as temporary:
            temporary.write_text(dumps(asdict(self), ensure_ascii=True) + "\n", encoding="utf-8")

    def __str__(self) -> str:
        where = "this machine" if self.machine == _machine() else self.host
        return f"process {self.pid} on {where}, since {self.since.replace('T', ' ').removesuffix('+00:00')} UTC"


@contextmanager
def at_work(lock: Path, record: Path, place: str, *, keep: bool = True) -> Iterator[None]:
    """Lock a place for this process, and record how the process ended.

    Args:
        lock: File to lock; its folder exists.
        record: File with the record.
        place: The place, for messages.
        keep: Keep the record at the end; otherwise both files are deleted.

    Raises:
        AtWorkError: Another process works there.
    """
    held = FileLock(lock)
    shared = True
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise _refusal(Process.read(record), place) from None
    except (NotImplementedError, OSError):
        if not os.access(lock.parent, os.W_OK):
            raise
        shared = False  # a file system without locks: only the record decides
    try:
        _refuse_if_alive_elsewhere(record, place, locked=shared)
        own, gone = Process.own(), Event()
        own.write(record)
        thread = Thread(target=_update_record, args=(own, record, gone), name="sign of life", daemon=True)
        thread.start()
        left = "done"
        try:
            yield
        except BaseException as error:
            left = _exit_text(error)
            raise
        finally:
            gone.set()
            thread.join()
            replace(own, left=left).write(record)
            if not keep:
                with suppress(OSError):
                    record.unlink()
                    lock.unlink()
    finally:
        if shared:
            held.release()


def _update_record(own: Process, record: Path, gone: Event) -> None:
    number = 0
    while not gone.wait(BEAT_SECONDS):
        number += 1
        replace(own, beat=number).write(record)


def _refuse_if_alive_elsewhere(record: Path, place: str, *, locked: bool) -> None:
    """Refuse if a process of another machine, which the lock does not cover, is alive."""
    last = Process.read(record)
    if last is None or last.left is not None or (locked and last.machine == _machine()):
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(PATIENCE_SECONDS / 30)
        now = Process.read(record)
        if now is not None and now != last:
            raise _refusal(now, place)


def refuse_if_at_work(lock: Path, record: Path, place: str) -> None:
    """Refuse a place where a process of this machine works, without locking it.

    Raises:
        AtWorkError: There is one.
    """
    if not lock.exists():
        return
    with suppress(NotImplementedError, OSError):
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            raise _refusal(Process.read(record), place) from None
        held.release()


def _refusal(who: Process | None, place: str) -> AtWorkError:
    return AtWorkError(
        f"{who or 'another process'} is working on {place}; nothing was changed. Wait until it has ended, or end it, "
        "then repeat the command"
    )


def _exit_text(error: BaseException) -> str:
    if isinstance(error, Terminated):
        return f"interrupted by signal {error.signal}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    first = str(error).strip().split("\n")[0]
    return f"failed: {first}" if first else f"failed: {type(error).__name__}"


def _machine() -> str:
    try:
        # New at every boot, and the same in all containers of a machine, like the scope of its locks.
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{platform.node()}-{uuid.getnode():012x}"
