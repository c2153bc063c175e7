"""The table of findings."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from .finding import CheckFinding, Severity, counted, worst_first

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}


def table_of(findings: Sequence[CheckFinding]) -> Table:
    """Return a table with a row a finding, the worst first, and their numbers below it."""
    table = Table(box=box.SIMPLE_HEAD, caption=counted(findings), caption_justify="left", pad_edge=False)
    table.add_column("severity")
    table.add_column("check", ratio=2, overflow="fold")
    table.add_column("finding", ratio=6, overflow="fold")
    table.add_column("what to do", ratio=4, overflow="fold")
    for one in worst_first(findings):
        style = _STYLES[one.severity]
        table.add_row(Text(one.severity, style), *map(Text, (one.check, one.finding, one.remedy)))
    return table
