"""The report's section on groups: overlap and error rates by language, accent or speaker, and by window."""

from __future__ import annotations

from ..printed_table import PrintedTable
from ..run.load import Run
from ..tables.by_group import error_rates_by_group, overlap_by_group
from ..tables.by_window import overlap_by_window


def group_tables(run: Run) -> tuple[PrintedTable, ...]:
    """Return the tables by group and window that a run has data for.

    Args:
        run: A run, finished or not, or the file of a probe.
    """
    tables = (overlap_by_window(run), overlap_by_group(run), error_rates_by_group(run))
    return tuple(table for table in tables if len(table.frame))
