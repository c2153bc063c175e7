"""Regions that quote benchmarks."""

import json
from pathlib import Path

from analysis.formatting import markdown


def benchmark(path: Path) -> str:
    """Every table that a benchmark showed, with its title and machine."""
    found = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"`{found['command']}`"]
    for table in found["tables"]:
        parts += [table["title"], markdown(table["header"], table["rows"]), table["machine"]]
    return "\n\n".join(parts)


def step_shares(path: Path) -> str:
    """What the statistics cost in a training step."""
    (table,) = json.loads(path.read_text(encoding="utf-8"))["tables"]
    share = next(row[-1] for row in table["rows"] if row[0] == "measure")
    return f"Measuring every statistic takes this share of an on-policy step of the demo: {share}."
