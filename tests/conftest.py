"""Recorded speech and a pretrained recognizer for the tests that want them, and tables that tests leave behind."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# trackio asks for its folder once, when it is imported, which other libraries do where they find it.
_TRACKIO = tempfile.TemporaryDirectory(prefix="trackio-")
os.environ["TRACKIO_DIR"] = _TRACKIO.name

_TABLES = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def recorded_speech() -> Path:
    """`$RECORDED_SPEECH`: a folder with `models/whisper-tiny.en` and `data/read`. Without it these tests skip.

    Where it is named but not whole they fail, so that nobody takes skipped tests for passed ones.
    """
    named = os.environ.get("RECORDED_SPEECH")
    if not named:
        pytest.skip("$RECORDED_SPEECH names no folder with models/whisper-tiny.en and data/read")
    folder = Path(named).absolute()
    missing = [
        name for name in ("models/whisper-tiny.en/config.json", "data/read/test.jsonl") if not (folder / name).exists()
    ]
    if missing:
        pytest.fail(f"$RECORDED_SPEECH is {folder}, where there is no {' and no '.join(missing)}")
    return folder


@pytest.fixture(scope="session")
def leave_table(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Called with a title and a text, shows both after the test results, whatever the capture mode."""
    return pytestconfig.stash.setdefault(_TABLES, {}).__setitem__


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, text in terminalreporter.config.stash.get(_TABLES, {}).items():
        terminalreporter.section(title)
        terminalreporter.write_line(text)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes
        session.config.workeroutput["tables"] = session.config.stash.get(_TABLES, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash.setdefault(_TABLES, {}).update(getattr(node, "workeroutput", {}).get("tables", {}))
