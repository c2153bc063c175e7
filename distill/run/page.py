"""The page of a run directory's files, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from .described import FILES
from .schema import SCHEMA, File

INTRODUCTION = f"""# Run directory, schema {SCHEMA}

`distill train --output DIR` writes these files; `analysis`, `distill report` and `distill watch` read them and nothing
else. Logs (`.jsonl`) hold an object a line and are appended to as things happen; undefined numbers are null, infinite
ones the texts `"inf"` and `"-inf"`. A last line without its end is being written. Every row says in which stay in a
stage (`visit`) it was taken. A resumed run cuts the logs back to its checkpoint, so that no row is lost or doubled.

**Files of another trainer.** `analysis.load` reads a directory with `resolved.json` and whichever other files there
are, with the columns that are marked *yes* below; further columns are welcome. `visits.jsonl` and `decisions.jsonl`
make the stages known: the latter needs a row where each stay is left and one where the run ends (a trainer without
gates writes `advance` and `end`). Probes add overlap, evaluations error rates, transcripts paired tests and speakers,
traces what a stage did position by position. Run directories and checkpoints without a schema version, or of another
one, are refused.

(Made from the schema by `python -m distill.run > distill/run/RUN_DIRECTORY.md`.)
"""


def page() -> str:
    """The whole page: a table for each file with columns, then a list of the others."""
    parts = [INTRODUCTION, *(_section(file) for file in FILES if file.columns), "## Other files\n"]
    return "\n".join([*parts, *(f"- `{file.path}`: {file.about}" for file in FILES if not file.columns), ""])


def _section(file: File) -> str:
    return "\n".join(
        [f"## `{file.path}`{' (required)' if file.required else ''}\n", f"{file.about}\n", *_table(file), ""]
    )


def _table(file: File) -> Iterator[str]:
    yield "| column | type | required | meaning |"
    yield "|---|---|---|---|"
    for column in file.columns:
        yield f"| `{column.name}` | {column.type} | {'yes' if column.required else ''} | {column.meaning} |"
