"""Where recipes, manifests and models are found: beside the recipe, in the package, or on the Hub."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..data.hf import DatasetReference, is_dataset

PACKAGED = "demo:"


def packaged(path: str) -> Path:
    """The absolute path of a file of the embedded demo, for instance `packaged("corpus/test.jsonl")`."""
    return Path(str(files("distill"))) / "demo" / path


def shipped_recipe(name: str) -> Path | None:
    """The shipped recipe of that name, or None when `name` looks like a path or no recipe has it."""
    candidate = Path(str(files("distill"))) / "recipes" / f"{name}.toml"
    return candidate if "/" not in name and candidate.is_file() else None


def shipped_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in (Path(str(files("distill"))) / "recipes").glob("*.toml"))


def resolve(location: str, base: Path, *, must_exist: bool = True) -> str:
    """An absolute path for a location written in a recipe.

    Args:
        location: An absolute path, a path relative to `base`, `demo:...`, a data set (`hf:...`), or (with
            `must_exist=False`) a Hub name.
        base: The recipe's directory.
        must_exist: Treat the location as a file path; otherwise one that does not exist is left as it is.
    """
    if location.startswith(PACKAGED):
        return str(packaged(location.removeprefix(PACKAGED)))
    if is_dataset(location):
        return str(DatasetReference.parse(location).relative_to(base))
    path = base / Path(location).expanduser()
    # The folder alone: a manifest that is a link keeps its name and what stands beside it.
    path = path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()
    return str(path) if must_exist or path.exists() else location
