"""Numbers, intervals and tables as text and markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overlap.estimates.number_formatting import (
    UNDEFINED,
    count,
    counts,
    decimals,
    interval,
    number,
    plural,
    signed,
    with_interval,
)
from overlap.estimates.table_formatting import aligned

__all__ = [
    "UNDEFINED",
    "WIDTH",
    "aligned",
    "cell",
    "count",
    "counts",
    "decimals",
    "interval",
    "latex",
    "latex_escaped",
    "markdown",
    "number",
    "p_text",
    "plural",
    "signed",
    "with_interval",
]

WIDTH = 110
"""Characters of a line of plain text."""


def p_text(p: float, sign: str = "") -> str:
    """Return a p-value, never as 0; in sentences after a sign such as `=`; a dash for NaN."""
    if p < 0.0001:
        return "< 0.0001"
    digits = 4 if p < 0.01 else 2
    return f"{sign} {number(p, digits)}".strip()


def cell(row: Mapping[Any, Any], name: str, digits: int, scale: float = 1.0, *, sign: bool = False) -> str:
    """Return `value [low, high]` of a row with the columns `name`, `name.low` and `name.high`; see `with_interval`."""
    return with_interval(row[name], row[f"{name}.low"], row[f"{name}.high"], digits, scale, sign=sign)


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a pipe table; pipes inside cells are escaped, line breaks become spaces."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"

    rule = "|" + "|".join(":--" if i < left else "--:" for i in range(len(heading))) + "|"
    return "\n".join([line(heading), rule, *map(line, rows)])


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "∩": r"$\cap$",
    "∪": r"$\cup$",
    "ρ": r"$\rho$",
    "τ": r"$\tau$",
    **{character: f"\\{character}" for character in "&%$#_"},
}


def latex_escaped(text: str) -> str:
    """Return text escaped for LaTeX in any font encoding: `|`, `<` and `>` are other characters in the default one."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, notes: Sequence[str] = ()) -> str:
    """Return a `tabular` with the rules of the booktabs package, and the notes below it, to be put into a `table`."""

    def line(cells: Sequence[str]) -> str:
        # After a line break, an opening bracket or a star would be taken for its argument.
        return " & ".join(f"{{{c}}}" if c.startswith(("[", "*")) else c for c in map(latex_escaped, cells)) + r" \\"

    columns = "l" * left + "r" * (len(heading) - left)
    body = [line(heading), r"\midrule", *map(line, rows)]
    table = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*table, *(f"\n{latex_escaped(note)}" for note in notes)])
