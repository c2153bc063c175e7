"""The versions of this distribution, which holds `overlap`, `distill` and `analysis`, and of the files of its runs."""

import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTION = "support-overlap"
SCHEMA = 3
"""Version of the files of a run; every change that affects readers increases it."""


def _version() -> str:
    # The installed version may be older than a checkout that is run instead of it.
    checkout = Path(__file__).parents[1] / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text("utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            return project["version"]
    return metadata.version(DISTRIBUTION)


__version__ = _version()


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
    return f"written by {by} {schema}; this version reads schema {SCHEMA}. {_remedy_for(version)}"


def _remedy_for(writer: str | None) -> str:
    """Return what to do with files that this version does not read.

    Args:
        writer: The version that wrote them; None if unknown.
    """
    if writer is None or writer == __version__:  # before a release, many commits have one number
        return "Make the run again, or use the commit that wrote it: CHANGELOG.md says what changed since"
    return f"Make the run again, or use {DISTRIBUTION} {writer}"
