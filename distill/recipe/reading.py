"""From a TOML file and `--set` assignments to a recipe, or to a message that says what to write instead.

Unknown keys are refused with the nearest valid key. Relative paths are relative to the recipe file, those of shipped
recipes to the current directory; `demo:` paths are inside the package.
"""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from .paths import resolve, shipped_recipe, shipped_recipes
from .schema import Model, Recipe, Teacher
from .section import Section

M = TypeVar("M", bound=Model)

_TAGS = {"sft", "td", "opd", "fixed_steps", "threshold", "plateau", "collapse", "all", "any"}
_TAGS |= {"divergence", "policy_gradient", "noise", "spec_augment"}
"""Values of `type`, by which pydantic tells the members of a union apart."""


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file, the dotted key and the remedy."""


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and validate a recipe; its paths come back absolute.

    Args:
        path: A TOML file, or the name of a shipped recipe such as `demo`.
        overrides: `dotted.key=value` assignments, the value in TOML syntax (bare words are strings); list items by
            index, for instance `stages.1.lr=1e-6`.

    Raises:
        RecipeError: Missing file, malformed TOML, unknown key (with the nearest valid one), invalid value.
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
        return _absolute(Recipe.model_validate(data), Path.cwd() if shipped_path else path.parent)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_explain(error)}") from error


def _absolute(recipe: Recipe, base: Path) -> Recipe:
    """The same recipe with manifests and local model directories as absolute paths."""

    def model(section: M) -> M:
        return section.model_copy(update={"model": resolve(section.model, base, must_exist=False)})

    def teacher(section: Teacher) -> Teacher:
        if section.server.cache is None:
            return model(section)
        cache = resolve(section.server.cache, base)
        return model(section).model_copy(update={"server": section.server.model_copy(update={"cache": cache})})

    def manifest(section: Any) -> Any:
        return section.model_copy(update={"manifest": resolve(section.manifest, base)})

    def augmentation(section: Any) -> Any:
        background = getattr(section, "background", None)
        return section.model_copy(update={"background": resolve(background, base)}) if background else section

    def stage(section: Any) -> Any:
        return manifest(section).model_copy(update={"augment": tuple(augmentation(one) for one in section.augment)})

    return recipe.model_copy(
        update={
            "student": model(recipe.student),
            "teacher": teacher(recipe.teacher) if recipe.teacher else None,
            "probe": manifest(recipe.probe) if recipe.probe else None,
            "evaluation": manifest(recipe.evaluation) if recipe.evaluation else None,
            "stages": tuple(stage(section) for section in recipe.stages),
        }
    )


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
    """What a part of a dotted key stands for in the node at `where`: a key of a table, an index of a list."""
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise RecipeError(f"--set {key}: {where} is a value, not a table")
    if not part.isdigit() or int(part) >= len(node):
        raise RecipeError(f"--set {key}: {where} has items 0 to {len(node) - 1}, not {part!r}")
    return int(part)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        # Pydantic puts the chosen tag of a union in the location; it is no key of the file.
        location = [str(part) for part in problem["loc"] if not (isinstance(part, str) and part in _TAGS)]
        dotted = ".".join(location)
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(location[-1], _known_keys(problem["loc"]), n=1, cutoff=0.4)
            hint = f"; did you mean {'.'.join([*location[:-1], near[0]])}?" if near else ""
            lines.append(f"unknown key {dotted}{hint}")
        elif problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
            lines.append(f"{dotted}.type {_untold(problem['loc'], problem['input'])}")
        else:
            own = problem.get("ctx", {}).get("error") if problem["type"] == "value_error" else None
            message = str(own) if own else problem["msg"]
            lines.append(f"{dotted}: {message}" if dotted else message)
    return "\n  ".join(lines)


def _untold(location: tuple[int | str, ...], table: dict[str, Any]) -> str:
    """What is wrong with the `type` of a table, and what it may be."""
    types = sorted({tag for model in _models_at(location) for tag in _tags(model)})
    given = table.get("type")
    choices = "write one of " + ", ".join(repr(tag) for tag in types)
    if given is not None:
        near = difflib.get_close_matches(str(given), types, n=1, cutoff=0.4)
        return f"= {given!r} is unknown; " + (f"did you mean {near[0]!r}? Or {choices}" if near else choices)
    near = difflib.get_close_matches("type", table, n=1, cutoff=0.6)
    return f"is missing; {choices}" + (f" (did you mean type where you wrote {near[0]}?)" if near else "")


def _tags(model: Any) -> tuple[str, ...]:
    field = model.model_fields.get("type")
    return typing.get_args(field.annotation) if field is not None else ()


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Valid keys beside one of the recipe."""
    return sorted({key for model in _models_at(location[:-1]) for key in model.model_fields})


def _models_at(location: tuple[int | str, ...]) -> list[Any]:
    """What may stand at a place of the recipe, found by walking the models' fields (union members by their tag)."""
    candidates: list[Any] = [Recipe]
    for part in location:
        following: list[Any] = []
        for model in candidates:
            if isinstance(part, str) and part in _TAGS:
                following += [model] if part in _tags(model) else []
            elif isinstance(part, int):
                following.append(model)
            elif part in model.model_fields:
                following += _sections(model.model_fields[part].annotation)
        candidates = following
    return candidates


def _sections(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in typing.get_args(annotation) for section in _sections(inner)]
