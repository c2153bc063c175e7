"""Exit codes of the command line, with their meanings."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `distill`."""

    DONE = 0
    MISTAKE = 1
    USAGE = 2
    ABORTED = 3
    STOPPED = 4
    INTERRUPTED = 130
    NOBODY_READS = 141
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """In words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done; after a run: its last stage ended as the recipe says",
    ExitCode.MISTAKE: "an error, which the message describes; after a preflight or a check: what was checked has a "
    "problem",
    ExitCode.USAGE: "wrong usage of the command",
    ExitCode.ABORTED: "a gate aborted the run",
    ExitCode.STOPPED: "the run stopped before its end: a stage's gate did not open within its steps, or total_steps "
    "were spent before the last stage",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); distill resume continues the run",
    ExitCode.NOBODY_READS: "the reader of the output closed it, as | head does",
    ExitCode.TERMINATED: "terminated by a scheduler's signal (other signals: 128 plus their number); distill resume "
    "continues the run",
}

EPILOGUE = "Every command takes `--debug`, which shows errors with their traceback.\n\nExit codes:\n\n" + "\n".join(
    f"- {code.value}: {code.meaning}" for code in ExitCode
)
"""Below the help of every command."""
