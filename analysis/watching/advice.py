"""The advisories of a run, as lines of text that fit a terminal."""

from __future__ import annotations

import textwrap
from pathlib import Path

from rich.text import Text

from ..advising import Advisories, Severity
from ..formatting import count

LABEL = 8
"""Columns of the names on the left."""
TALL = 36
"""Lines from which a terminal has room for several advisories in full."""
SEVERITIES = {Severity.CRITICAL: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold"}
Lines = list[Text]


def advice_lines(advice: Advisories, path: Path, width: int, height: int) -> Lines:
    """Return the worst advisories, or that there are none: the first ones with number and remedy, then titles.

    Args:
        advice: Of a run; nothing is said where nothing could be checked yet.
        path: Of the run, for the command that shows the rest.
        width: Columns of the terminal.
        height: Its lines.
    """
    if not advice.checked:
        return []
    tall, room = height >= TALL, max(20, width - LABEL)
    if not advice.found:
        words = f"{advice.headline} {advice.coverage}"
        said = textwrap.wrap(words, room, max_lines=None if tall else 2, placeholder=" …")
        lines = [Text(" " * LABEL + row) for row in said]
    else:
        lines, in_full, most = [], 3 if tall else 1, 8 if tall else 3
        for place, one in enumerate(advice.found[:most]):
            title = Text(" " * LABEL).append(f"{one.severity.upper()}: {one.title}", SEVERITIES[one.severity])
            lines.append(title.append(f" ({one.where})"))
            if place < in_full:
                remedy = f"→ {one.advice.split('. ')[0].removesuffix('.')}."
                for words in (one.number, remedy):
                    rows = textwrap.wrap(words, room, max_lines=2, placeholder=" …")
                    lines += [Text(" " * LABEL + row) for row in rows]
        if len(advice) > most:
            more = f"{count(len(advice) - most)} more: `distill report {path}`"
            lines.append(Text(" " * LABEL + more, "dim"))
    lines[0] = Text("advice".ljust(LABEL), "bold").append_text(lines[0][LABEL:])
    return lines
