"""Where recipes, manifests and models are found: beside the recipe, in the package, or on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from ..data.hf.reference import DatasetReference, is_dataset
from ..locations import PACKAGED, packaged, require_places
from .schema import Recipe
from .section import Section

S = TypeVar("S", bound=Section)

_RECIPES = packaged("").with_name("recipes")
_PATHS = {"manifest": True, "background": True, "cache": True, "model": False}
"""Fields that hold locations, and whether these are paths in any case; a model may be a name on the Hub."""


def shipped_recipe(name: str) -> Path | None:
    """Return the shipped recipe of that name, or None when `name` looks like a path or no recipe has it."""
    candidate = _RECIPES / f"{name}.toml"
    return candidate if "/" not in name and candidate.is_file() else None


def shipped_recipes() -> list[str]:
    """Return names of the shipped recipes."""
    return sorted(path.stem for path in _RECIPES.glob("*.toml"))


def resolve(location: str, base: Path, *, must_exist: bool = True) -> str:
    """Return an absolute path for a location written in a recipe.

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
    return str(path) if must_exist or path.exists() or path.is_symlink() else location


def absolute(section: S, base: Path) -> S:
    """Return the same section with every path in it and below it absolute.

    Args:
        section: The recipe, or a part of it.
        base: The recipe's directory.
    """

    def resolved(name: str, value: Any) -> Any:
        if isinstance(value, Section):
            return absolute(value, base)
        if isinstance(value, tuple):
            return tuple(resolved("", item) for item in value)
        return resolve(value, base, must_exist=_PATHS[name]) if name in _PATHS and value else value

    values = {name: getattr(section, name) for name in type(section).model_fields}
    changed = {name: new for name, value in values.items() if (new := resolved(name, value)) != value}
    return section.model_copy(update=changed)


def require_files(recipe: Recipe) -> None:
    """Refuse missing manifests and model folders of a recipe, all at once and before anything is loaded.

    Raises:
        FileNotFoundError: Names each key with its location and the remedy.
    """
    require_places(manifests=_values_by_key("manifest", recipe), models=_values_by_key("model", recipe))


def _values_by_key(field: str, section: Section, prefix: str = "") -> dict[str, str]:
    """Return the values of a field in a section and those below it, by their dotted keys."""
    found: dict[str, str] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name == field:
            found[f"{prefix}{name}"] = value
        elif isinstance(value, Section):
            found |= _values_by_key(field, value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            for i, item in enumerate(value):
                found |= _values_by_key(field, item, f"{prefix}{name}.{i}.") if isinstance(item, Section) else {}
    return found
