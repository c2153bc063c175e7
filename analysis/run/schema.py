"""The version of run directories that is read here; RUN_DIRECTORY.md of the trainer describes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overlap.errors import UserError
from overlap.version import DISTRIBUTION

SCHEMA = 2


def check_schema(path: Path, resolved: Mapping[str, Any]) -> None:
    """Refuse a run directory, or the trace of a probe, of another version.

    Args:
        path: Of the directory or file.
        resolved: Its `resolved.json` or metadata.

    Raises:
        UserError: Names the run, the version that wrote it, and what to do.
    """
    if resolved.get("schema") == SCHEMA:
        return
    schema = f"in schema {resolved['schema']}" if "schema" in resolved else "before files had a schema version"
    versions = resolved.get("versions")
    version = versions.get(DISTRIBUTION) if isinstance(versions, dict) else None
    raise UserError(
        f"{path}: written by {DISTRIBUTION} {version or 'of an unknown version'} {schema}; this version reads schema "
        f"{SCHEMA}. Use the version that wrote it, or make the run again"
    )


def check_support(file: Path, recipe: Any) -> None:
    """Refuse a recipe without the size of the top-k sets.

    Args:
        file: The run's `resolved.json`.
        recipe: What it holds as `recipe`; anything but an object is passed over.

    Raises:
        UserError: Names the file and the field.
    """
    support = recipe.get("support") if isinstance(recipe, dict) else {"k": None}
    if not isinstance(support, dict) or "k" not in support:
        raise UserError(f"{file}: field `recipe.support.k` is missing; add it as RUN_DIRECTORY.md describes")
