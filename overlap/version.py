"""The version of this distribution, which holds `overlap`, `distill` and `analysis`."""

import tomllib
from importlib import metadata
from pathlib import Path

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


def remedy_for(writer: str | None) -> str:
    """What to do with files that this version does not read.

    Args:
        writer: The version that wrote them; None if unknown.
    """
    if writer is None or writer == __version__:  # before a release, many commits have one number
        return "Make the run again, or use the commit that wrote it: CHANGELOG.md says what changed since"
    return f"Make the run again, or use {DISTRIBUTION} {writer}"
