"""Chooses the progress display of this process: a live display, bars in a notebook, or lines in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console

from ..process_rank import is_first
from .bars import NotebookProgress, TerminalProgress
from .log_lines import LogProgress
from .observer import Observer


@contextmanager
def display(*, quiet: bool = False) -> Iterator[Observer]:
    """Show progress on standard error until the end of the block.

    Args:
        quiet: Show nothing. Processes after the first show nothing either.

    Yields:
        The observer of the display.
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


def observed(observer: Observer | None, *, quiet: bool = False) -> AbstractContextManager[Observer]:
    """Return the observer until the end of the block: the given one, or else a display.

    Args:
        observer: The given one.
        quiet: Without an observer, show nothing.
    """
    return display(quiet=quiet) if observer is None else nullcontext(observer)
