"""Small tables, in plain text and in HTML."""

import html
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence


class TitledTable(ABC):
    """Prints as a table with a title; names and units are flush left."""

    @abstractmethod
    def _title(self) -> str: ...

    @abstractmethod
    def _rows(self) -> tuple[list[str], list[list[str]]]:
        """Heading and rows of cells: the name first, the unit third."""

    def __str__(self) -> str:
        return f"{self._title()}\n{text_table(*self._rows(), left=(0, 2))}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._rows(), left=(0, 2), caption=self._title())


def text_table(header: list[str], rows: list[list[str]], *, left: tuple[int, ...] = (0,)) -> str:
    """Align a table in plain text; the columns in ``left`` to the left, the rest to the right."""
    return aligned([header, *rows], left=left)


def aligned(lines: Sequence[Sequence[str]], *, heading: int = 1, left: Container[int] = (0,)) -> str:
    """Lines of cells, padded to columns.

    Args:
        lines: cells of each line, as many in each.
        heading: lines above the rule.
        left: columns set flush left; the others are flush right.
    """
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join([*text[:heading], rule, *text[heading:]])


def html_table(header: list[str], rows: list[list[str]], *, left: tuple[int, ...] = (0,), caption: str = "") -> str:
    """Return the same table in HTML."""

    def cells(tag: str, row: list[str]) -> str:
        sides = ("left" if i in left else "right" for i in range(len(row)))
        return "".join(
            f'<{tag} style="text-align: {side}"{_direction(cell)}>{html.escape(cell)}</{tag}>'
            for side, cell in zip(sides, row, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{cells('th', header)}</tr></thead><tbody>{body}</tbody></table>"


def _direction(cell: str) -> str:
    """Cells with right-to-left letters take their direction from their first letter."""
    return ' dir="auto"' if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in cell) else ""
