"""Schema of a run directory: its version, and descriptions of files and columns.

The files are described in `columns`; `python -m distill.run` generates RUN_DIRECTORY.md from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overlap.version import DISTRIBUTION

SCHEMA = 2
"""Version of the files of a run; every change that affects readers increases it."""


@dataclass(frozen=True)
class Column:
    """A column of a table, or a field of an object.

    Attributes:
        name: Fields of nested objects have dots; a star stands for any name.
        type: Such as `integer`, `number or null`, `text`.
        meaning: With its unit.
        required: Whether a directory that `analysis` reads must have it.
    """

    name: str
    type: str
    meaning: str
    required: bool = False


def required(name: str, type_: str, meaning: str) -> Column:
    """A column that must be there."""
    return Column(name, type_, meaning, required=True)


PLACE = (
    required("step", "integer", "training steps taken in the run"),
    required("visit", "integer", "number of the visit to a stage, as in `visits.jsonl`"),
    required("stage", "text", "name of the stage"),
)
"""Columns that say when."""


@dataclass(frozen=True)
class File:
    """A file of a run directory, or several of a kind.

    Attributes:
        path: In the run directory; a star stands for any name, and in the last part of a path for any files below.
        about: What it is, and when it is written.
        columns: Of a table, a column each; of JSON, its fields. Empty for files in other formats.
        required: Whether `analysis` needs it. An optional file has its own required columns.
    """

    path: str
    about: str
    columns: tuple[Column, ...] = ()
    required: bool = False


def foreign_schema(found: Mapping[str, Any], writer: Mapping[str, Any]) -> str | None:
    """Why files cannot be read, in words; None if they have the current schema.

    Args:
        found: `resolved.json` of a run or `state.json` of a checkpoint.
        writer: `resolved.json` of the run, which names the version that wrote it.
    """
    if found.get("schema") == SCHEMA:
        return None
    schema = f"in schema {found['schema']}" if "schema" in found else "before files had a schema version"
    versions = writer.get("versions")
    version = versions.get(DISTRIBUTION) if isinstance(versions, Mapping) else None
    by = f"{DISTRIBUTION} {version or 'of an unknown version'}"
    return (
        f"written by {by} {schema}; this version reads schema {SCHEMA}. Use the version that wrote it, or make the run "
        "again"
    )
