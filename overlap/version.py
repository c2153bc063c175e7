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
