"""The configuration of a run, in the version of run directories that is read here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overlap.errors import UserError
from overlap.version import SCHEMA, foreign_schema

from .files import read_object
from .kinds import REMEDY, check_record
from .records import Resolved


def read_resolved(run: Path) -> dict[str, Any]:
    """Return the `resolved.json` of a run directory, with its fields checked.

    Raises:
        UserError: Of another version, or damaged; names it and the field.
    """
    path = run / "resolved.json"
    tree = read_object(path.read_bytes(), str(path), ("recipe",))
    check_schema(run, tree)
    check_record(tree, Resolved, str(path))
    return tree


def check_schema(path: Path, resolved: Mapping[str, Any]) -> None:
    """Refuse a run directory, or the trace of a probe, of another version.

    Args:
        path: Of the directory or file.
        resolved: Its `resolved.json` or metadata.

    Raises:
        UserError: Names the run, the version that wrote it, and what to do.
    """
    if isinstance(found := resolved.get("schema"), str):
        raise UserError(f"{path}: its schema is the text {found!r}; expected the number {SCHEMA}; {REMEDY}")
    if why := foreign_schema(resolved, resolved):
        raise UserError(f"{path}: {why}")
