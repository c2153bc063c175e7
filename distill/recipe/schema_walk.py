"""What may stand where in a recipe, found by walking the fields of its sections."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from .schema import Recipe
from .section import Section

Location = tuple[int | str, ...]
"""Keys and indices from the top, and as pydantic writes them the types of sections that have several."""


def sections_at(location: Location) -> list[type[Section]]:
    """The sections that may stand at a place: several where a `type` tells them apart, none where a value stands."""
    candidates: list[type[Section]] = [Recipe]
    for part in location:
        following: list[type[Section]] = []
        for section in candidates:
            if isinstance(part, int):
                following.append(section)
            elif part in section.model_fields:
                following += sections_of(section.model_fields[part].annotation)
            elif part in types_of(section):
                following.append(section)
        candidates = following
    return candidates


def keys_of(location: Location) -> list[str | int]:
    """A location as the file has it, without the types that pydantic adds."""
    return [
        part
        for i, part in enumerate(location)
        if isinstance(part, int) or not any(part in types_of(section) for section in sections_at(location[:i]))
    ]


def sections_of(annotation: typing.Any) -> list[type[Section]]:
    """The sections that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in typing.get_args(annotation) for section in sections_of(inner)]


def types_of(section: type[Section]) -> tuple[str, ...]:
    """The value of a section's `type`, by which it is told from others; empty where it has none."""
    field = section.model_fields.get("type")
    return typing.get_args(field.annotation) if field is not None else ()


def places(section: type[Section] = Recipe, prefix: str = "", above: tuple[type[Section], ...] = ()) -> Iterator[str]:
    """Every dotted key of a section and those below it, arrays as `stages.*`; gates inside gates are left out.

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
