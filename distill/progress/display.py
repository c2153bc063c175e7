"""What progress looks like where this process runs: a live display, bars in a notebook, or lines in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from ..ranks import is_first
from .bars import NotebookProgress, TerminalProgress
from .log_lines import LogProgress
from .observer import Observer


@contextmanager
def display(*, quiet: bool = False) -> Iterator[Observer]:
    """Show progress on standard error until the end of the block.

    Args:
        quiet: Show nothing. Processes after the first show nothing either.

    Yields:
        Who is to hear what happens.
    """
    console = Console(stderr=True)
    if quiet or not is_first():
        yield Observer()
    elif console.is_jupyter:
        notebook = NotebookProgress()
        try:
            yield notebook
        finally:
            notebook.close()
    elif console.is_terminal:
        with TerminalProgress(console) as terminal:
            yield terminal
    else:
        yield LogProgress()
