"""Numbers, intervals and tables as text and markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNDEFINED = "–"


def number(value: float, digits: int) -> str:
    """Fixed decimals; a dash for NaN."""
    return UNDEFINED if math.isnan(value) else f"{value:.{digits}f}"


def interval(low: float, high: float, digits: int) -> str:
    """`[low, high]`; a dash where an end is NaN."""
    return UNDEFINED if math.isnan(low) or math.isnan(high) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def count(value: float) -> str:
    """Whole number with thousands separated; a dash for NaN."""
    return UNDEFINED if math.isnan(value) else f"{int(value):,}"


def aligned(lines: Sequence[Sequence[str]], heading: int, left: int = 1) -> str:
    """Lines of cells, padded to columns.

    Args:
        lines: Cells of each line, as many in each.
        heading: Lines above the rule.
        left: Columns set flush left; the others are flush right.
    """
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join([*text[:heading], rule, *text[heading:]])


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A pipe table; pipes inside cells are escaped, line breaks become spaces."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"

    rule = "|" + "|".join(":--" if i < left else "--:" for i in range(len(heading))) + "|"
    return "\n".join([line(heading), rule, *map(line, rows)])
