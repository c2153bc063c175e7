"""The page of a run directory's files, in Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import NamedTuple, get_args, get_origin

from analysis.run.kinds import Record, is_record, named, plain
from overlap.version import SCHEMA

from .columns import OTHERS, RECORDS

REQUIRED = "resolved.json"
"""A directory without it is no run."""

INTRODUCTION = f"""# Run directory, schema {SCHEMA}

`distill train --output DIR` writes these files; `analysis`, `distill report` and `distill watch` read nothing else.
Logs (`.jsonl`) have one object per line and are only appended to; undefined numbers are null, infinite ones
the texts `"inf"` and `"-inf"`. A last line without a line end is still being written. Every row has the number of its
visit to a stage (`visit`). A resumed run cuts the logs back to its checkpoint, so that no row is lost or doubled.

**Files of another trainer.** `analysis.load` reads a directory with `resolved.json` and any of the other files. Their
columns marked *yes* below are required; others, and fields in brackets, may be absent or null, and more are allowed.
`visits.jsonl` and `decisions.jsonl` define the stages: the latter needs a row at the end of each visit and one at the
end of the run (a trainer without gates writes `advance` and `end`). Probes add overlap, evaluations error rates,
transcripts paired tests and speakers, and traces the changes at each position. `distill report` needs no more than
`resolved.json` with `recipe.stages` and `recipe.support`; a verdict on a stage needs `visits.jsonl`, `decisions.jsonl`
and a probe at the stage's end, and its change in error rate `evaluations.jsonl`. The report names what is missing. Run
directories and checkpoints without a schema version, or of another one, are refused, and so are rows that are there
twice.

(Generated from the schema by `python -m distill.run > distill/run/RUN_DIRECTORY.md`.)
"""


class Column(NamedTuple):
    """A column of a table, or a field of an object.

    Attributes:
        name: Fields of nested objects have dots; a star stands for any name.
        type: Such as `integer`, `number or null`, `text`.
        meaning: With its unit.
        required: Whether a file that `analysis` reads must have it.
    """

    name: str
    type: str
    meaning: str
    required: bool


def page() -> str:
    """The page: a table for each file with columns, then a list of the others."""
    parts = [INTRODUCTION, *(_section(path, record) for path, record in RECORDS.items()), "## Other files\n"]
    return "\n".join([*parts, *(f"- `{path}`: {about}" for path, about in OTHERS.items()), ""])


def columns_of(record: type[Record], before: str = "") -> Iterator[Column]:
    """A record's columns. The fields of an object that may be absent, or of objects in a list, are in its meaning.

    Args:
        record: Whose fields they are.
        before: The name of the object with these fields, with a dot.
    """
    described = set()
    for field, info in record.model_fields.items():
        name, kind, meaning = before + (info.alias or field), plain(info.annotation), info.description or ""
        type_, inside = named(info.annotation if info.is_required() else kind), (*get_args(kind), kind)[0]
        if get_origin(kind) is dict:
            name, type_ = f"{name}.*", named(plain(get_args(kind)[1]))
        nested = is_record(kind) and info.is_required()
        if is_record(inside) and inside not in described and not nested:
            described.add(inside)
            meaning += f". {'Its' if is_record(kind) else 'Their'} fields: {'; '.join(map(_words, columns_of(inside)))}"
        yield Column(name, type_, meaning, info.is_required())
        if nested:
            yield from columns_of(kind, f"{name}.")


def _words(column: Column) -> str:
    shown = f"`{column.name}` ({column.type})"
    return f"{shown if column.required else f'[{shown}]'} {column.meaning}"


def _section(path: str, record: type[Record]) -> str:
    about = inspect.cleandoc(record.__doc__ or "")
    return "\n".join([f"## `{path}`{' (required)' if path == REQUIRED else ''}\n", f"{about}\n", *_table(record), ""])


def _table(record: type[Record]) -> Iterator[str]:
    yield "| column | type | required | meaning |"
    yield "|---|---|---|---|"
    for column in columns_of(record):
        yield f"| `{column.name}` | {column.type} | {'yes' if column.required else ''} | {column.meaning} |"
