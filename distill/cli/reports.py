"""Verbs that show runs: `report`, `watch`, `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..locations import require_runs, require_writable
from .app import Amount, JsonFlag, PipedConsole, app, print_json


@app.command
def report(
    runs: list[Path],
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    audio: bool = False,
    json_: JsonFlag = False,
) -> None:
    """Write a report of runs in one file: verdicts with their evidence, figures, tables, and a browser of utterances.

    Args:
        runs: Run directories, finished or not, or files that probe wrote with --output. A run with OPD is compared with
            runs without it, paired by utterance.
        output: A .html file that opens offline, or .md for a pull request; replaced if it is there.
        audio: Embed the utterances' audio in the page, up to a size limit.
        json_: Print one JSON object to standard output and nothing else there.
    """
    require_runs(runs)
    require_writable(output, "--output", inputs={str(run): str(run) for run in runs if run.is_file()})
    from analysis.report import write_report

    from ..data.clips import manifest_clips

    written = write_report(runs, output, clips=manifest_clips if audio else None)
    if json_:
        print_json(written.to_dict())
    else:
        print(written)


@app.command
def watch(run: Path, *, every: Amount = 3.0, once: bool = False) -> None:
    """Show a run's progress, live until it ends: stage, gate, overlap, loss, error rates, time.

    A run that was killed, or whose machine failed, is shown as running until its process has not updated its record for
    a minute.

    Args:
        run: Run directory.
        every: Seconds between updates.
        once: Print the state once, as always if the output is not a terminal.
    """
    require_runs([run])
    from analysis import watching

    watching.watch(run, every=every, once=once, console=PipedConsole())


@app.command
def compare(
    runs: list[Path], /, *, form: Annotated[Literal["text", "markdown", "latex"], Parameter(name="--as")] = "text"
) -> None:
    """Compare runs: their ends, error rates of recipes on test sets over seeds, VUSS over on-policy steps.

    Args:
        runs: Run directories, finished or not.
        form: For a terminal, a pull request, or a paper.
    """
    require_runs(runs)
    from analysis import compare as compare_runs
    from analysis import load_many

    table = compare_runs(load_many(runs))
    print({"text": table.to_text, "markdown": table.to_markdown, "latex": table.to_latex}[form]())
