"""Errors of a recipe in terms of its file, not of the library that checks it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .filters import is_limit
from .hints import usual_key
from .schema import Recipe
from .schema_walk import Location, keys_of, sections_at, types_of
from .section import Section
from .toml import described, in_toml

MOST_KEYS = 12
"""Most valid keys that an error about an unknown key shows."""


def is_of_recipe(error: ValidationError) -> bool:
    """Return whether an error is of a recipe or one of its sections, and so a user's; any other model's is a fault
    here."""
    return error.title in set(_names(Section))


def _names(section: type[Section]) -> Iterator[str]:
    for below in section.__subclasses__():
        yield below.__name__
        yield from _names(below)


def explain(error: ValidationError, top: type[Section] = Recipe) -> str:
    """Return every mistake on its own line: its dotted key, what is wrong, and what to write instead.

    Args:
        error: Of a recipe, or of one of its sections.
        top: Which of them.
    """
    lines = (
        _line(tuple(problem["loc"]), problem["type"], problem["input"], problem.get("ctx", {}), top)
        for problem in _mistakes(error)
    )
    return "\n  ".join(lines)


def wrong_keys(error: ValidationError) -> list[str]:
    """Return the dotted key of every mistake; that of the recipe as a whole is empty."""
    return [_dotted(tuple(problem["loc"])) for problem in _mistakes(error)]


def has_unknown_key(error: ValidationError) -> bool:
    """Whether a key is among the mistakes that no table has."""
    return any(problem["type"] == "extra_forbidden" for problem in _mistakes(error))


def _mistakes(error: ValidationError) -> Iterator[ErrorDetails]:
    problems = error.errors(include_url=False)
    places = [tuple(problem["loc"]) for problem in problems]
    for place, problem in zip(places, problems, strict=True):
        # What is wrong inside an array also makes it too short, as only what is right counts.
        inside = any(len(other) > len(place) and other[: len(place)] == place for other in places)
        if problem["type"] != "too_short" or not inside:
            yield problem


def _line(place: Location, kind: str, value: Any, context: Mapping[str, Any], top: type[Section]) -> str:
    if kind == "extra_forbidden":
        return f"unknown key {_dotted(place, top)}; {_suggest_key(place, top)}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return f"{_dotted(place, top)}.type {_describe_type_problem(place, value, top)}"
    if kind == "missing" and place and isinstance(place[-1], int):
        return f"{_dotted(place[:-1], top)}: must have {place[-1] + 1} items or more, not {in_toml(value)}"
    if kind == "missing":
        meaning = next(
            (
                one.model_fields[place[-1]].description
                for one in sections_at(place[:-1], top)
                if place[-1] in one.model_fields
            ),
            None,
        )
        return f"{_dotted(place, top)} is missing" + (f": {described(meaning)}" if meaning else "")
    if kind == "value_error":
        own = str(context["error"])
        return f"{_dotted(place, top)}: {own}" if place else own
    wanted = _expected_value(kind, context)
    if wanted is None:
        return f"{_dotted(place, top)}: {context.get('error', kind)}; it is {in_toml(value)}"
    off = ' or "off"' if kind != "number_or_off" and _accepts_off(place, top) else ""
    remedy = _remedy_for_near_miss(kind, value, context)
    return f"{_dotted(place, top)}: must be {wanted}{off}, not {in_toml(value)}{remedy}"


def _accepts_off(place: Location, top: type[Section]) -> bool:
    fields = (section.model_fields.get(str(place[-1])) for section in sections_at(place[:-1], top))
    return any(is_limit(field.metadata) for field in fields if field is not None)


def _expected_value(kind: str, context: Mapping[str, Any]) -> str | None:
    """Return what a value must be, by pydantic's kinds of errors; None for a kind that recipes do not raise."""
    if kind == "literal_error":
        return "one of " + context["expected"].replace("'", '"').replace(" or ", ", ")
    if kind in ("string_too_short", "too_short"):
        least = context["min_length"]
        return f"a string of {least} or more letters" if kind[0] == "s" else f"an array of {least} or more"
    if kind == "too_long":
        return f"an array of at most {context['max_length']}"
    for bound, words, whole in (
        ("gt", "above", ("at least", 1)),
        ("ge", "at least", ("at least", 0)),
        ("lt", "below", ("at most", -1)),
        ("le", "at most", ("at most", 0)),
    ):
        if bound in context and isinstance(limit := context[bound], int):
            return f"{whole[0]} {limit + whole[1]}"
        if bound in context:
            return f"{words} {context[bound]:g}"
    names = {
        "a whole number": ("int_type", "int_parsing", "int_from_float", "int_parsing_size"),
        "a number": ("float_type", "float_parsing"),
        "a finite number": ("finite_number",),
        'a number or "off"': ("number_or_off",),
        "true or false": ("bool_type", "bool_parsing"),
        "a string": ("string_type",),
        "an array": ("tuple_type", "list_type"),
        "a table": ("model_type", "model_attributes_type", "dict_type", "dict_attributes_type"),
    }
    return next((words for words, kinds in names.items() if kind in kinds), None)


def _remedy_for_near_miss(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    """Return the remedy for a value that is nearly right; empty where it is not."""
    if isinstance(value, str):
        if kind == "literal_error":
            near = difflib.get_close_matches(
                value, context["expected"].replace("'", "").replace(" or ", ", ").split(", "), n=1
            )
            return f'; did you mean "{near[0]}"?' if near else ""
        if kind in ("int_type", "float_type") and value.replace(".", "", 1).replace("-", "", 1).isdigit():
            return f"; write {value} without quotes"
        if kind == "bool_type" and value.lower() in ("true", "false", "yes", "no", "on", "off"):
            return f"; write {'true' if value.lower() in ('true', 'yes', 'on') else 'false'} without quotes"
        if kind in ("tuple_type", "list_type"):
            return f"; write {in_toml([value])}"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'; write "{in_toml(value)}"'
    if kind in ("tuple_type", "list_type") and isinstance(value, Mapping):
        return "; write its header in double brackets, such as [[stages]]"
    return ""


def _dotted(place: Location, top: type[Section] = Recipe) -> str:
    return ".".join(map(str, keys_of(place, top)))


def _suggest_key(place: Location, top: type[Section]) -> str:
    """Return what was probably meant by an unknown key, or which keys there are."""
    *above, unknown = map(str, keys_of(place, top))
    sections = sections_at(place[:-1], top)
    if types := _types_with(unknown, place[:-1], top):
        return f"only type = {' or '.join(map(in_toml, types))} has it"
    known = sorted({key for section in sections for key in section.model_fields})
    if usual := usual_key(unknown, above, sections):
        return f"write {usual}"
    if near := difflib.get_close_matches(unknown, known, n=1, cutoff=0.6):
        return f"did you mean {'.'.join([*above, near[0]])}?"
    if len(known) <= MOST_KEYS:
        where = ".".join(above) or ("a recipe" if top is Recipe else top.__name__)
        return f"the keys of {where} are {', '.join(known)}"
    return "remove it"


def _types_with(key: str, table: Location, top: type[Section]) -> list[str]:
    """Return the other types of a table that have a key; none of a table that has no types."""
    if keys_of(table, top) != keys_of(table[:-1], top):
        return []
    return [
        name for section in sections_at(table[:-1], top) if key in section.model_fields for name in types_of(section)
    ]


def _describe_type_problem(place: Location, table: Mapping[str, Any], top: type[Section]) -> str:
    """Return what is wrong with the `type` of a table, and what it may be."""
    types = sorted({name for section in sections_at(place, top) for name in types_of(section)})
    given = table.get("type")
    choices = "write one of " + ", ".join(f'"{name}"' for name in types)
    if given is not None:
        near = difflib.get_close_matches(str(given), types, n=1, cutoff=0.4)
        return f"= {in_toml(given)} is unknown; " + (f'did you mean "{near[0]}"? Or {choices}' if near else choices)
    near = difflib.get_close_matches("type", table, n=1, cutoff=0.6)
    return f"is missing; {choices}" + (f" (did you mean type where you wrote {near[0]}?)" if near else "")
