"""Overlap by window of long recordings, as a probe of recordings that were cut measures it."""

from __future__ import annotations

import pandas as pd

from ..formatting import cell, count
from ..printed_table import PrintedTable
from ..run.checks import want_run
from ..run.load import Run
from .by_group import SHOWN, STATISTICS, shown_statistics


def overlap_by_window(run: Run) -> PrintedTable:
    """Return overlap on the student's rollouts by window: the first of a recording, one inside, the last.

    Args:
        run: The file of a `distill probe --long`; others have no windows.

    Returns:
        Its frame has one row for each window, with statistics and the ends of their 95 % intervals over recordings.

    Raises:
        UserError: No run, or the file's metadata are damaged.
    """
    want_run(run)
    rows = []
    for window, part in run.windows.groupby("window", sort=False):
        measured = part.set_index("statistic")
        rows.append({"window": window, "n_recordings": measured["n_groups"].max()} | shown_statistics(measured))
    frame = pd.DataFrame(rows, columns=["window", "n_recordings", *STATISTICS])
    shown = {name: about for name, about in SHOWN.items() if not frame[[name]].isna().to_numpy().all()}
    heading = ["window", "n recordings", *(f"{label} [95 %]" for label, _ in shown.values())]
    printed = [
        [row["window"], count(row["n_recordings"]), *(cell(row, name, digits) for name, (_, digits) in shown.items())]
        for row in frame.to_dict("records")
    ]
    notes = ["Student's rollouts on pieces of recordings. [ ]: studentized bootstrap over recordings."]
    return PrintedTable(frame, heading, printed, notes if rows else [], title="Overlap by window")
