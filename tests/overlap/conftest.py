"""Tables that tests leave at the end of the log."""

from collections.abc import Callable
from typing import Any

import pytest

_TABLES = pytest.StashKey[dict[str, str]]()


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
