"""One process at a time in a place that is written to: it says who it is and since when, and afterwards how it left.

The lock is the operating system's, which lets go of it when a process dies, however it dies. Where machines share a
folder without sharing locks, a process shows that it lives by writing its record again and again: one on another
machine whose record no longer changes is dead.
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

BEAT_SECONDS = 5.0
"""Between two signs of life."""
PATIENCE_SECONDS = 30.0
"""For a sign of life of a process on another machine, longer than network file systems keep what they read."""


class AtWorkError(UserError):
    """Another process is at work there; the message says which, since when, and what to do."""


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C's asked this process to end.

    Attributes:
        signal: Its number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


@dataclass(frozen=True)
class Process:
    """Who works in a place, or did last.

    Attributes:
        host: Name of the machine.
        machine: What tells machines of one name apart, and a machine from itself before it was started anew.
        pid: The process there.
        since: When it began, in UTC.
        beat: Signs of life so far.
        left: How it left; None while it is there, or if it died.
    """

    host: str
    machine: str
    pid: int
    since: str
    beat: int = 0
    left: str | None = None

    @classmethod
    def own(cls) -> Process:
        """This one, from now on."""
        return cls(platform.node(), _machine(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """From a record; None where there is none that can be read."""
        try:
            tree: Mapping[str, Any] = json.loads(path.read_bytes())
            return cls(**{name: tree[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the record; a disk that is full or gone does not end the work over this."""
        with suppress(OSError), replacing(path, sync=False) as temporary:
            temporary.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    def __str__(self) -> str:
        where = "this machine" if self.machine == _machine() else self.host
        return f"process {self.pid} on {where}, since {self.since.replace('T', ' ').removesuffix('+00:00')} UTC"


@contextmanager
def at_work(lock: Path, record: Path, place: str, *, keep: bool = True) -> Iterator[None]:
    """Be the only process that works in a place, and leave a record of how this ended.

    Args:
        lock: File that is locked; its folder exists.
        record: File that says who is there.
        place: What both are of, for messages.
        keep: Leave the record; without, both files go with the process.

    Raises:
        AtWorkError: Another process is there.
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
        shared = False  # a file system without locks: the record alone decides
    try:
        _wait_for_the_dead(record, place, locked=shared)
        own, gone = Process.own(), Event()
        own.write(record)
        thread = Thread(target=_beat, args=(own, record, gone), name="sign of life", daemon=True)
        thread.start()
        left = "done"
        try:
            yield
        except BaseException as error:
            left = _leaving(error)
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


def _beat(own: Process, record: Path, gone: Event) -> None:
    number = 0
    while not gone.wait(BEAT_SECONDS):
        number += 1
        replace(own, beat=number).write(record)


def _wait_for_the_dead(record: Path, place: str, *, locked: bool) -> None:
    """Refuse a process that lives where this machine's lock does not reach."""
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
    """Refuse, without taking it, a place where a process of this machine is at work.

    Raises:
        AtWorkError: One is.
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
        f"{who or 'another process'} is at work on {place}; nothing was touched. Wait until it has ended, or end it, "
        "then give the same command again"
    )


def _leaving(error: BaseException) -> str:
    if isinstance(error, Terminated):
        return f"interrupted by signal {error.signal}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    first = str(error).strip().split("\n")[0]
    return f"failed: {first}" if first else f"failed: {type(error).__name__}"


def _machine() -> str:
    try:
        # Anew with every start, and the same in all containers of a machine, as the reach of its locks is.
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{platform.node()}-{uuid.getnode():012x}"
