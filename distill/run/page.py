"""The page of a run directory's files, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from .columns import FILES
from .schema import SCHEMA, File

INTRODUCTION = f"""# Run directory, schema {SCHEMA}

`distill train --output DIR` writes these files; `analysis`, `distill report` and `distill watch` read nothing else.
Logs (`.jsonl`) have one object per line and are only appended to; undefined numbers are null, infinite ones
the texts `"inf"` and `"-inf"`. A last line without a line end is still being written. Every row has the number of its
visit to a stage (`visit`). A resumed run cuts the logs back to its checkpoint, so that no row is lost or doubled.

**Files of another trainer.** `analysis.load` reads a directory with `resolved.json` and any of the other files. Their
columns marked *yes* below are required; more columns are allowed. `visits.jsonl` and `decisions.jsonl` define the
stages: the latter needs a row at the end of each visit and one at the end of the run (a trainer without gates writes
`advance` and `end`). Probes add overlap, evaluations error rates, transcripts paired tests and speakers, and traces the
changes at each position. `distill report` needs no more than `resolved.json` with `recipe.stages` and
`recipe.support`; a verdict on a stage needs `visits.jsonl`, `decisions.jsonl` and a probe at the stage's end, and its
change in error rate `evaluations.jsonl`. The report names what is missing. Run directories and checkpoints without a
schema version, or of another one, are refused, and so are rows that are there twice.

(Generated from the schema by `python -m distill.run > distill/run/RUN_DIRECTORY.md`.)
"""


def page() -> str:
    """The page: a table for each file with columns, then a list of the others."""
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
