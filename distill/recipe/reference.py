"""The page of all fields of a recipe, in Markdown: meaning, allowed values and default of each."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic.fields import FieldInfo

from .filters import is_limit
from .schema import Recipe
from .schema_walk import sections_of, types_of
from .section import Section
from .toml import described, in_toml

INTRODUCTION = """# Recipes

A recipe is one TOML file. `distill new` writes one for two models and two manifests. `distill recipes` shows the
shipped ones. `distill check RECIPE` tries one. `--set stages.1.lr=1e-6` changes a field from the command line
(arrays of tables are numbered from 0). Paths are relative to the recipe's folder, or for shipped recipes to the current
folder. `demo:teacher`, `demo:student` and `demo:corpus/…` are in the package; `hf:NAME:CONFIG:SPLIT` is a data set of
the Hub.

The smallest recipe has a student and a stage:

```toml
[student]
model = "demo:student"

[[stages]]
type = "sft"
name = "base"
manifest = "demo:corpus/base.jsonl"
steps = 100
```

A field is required or has the default shown; "unset" means that the recipe does not give the field.
(Generated from the schema by `python -m distill.recipe > distill/recipe/RECIPES.md`.)
"""


def page() -> str:
    """Return the page: a table for each section, those of the top first."""
    lines = [INTRODUCTION]
    for section, where in _sections():
        tag = "".join(f', `type = "{name}"`' for name in types_of(section))
        lines.append(
            f"## {where}{tag}\n\n{described(section.__doc__)}\n\n| key | value | default | |\n|---|---|---|---|"
        )
        lines += [_row(name, field) for name, field in section.model_fields.items()]
        lines.append("")
    return "\n".join(lines)


def _sections() -> Iterator[tuple[type[Section], str]]:
    """Yield every section once, with the header of its table, in the order of their fields."""
    found: dict[type[Section], list[str]] = {Recipe: ["the top of the file"]}
    waiting: list[tuple[type[Section], str]] = [(Recipe, "")]
    while waiting:
        section, prefix = waiting.pop(0)
        for name, field in section.model_fields.items():
            array = "tuple" in str(field.annotation)
            place = f"{prefix}{name}"
            for inner in sections_of(field.annotation):
                first = inner not in found
                found.setdefault(inner, []).append(f"`[[{place}]]`" if array else f"`[{place}]`")
                if first:
                    waiting.append((inner, f"{place}."))
    for section, places in found.items():
        yield section, ", ".join(dict.fromkeys(places))


def _row(name: str, field: FieldInfo) -> str:
    if field.is_required():
        default = "required"
    elif (value := field.get_default(call_default_factory=True)) is None or isinstance(value, Section) or value == ():
        default = "unset" if value is None else "its defaults" if value != () else "`[]`"
    else:
        default = f"`{in_toml(value)}`"
    meaning = described(field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_value(field.annotation, field.metadata)} | {default} | {meaning} |"


def _value(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    """Return what a field may hold, in TOML's words."""
    if sections := sections_of(annotation):
        names = [f'"{name}"' for section in sections for name in types_of(section)]
        plural = "tables" if "tuple" in str(annotation) else "table"
        table = f"{plural}{' of type ' + ', '.join(names) if names else ''}"
        return " or ".join([*_plain_values(annotation), table])
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _value(inside[0], [*inside[1:], *metadata])
    if origin in (types.UnionType, typing.Union):
        bounded = [_value(one, metadata) for one in inside if one is not types.NoneType]
        return " or ".join(bounded) + (' or `"off"`' if is_limit(metadata) else "")
    if origin is Literal:
        return ", ".join(f"`{in_toml(one)}`" for one in inside)
    if origin is tuple:
        items = inside[:1] if inside[-1] is ... else inside
        words = (
            _value(items[0]).removeprefix("a ").replace("whole number", "whole numbers").replace("string", "strings")
        )
        return f"array of {words}" if inside[-1] is ... else f"array of {len(items)}: {_value(items[0])}"
    if origin is dict:
        return f"table; each value: {_value(inside[1])}" if inside[1] is not Any else "table"
    words = {bool: "true or false", int: "whole number", float: "number", str: "string"}[annotation]
    return f"{words}{_bounds(metadata)}"


def _plain_values(annotation: Any) -> list[str]:
    """Return what a field that also takes tables may hold besides them."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return []
    return [_value(one) for one in typing.get_args(annotation) if one is not types.NoneType and not sections_of(one)]


def _bounds(metadata: typing.Sequence[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    flat = [inner for one in metadata for inner in getattr(one, "metadata", [one])]
    found = [
        f"{sign} {getattr(one, name):g}"
        for one in flat
        for name, sign in signs.items()
        if abs(getattr(one, name, None) or 0) < 2**53 and getattr(one, name, None) is not None
    ]
    return f" {', '.join(found)}" if found else ""
