"""Verbs that show runs: `report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..data.clips import manifest_clips
from .app import JsonFlag, app


@app.command
def report(
    runs: list[Path],
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    audio: bool = False,
    json_: JsonFlag = False,
) -> None:
    """A report of runs in one file: verdicts with their evidence, figures, tables, and a browser of utterances.

    Args:
        runs: Run directories, finished or not.
        output: A .html file that opens offline, or .md for a pull request; replaced if it is there.
        audio: Put the utterances' audio into the page, as far as it stays small.
        json_: Print one JSON object to standard output and nothing else there.
    """
    from analysis.report import write_report

    written = write_report(runs, output, clips=manifest_clips if audio else None)
    print(json.dumps(written.to_dict(), ensure_ascii=False, allow_nan=False) if json_ else written)
