"""Kinds of values in a run's files, and the check of a record that names what it holds instead."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import numpy as np
import pandas as pd
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    Strict,
    StrictBool,
    StrictBytes,
    StrictStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from overlap.errors import UserError
from overlap.plain_json import INFINITE

REMEDY = "write it as RUN_DIRECTORY.md says, or restore the file from a copy"


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _infinite(value: Any) -> Any:
    return float(value) if isinstance(value, str) and value in INFINITE else value


Text = StrictStr
Boolean = StrictBool
Bytes = StrictBytes
Integer = Annotated[int, Strict(), BeforeValidator(_whole)]
"""Also written as 2.0."""
Number = Annotated[float, Strict(), BeforeValidator(_infinite)]
"""Infinite ones are the texts of JSON."""


class Record(BaseModel):
    """An object of a file: its fields with their kinds and meanings. It may have more fields."""

    hint: ClassVar[str] = ""
    """Added to the message that a field is missing."""


def needed(meaning: str, alias: str | None = None) -> Any:
    """A field that a record must have; its name in the file is the alias, if there is one."""
    return Field(alias=alias, description=meaning)


def optional(meaning: str, alias: str | None = None) -> Any:
    """A field that may be absent."""
    return Field(None, alias=alias, description=meaning)


@cache
def fields(record: type[Record]) -> dict[str, Any]:
    """The kinds of a record's fields, by their names in the file."""
    return {field.alias or name: field.rebuild_annotation() for name, field in record.model_fields.items()}


@cache
def required(record: type[Record]) -> dict[str, Any]:
    """The kinds of the fields that a record must have, likewise."""
    needed = {field.alias or name for name, field in record.model_fields.items() if field.is_required()}
    return {name: kind for name, kind in fields(record).items() if name in needed}


def plain(kind: Any) -> Any:
    """A kind without null: a class, or what `typing` calls the origin with its arguments."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        parts = [part for part in get_args(kind) if part is not types.NoneType]
        return plain(parts[0]) if len(parts) == 1 else Union[tuple(parts)]  # noqa: UP007 (of a list)
    return kind


def is_record(kind: Any) -> bool:
    """Whether objects of this kind are records."""
    return isinstance(kind, type) and issubclass(kind, Record)


_NAMES = {Any: "any", str: "text", int: "integer", float: "number", bool: "boolean", bytes: "bytes"}
_ONE = {"text": "a text", "integer": "an integer", "number": "a number", "boolean": "true or false"}
_ONE |= {"object": "an object"}


def named(kind: Any) -> str:
    """A kind as RUN_DIRECTORY.md names it.

    >>> named(Integer | None), named(list[list[Bytes | None]]), named(Literal["sft", "td"])
    ('integer or null', 'list of lists of bytes or null', 'one of `sft`, `td`')
    """
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return named(inside[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(named, inside))
    if origin is Literal:
        return f"one of {', '.join(f'`{word}`' for word in inside)}"
    if origin is list:
        first, space, rest = named(inside[0]).partition(" ")
        return f"list of {first.removesuffix('s')}s{space}{rest}"
    return "null" if kind is types.NoneType else _NAMES.get(kind, "object")


def _expected(kind: Any) -> str:
    words = named(kind)
    return f"a {words}" if words.startswith("list of ") else " or ".join(_ONE.get(w, w) for w in words.split(" or "))


def check_record(row: Mapping[str, Any], record: type[Record], where: str) -> None:
    """Refuse an object with a field of another kind, or with a word that it cannot hold.

    Args:
        row: The object.
        record: What it is to be.
        where: File and line, for the message.

    Raises:
        UserError: Names where it stands, the field, what is expected, what was found, and what to do.
    """
    try:
        record.__pydantic_validator__.validate_python(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{where}: {_problem(first, first['loc'], record, '')}; {REMEDY}") from None


def check_column(values: np.ndarray, kind: Any, path: str, name: str) -> None:
    """Refuse a column of a table with a value of another kind.

    Args:
        values: A value a row; NaN is a null as well as a number.
        kind: That all must have.
        path: The file.
        name: Of the column.

    Raises:
        UserError: Names file, row from 1, column, and what is expected.
    """
    if _sure(values, kind):
        return
    (item, *_) = get_args(plain(kind)) or [None]
    cells: list[Any] = [None if null else value for value, null in zip(values, pd.isna(values), strict=True)]
    cells = [[] if _sure(cell, item) else cell.tolist() if hasattr(cell, "tolist") else cell for cell in cells]
    try:
        _column(kind).validate_python(cells)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"{path}, row {int(first['loc'][0]) + 1}"
        raise UserError(f"{where}: {_problem(first, first['loc'][1:], kind, name)}; {REMEDY}") from None


def _sure(values: Any, kind: Any) -> bool:
    """Whether the type of an array says that all are of a kind, which is quicker than to look at each."""
    types_ = {int: "iu", float: "iuf", bool: "b"}.get(plain(kind), "")
    return isinstance(values, np.ndarray) and values.dtype.kind in types_


@cache
def _column(kind: Any) -> TypeAdapter[Any]:
    cells: Any = types.GenericAlias(list, (kind,))
    return TypeAdapter(cells)


def _problem(error: ErrorDetails, place: Sequence[int | str], kind: Any, name: str) -> str:
    """What is wrong, at a place below a field of this kind and name."""
    found, inside = _found(error["input"]), plain(kind)
    if error["type"] == "value_error":
        return str(error.get("ctx", {})["error"])
    if place and (is_record(inside) or get_origin(inside) is dict):
        below = f"{name}.{place[0]}" if name else str(place[0])
        if error["type"] == "missing" and len(place) == 1:
            return f"field `{below}` is missing{inside.hint}"
        kind = fields(inside)[str(place[0])] if is_record(inside) else get_args(inside)[1]
        return _problem(error, place[1:], kind, below)
    if place and get_origin(inside) is list:
        if len(place) > 1:
            return _problem(error, place[1:], get_args(inside)[0], f"{name}[{place[0]}]")
        found = f"a list with {found} as item {place[0]}"
    return f"field `{name}` is {found}; expected {_expected(kind)}"


def _found(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list) else f"{value!r:.40}"
