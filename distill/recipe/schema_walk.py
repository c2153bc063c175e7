"""Sections and keys that are allowed at a location of a recipe."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from .schema import Recipe
from .section import NUMBER, Section

Location = tuple[int | str, ...]
"""Keys and indices from the top, and as pydantic writes them the types of sections that have several."""


def sections_at(location: Location, top: type[Section] = Recipe) -> list[type[Section]]:
    """Return the sections that may stand at a place: several if a `type` distinguishes them, none for a value."""
    return _walk(location, top)[0]


def keys_of(location: Location, top: type[Section] = Recipe) -> list[str | int]:
    """Return a location as the file has it, without the types that pydantic adds."""
    return _walk(location, top)[1]


def _walk(location: Location, top: type[Section]) -> tuple[list[type[Section]], list[str | int]]:
    sections: list[type[Section]] = [top]
    keys: list[str | int] = []
    type_follows = False  # in the location, if it distinguishes sections
    for part in location:
        if isinstance(part, str) and type_follows and any(part in types_of(section) for section in sections):
            sections, type_follows = [section for section in sections if part in types_of(section)], False
            continue
        if part == NUMBER and type_follows and sections:
            sections = []
            continue
        keys.append(part)
        if isinstance(part, str):
            fields = [section.model_fields[part] for section in sections if part in section.model_fields]
            sections = [inner for field in fields for inner in sections_of(field.annotation)]
            type_follows = True
    return sections, keys


def sections_of(annotation: typing.Any) -> list[type[Section]]:
    """Return the sections that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in typing.get_args(annotation) for section in sections_of(inner)]


def types_of(section: type[Section]) -> tuple[str, ...]:
    """Return the value of a section's `type`, which distinguishes it from others; empty if it has none."""
    field = section.model_fields.get("type")
    return typing.get_args(field.annotation) if field is not None else ()


def places(section: type[Section] = Recipe, prefix: str = "", above: tuple[type[Section], ...] = ()) -> Iterator[str]:
    """Yield every dotted key of a section and those below it, arrays as `stages.*`; gates inside gates are left out.

    Args:
        section: Where to begin.
        prefix: What stands before each key.
        above: Sections that it is part of.
    """
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        inner = sections_of(field.annotation)
        if not {section, *above}.intersection(inner):
            array = "*." if "tuple" in str(field.annotation) else ""
            for one in inner:
                yield from places(one, f"{prefix}{name}.{array}", (*above, section))
