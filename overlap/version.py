"""The version of this distribution, which holds `overlap`, `distill` and `analysis`."""

import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTION = "support-overlap"


def _version() -> str:
    # The installed version may be older than a checkout that is run instead of it.
    checkout = Path(__file__).parents[1] / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text("utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            return project["version"]
    return metadata.version(DISTRIBUTION)


__version__ = _version()


def another_schema(found: Mapping[str, Any], writer: Mapping[str, Any], schema: int) -> str | None:
    """Why files cannot be read, in words; None if they have this schema.

    Args:
        found: Their `schema`, none in files older than it.
        writer: Has the version that wrote them among its `versions`.
        schema: The one that is read.
    """
    if found.get("schema") == schema:
        return None
    other = f"in schema {found['schema']}" if "schema" in found else "before files had a schema version"
    versions = writer.get("versions")
    version = versions.get(DISTRIBUTION) if isinstance(versions, Mapping) else None
    return (
        f"written by {DISTRIBUTION} {version or 'of an unknown version'} {other}; this version reads schema {schema}. "
        "Use the version that wrote it, or make the run again"
    )
