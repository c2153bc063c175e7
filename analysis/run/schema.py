"""The version of run directories that is read here; RUN_DIRECTORY.md of the trainer describes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overlap.errors import UserError
from overlap.version import DISTRIBUTION, remedy_for

from .columns import (
    OPTIONAL,
    REMEDY,
    RESOLVED_FIELDS,
    STAGE_FIELDS,
    SUPPORT_FIELDS,
    check_fields,
    check_objects,
    check_words,
    optional,
)
from .files import read_object

SCHEMA = 2


def read_resolved(run: Path) -> dict[str, Any]:
    """The `resolved.json` of a run directory, with its fields checked.

    Raises:
        UserError: Of another version, or damaged; names it and the field.
    """
    path = run / "resolved.json"
    where = str(path)
    tree = read_object(path.read_bytes(), where, ("recipe",))
    check_schema(run, tree)
    for name in RESOLVED_FIELDS:
        parent, _, field = name.partition(".")
        inside = tree.get(parent)
        if field and isinstance(inside, dict) and field not in inside:
            raise UserError(f"{where}: field `{name}` is missing; {REMEDY}")
    check_fields(tree, {"recipe": "object"} | RESOLVED_FIELDS, where)
    check_fields(tree, optional(OPTIONAL[path.name]), where)
    recipe = tree["recipe"]
    check_objects(recipe["stages"], STAGE_FIELDS, where, "recipe.stages")
    for number, stage in enumerate(recipe["stages"]):
        check_words(stage, path.name, where, f"recipe.stages[{number}].")
    for field in SUPPORT_FIELDS:
        if field not in recipe["support"]:
            raise UserError(f"{where}: field `recipe.support.{field}` is missing; {REMEDY}")
    check_fields(recipe["support"], SUPPORT_FIELDS, where, "recipe.support.")
    return tree


def check_schema(path: Path, resolved: Mapping[str, Any]) -> None:
    """Refuse a run directory, or the trace of a probe, of another version.

    Args:
        path: Of the directory or file.
        resolved: Its `resolved.json` or metadata.

    Raises:
        UserError: Names the run, the version that wrote it, and what to do.
    """
    found = resolved.get("schema")
    if found == SCHEMA and not isinstance(found, bool):
        return
    if isinstance(found, str):
        raise UserError(f"{path}: its schema is the text {found!r}; expected the number {SCHEMA}; {REMEDY}")
    schema = f"in schema {resolved['schema']}" if "schema" in resolved else "before files had a schema version"
    versions = resolved.get("versions")
    version = versions.get(DISTRIBUTION) if isinstance(versions, dict) else None
    raise UserError(
        f"{path}: written by {DISTRIBUTION} {version or 'of an unknown version'} {schema}; this version reads schema "
        f"{SCHEMA}. {remedy_for(version)}"
    )
