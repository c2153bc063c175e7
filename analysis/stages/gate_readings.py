"""Readings of a run's gates, and the levels that they were compared with."""

from __future__ import annotations

import pandas as pd

from ..run.checks import want_run
from ..run.load import Run

COLUMNS = (
    "visit",
    "step",
    "stage",
    "gate",
    "statistic",
    "states",
    "side",
    "level",
    "bound",
    "satisfied",
    "decision",
    "group",
)


def gate_readings(run: Run) -> pd.DataFrame:
    """Return every level that a statistic was compared with at a gate reading, in the order of the run.

    Returns:
        One row for each reading and level. `visit` is the number of the visit; `statistic` was read on transcripts of
        `states` (None for a user's own number); `side` is `at_least` or `at_most` (a threshold), `lowest` or `highest`
        (a healthy limit, beyond which the gate falls back or aborts), or `best` (the mark of a plateau after the
        reading); `bound` is the bound of the interval that was compared, NaN where there was none; `satisfied` is
        whether the bound satisfies the threshold or limit, or improves on the mark before; `group` is whose reading it
        is, such as `language=de`, None for a whole set. Gates that only count steps have no rows.

    Raises:
        UserError: No run.
    """
    want_run(run)
    rows = []
    for record in run.decisions.to_dict("records"):
        place = {name: record[name] for name in ("visit", "step", "stage", "gate", "decision")}
        rows += [place | level for level in record["levels"]]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"level": "float64", "bound": "float64"})
