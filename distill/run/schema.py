"""What a run directory holds, as data: its version, and what a file and a column are.

The files themselves are in `described`; `python -m distill.run` makes RUN_DIRECTORY.md of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overlap.version import DISTRIBUTION

SCHEMA = 2
"""Version of the files of a run: it is raised with every change that readers must know of."""


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


@dataclass(frozen=True)
class File:
    """A file of a run directory, or several of a kind.

    Attributes:
        path: In the run directory; a star stands for any name, and in the last part of a path for any files below.
        about: What it is, and when it is written.
        columns: Of a table, a column each; of JSON, its fields. Empty where the file is somebody else's kind.
        required: Whether `analysis` needs it. Required columns of a file that is not are those of a file that is there.
    """

    path: str
    about: str
    columns: tuple[Column, ...] = ()
    required: bool = False


def foreign_schema(found: Mapping[str, Any], writer: Mapping[str, Any]) -> str | None:
    """Why files cannot be read here, in words; None where their schema is the one of today.

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
