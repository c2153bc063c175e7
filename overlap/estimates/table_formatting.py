"""Small tables, in plain text and in HTML."""

import html
import unicodedata


def text_table(header: list[str], rows: list[list[str]], *, left: tuple[int, ...] = (0,)) -> str:
    """Align a table in plain text; the columns in ``left`` to the left, the rest to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: list[str]) -> str:
        cells = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), "  ".join("─" * width for width in widths), *map(line, rows)])


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
