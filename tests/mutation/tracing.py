"""Which tests reach which lines, learned while pytest runs."""

import sys
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Recorder:
    """A pytest plugin and trace function in one.

    Lines reached while a test runs belong to the test; those reached while its fixtures are made belong to all tests of
    its file, which may share them; the rest belongs to loading.
    """

    LOADING = "loading"

    def __init__(self, tree: Path) -> None:
        self._prefix = f"{tree}/"
        self._owner = self.LOADING
        self._reached: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._seconds: dict[str, float] = {}
        self._wanted: dict[str, str | None] = {}

    def __enter__(self) -> "Recorder":
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def result(self) -> dict[str, Any]:
        """As JSON can hold it."""
        reached = {
            path: {str(line): sorted(owners) for line, owners in lines.items()} for path, lines in self._reached.items()
        }
        return {"seconds": self._seconds, "reached": reached}

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        filename = frame.f_code.co_filename
        if filename not in self._wanted:
            inside = filename.startswith(f"{self._prefix}overlap/")
            self._wanted[filename] = filename.removeprefix(self._prefix) if inside else None
        path = self._wanted[filename]
        if path is None:
            return None
        lines = self._reached[path]

        def line(frame: FrameType, event: str, argument: object) -> Any:
            lines[frame.f_lineno].add(self._owner)
            return line

        return line(frame, event, argument)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Any:
        self._owner = item.nodeid.split("::")[0]
        sys.settrace(self._call)  # some libraries take the trace function away
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        self._owner, start = item.nodeid, time.monotonic()
        sys.settrace(self._call)
        yield
        self._seconds[item.nodeid] = time.monotonic() - start
        self._owner = self.LOADING
