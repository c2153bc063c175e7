"""How the command line ends: every exit code, and what each says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What `distill` hands back to the shell."""

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
    ExitCode.DONE: "done; of a run: its last stage ended as the recipe says",
    ExitCode.MISTAKE: "an error, which the message names; of a preflight: the server has a problem",
    ExitCode.USAGE: "the command itself was wrong",
    ExitCode.ABORTED: "a gate aborted the run",
    ExitCode.STOPPED: "the run stopped before its end: a stage's gate did not open within its steps, or total_steps "
    "were spent before the last stage",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); goes on with distill resume",
    ExitCode.NOBODY_READS: "whoever read the output left, as after | head",
    ExitCode.TERMINATED: "ended by a scheduler's signal (others likewise: 128 and their number); goes on with distill "
    "resume",
}

EPILOGUE = "Every command takes `--debug`: an error is then shown with its traceback.\n\nExit codes:\n\n" + "\n".join(
    f"- {code.value}: {code.meaning}" for code in ExitCode
)
"""Below the help of every command."""
