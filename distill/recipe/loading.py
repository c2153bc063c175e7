"""From a TOML file and `--set` assignments to a recipe, or to a message that says what to write instead.

Unknown keys are refused with the nearest valid key. Relative paths are relative to the recipe file, those of shipped
recipes to the current directory; `demo:` paths are inside the package.
"""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from overlap.arguments import callers_level, checked_arguments
from overlap.errors import UserError

from .explaining import explain, has_unknown_key, wrong_keys
from .paths import absolute, shipped_recipe, shipped_recipes
from .schema import Recipe
from .vocabularies import larger_than_vocabulary
from .without_effect import RecipeWarning, settings_without_effect

REFERENCE = Path(__file__).with_name("RECIPES.md")
"""The page of all fields, see `distill.recipe.reference`."""


class RecipeError(UserError):
    """A recipe that cannot be run; the message names the file, the dotted key and the remedy, and the page of fields
    for a key that is none."""


@checked_arguments
def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and validate a recipe; its paths come back absolute.

    Args:
        path: A TOML file, or the name of a shipped recipe such as `demo`.
        overrides: `dotted.key=value` assignments, the value in TOML syntax (bare words are strings); list items by
            index, for instance `stages.1.lr=1e-6`.

    Raises:
        RecipeError: Missing file, malformed TOML, unknown key (with the nearest valid one), invalid value, supports
            larger than a vocabulary.

    Warns:
        RecipeWarning: Settings that never come to anything, such as a warm-up longer than its stage.
    """
    shipped_path = shipped_recipe(str(path))
    path = shipped_path or Path(path)
    if not path.is_file():
        shipped = ", ".join(shipped_recipes())
        raise RecipeError(f"recipe not found: {path}. Give a TOML file or a shipped recipe: {shipped}.")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors begin files with a mark
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path}: not UTF-8 (byte {error.start + 1}); save it as UTF-8: some editors and shells write UTF-16"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    for assignment in overrides:
        _assign(data, assignment)
    try:
        recipe = recipe_of(data)
    except ValidationError as error:
        page = f"\n  all fields: {REFERENCE}" if has_unknown_key(error) else ""
        raise RecipeError(f"{_source(path, overrides, error)}: {explain(error)}{page}") from error
    for problem in settings_without_effect(recipe):
        warnings.warn(f"{path}: {problem}", RecipeWarning, stacklevel=callers_level())
    recipe = absolute(recipe, Path.cwd() if shipped_path else path.parent)
    if problem := larger_than_vocabulary(recipe):
        raise RecipeError(f"{path}: {problem}")
    return recipe


def _source(path: Path, overrides: Sequence[str], error: ValidationError) -> str:
    """Return where mistakes are: the file, and the assignments of `overrides` that made them."""
    wrong = wrong_keys(error)
    keys = {one: f"{one.partition('=')[0].strip()}." for one in overrides}
    blamed = {one: [key for key in wrong if f"{key}.".startswith(keys[one])] for one in overrides}
    said = [f"--set {one}" for one, found in blamed.items() if found]
    return ": ".join(filter(None, (str(path), ", ".join(said))))


def recipe_of(data: dict[str, Any]) -> Recipe:
    """Return the recipe that a TOML file's tables stand for, its paths as they are written.

    Raises:
        ValidationError: As pydantic words it; see `distill.recipe.explaining`.
    """
    # As JSON, because there pydantic takes an array for a tuple and yet no text for a number, nor true for 1.
    return Recipe.model_validate_json(json.dumps(data, default=str), strict=True)


def _assign(data: dict[str, Any], assignment: str) -> None:
    key, separator, raw = assignment.partition("=")
    if not separator or not key.strip():
        raise RecipeError(f"--set {assignment!r}: expected dotted.key=value, for instance stages.1.lr=1e-6")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    parts = key.strip().split(".")
    node: Any = data
    for depth, part in enumerate(parts):
        slot = _slot(node, part, ".".join(parts[:depth]), key)
        if depth == len(parts) - 1:
            node[slot] = value
        else:
            node = node.setdefault(slot, {}) if isinstance(node, dict) else node[slot]


def _slot(node: Any, part: str, where: str, key: str) -> str | int:
    """Return what a part of a dotted key stands for in the node at `where`: a key of a table, an index of a list."""
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise RecipeError(f"--set {key}: {where} is a value, not a table")
    if not part.isdigit() or int(part) >= len(node):
        raise RecipeError(f"--set {key}: {where} has items 0 to {len(node) - 1}, not {part!r}")
    return int(part)
