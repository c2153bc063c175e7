"""The view of a run, updated until it ends."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from overlap.errors import UserError

from .state import RunState, run_state
from .view import picture


def watch(path: str | Path, *, every: float = 3.0, once: bool = False, console: Console | None = None) -> RunState:
    """Show the state of a run until it ends or the user interrupts; the last view remains on the terminal.

    Args:
        path: The run directory.
        every: Seconds between updates.
        once: Show the state only once, as always if the output is not a terminal.
        console: Where to; None takes standard output.

    Returns:
        The last state seen.

    Raises:
        UserError: `every` is not positive, or a file of the run is damaged.
        FileNotFoundError: No run there.
    """
    if not every > 0:
        raise UserError(f"--every {every:g}: seconds between pictures must be positive, for instance 3")
    console = console or Console()
    state = run_state(path)
    if console.is_terminal and not once:
        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while state.outcome is None:
                    live.update(_fitted(state, console), refresh=True)
                    time.sleep(every)
                    state = run_state(path)
        except KeyboardInterrupt:
            pass
    console.print(_fitted(state, console))
    return state


def _fitted(state: RunState, console: Console) -> Group:
    # A line is left for the prompt below the last picture.
    return picture(state, console.width, console.height - 1)
