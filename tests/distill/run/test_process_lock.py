"""One process at a time: who is refused, what is said, and which locks of the dead hold nobody back."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from distill.run import process_lock as module
from distill.run.process_lock import AtWorkError, Process, Terminated, at_work, refuse_if_at_work

HOLDER = """
import sys, time
from pathlib import Path
from distill.run.process_lock import at_work
with at_work(Path(sys.argv[1]), Path(sys.argv[2]), "the place"):
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def marks(tmp_path):
    return tmp_path / ".lock", tmp_path / "process.json"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 1.0)


@pytest.fixture
def holder(marks):
    """Another process that is at work there."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, *map(str, marks)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def read(marks) -> Process:
    found = Process.read(marks[1])
    assert found is not None
    return found


def test_another_process_is_named_and_one_that_was_killed_holds_nobody(marks, holder):
    pattern = (
        rf"process {holder.pid} on this machine, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC is working on the place"
    )
    with pytest.raises(AtWorkError, match=pattern), at_work(*marks, "the place"):
        pytest.fail("went in")
    with pytest.raises(AtWorkError, match=pattern):
        refuse_if_at_work(*marks, "the place")
    holder.kill()
    holder.wait()
    assert read(marks).left is None  # it could not say
    refuse_if_at_work(*marks, "the place")
    begun = time.monotonic()
    with at_work(*marks, "the place"):
        assert read(marks).pid == os.getpid()
    assert time.monotonic() - begun < 0.9  # the machine knows that it is dead, nobody waits for a sign of life
    assert read(marks).left == "done"


def test_a_second_one_in_the_same_process_is_refused_too(marks):
    with at_work(*marks, "the place"):
        with pytest.raises(AtWorkError, match=f"process {os.getpid()} on this machine"), at_work(*marks, "the place"):
            pytest.fail("went in")
        assert read(marks).left is None
    with at_work(*marks, "the place"):
        pass


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(15), "interrupted by signal 15"),
        (ValueError("first line\nsecond"), "failed: first line"),
        (MemoryError(), "failed: MemoryError"),
    ],
)
def test_how_it_left_is_kept(marks, error, left):
    with pytest.raises(type(error)), at_work(*marks, "the place"):
        raise error
    assert read(marks).left == left


def test_signs_of_life_go_on_while_it_is_there(marks):
    with at_work(*marks, "the place"):
        deadline = time.monotonic() + 10
        while read(marks).beat < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert read(marks).beat >= 3
    left = read(marks)
    time.sleep(0.1)
    assert read(marks) == left


class TestAnotherMachine:
    """Its lock does not reach here; its record does."""

    @pytest.fixture
    def elsewhere(self, marks):
        process = replace(Process.own(), host="node7", machine="another")
        process.write(marks[1])
        return process

    def test_one_that_shows_no_life_is_dead(self, marks, elsewhere):
        with at_work(*marks, "the place"):
            assert read(marks).host != elsewhere.host

    def test_one_that_lives_is_named(self, marks, elsewhere):
        gone = threading.Event()
        thread = threading.Thread(target=module._update_record, args=(elsewhere, marks[1], gone))
        thread.start()
        try:
            with (
                pytest.raises(AtWorkError, match=rf"process {elsewhere.pid} on node7, since "),
                at_work(*marks, "the place"),
            ):
                pytest.fail("went in")
        finally:
            gone.set()
            thread.join()
        assert read(marks).host == "node7"

    def test_nobody_waits_for_one_that_left(self, marks, elsewhere, monkeypatch):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 60.0)
        replace(elsewhere, left="interrupted").write(marks[1])
        with at_work(*marks, "the place"):
            pass


def test_where_there_are_no_locks_the_record_decides(marks, monkeypatch):
    class NoLocks:
        def __init__(self, path):
            self.path = path

        def acquire(self, timeout):
            raise OSError(37, "No locks available")

    monkeypatch.setattr(module, "FileLock", NoLocks)
    with (
        at_work(*marks, "the place"),
        pytest.raises(AtWorkError, match=f"process {os.getpid()} "),
        at_work(*marks, "the place"),
    ):
        pytest.fail("went in")
    with at_work(*marks, "the place"):
        pass


def test_a_damaged_record_holds_nobody(marks):
    marks[1].write_text('{"host": "nod')
    with at_work(*marks, "the place"):
        assert json.loads(marks[1].read_text())["pid"] == os.getpid()


def test_both_files_go_with_the_process_where_nobody_wants_them(marks, tmp_path):
    with at_work(*marks, "the place", keep=False):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "process.json"}
    assert not list(tmp_path.iterdir())
