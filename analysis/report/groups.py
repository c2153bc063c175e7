"""The report's section on groups of utterances: overlap and error rates by language, accent or speaker."""

from __future__ import annotations

from ..printed_table import PrintedTable
from ..run.load import Run
from ..tables.by_group import error_rates_by_group, overlap_by_group


def group_tables(run: Run) -> tuple[PrintedTable, ...]:
    """Return the tables by group that a run has data for; none where it names no groups.

    Args:
        run: A run, finished or not, or the trace of a probe, which has no groups.
    """
    if run.probed is not None:
        return ()
    return tuple(table for table in (overlap_by_group(run), error_rates_by_group(run)) if len(table.frame))
