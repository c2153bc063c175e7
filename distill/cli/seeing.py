"""Verbs that show runs: `watch`."""

from __future__ import annotations

from pathlib import Path

from analysis import watching

from .app import app


@app.command
def watch(run: Path, *, every: float = 3.0, once: bool = False) -> None:
    """Show where a run stands, live until it ends: stage, gate, overlap, loss, error rates, time.

    Args:
        run: Run directory.
        every: Seconds between pictures.
        once: One picture only, as always where the output is no terminal.
    """
    watching.watch(run, every=every, once=once)
