"""A frame with its printed form: the type of table that comparisons and inference return."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from overlap.estimates.table_formatting import html_table

from .formatting import WIDTH, aligned, latex, markdown


@dataclass(frozen=True, eq=False)
class PrintedTable:
    """Numbers, and the same as text, Markdown, LaTeX and HTML.

    Attributes:
        frame: The numbers, unrounded, with names that code can rely on.
        heading: Of the columns as they are printed.
        rows: Their cells.
        notes: Notes on the numbers.
        left: Number of left-aligned columns.
        title: Above the plain text, and the caption in notebooks.
    """

    frame: pd.DataFrame
    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    left: int = 1
    title: str = ""

    def to_text(self) -> str:
        """Return plain text, notes wrapped below the table."""
        notes = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in self.notes]
        table = aligned([self.heading, *self.rows], left=range(self.left))
        return "\n".join([*filter(None, [self.title]), table, *([""] if notes else []), *notes])

    def to_markdown(self) -> str:
        """Return a pipe table, and a paragraph of notes."""
        return f"{markdown(self.heading, self.rows, self.left)}\n\n{' '.join(self.notes)}".rstrip()

    def to_latex(self) -> str:
        """Return a `tabular` for booktabs (`\\usepackage{booktabs}`), the notes below it."""
        return latex(self.heading, self.rows, self.left, self.notes)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        caption = " ".join([*filter(None, [self.title]), *self.notes])
        return html_table(
            list(self.heading), [list(r) for r in self.rows], left=tuple(range(self.left)), caption=caption
        )
