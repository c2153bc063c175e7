"""Checks what a function is given against its own annotations, so that a slip is one message and no traceback.

beartype looks at one item of a list only, typeguard takes True for a whole number and refuses NumPy's, pydantic refuses
NumPy's whole numbers as well, and none says in a line of words what is expected: most of this module would stay.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import reprlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from overlap.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

_WORDS = {
    str: "a string",
    Path: "a path",
    PathLike: "a path",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    types.NoneType: "None",
}
_PACKAGES = ("overlap", "distill", "analysis")
_NUMBERS: dict[object, type] = {int: Integral, float: Real}  # NumPy's numbers are some as well


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Return the same function, which refuses arguments that its annotations do not allow before it does anything.

    Nothing is converted. Annotations may be classes, protocols that can be checked at run time, unions, literals,
    sequences, mappings and functions.

    Raises:
        UserError: Names the argument, what is expected, and what was received.

    Example:
        >>> @checked_arguments
        ... def double(times: int | None = None): ...
        >>> double(times="2")
        Traceback (most recent call last):
        overlap.errors.UserError: times: expected a whole number or None, received '2'
    """
    signature = inspect.signature(function)
    hints = functools.cache(lambda: get_type_hints(function))

    @functools.wraps(function)
    def checking(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # Python's own error names the function
        for name, value in given.items():
            require_kind(name, value, hints().get(name, Any))
        return function(*args, **kwargs)

    return checking


def whole_number(value: object) -> int | None:
    """Return a whole number as Python's own, also if it is one of NumPy's; None for anything else and truth values.

    >>> whole_number(8), whole_number(8.0), whole_number(True)
    (8, None, None)
    """
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def callers_level() -> int:
    """Return the `stacklevel` of a warning to a user: how far up the nearest code outside this distribution is."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        level, frame = level + 1, frame.f_back
    return level


def require_kind(name: str, value: object, kind: Any) -> None:
    """Refuse a value that an annotation does not allow.

    Args:
        name: What names the value in the message.
        value: The value.
        kind: The annotation.

    Raises:
        UserError: Names the argument, what is expected, and what was received.
    """
    if isinstance(value, str) and not value and Path in _parts(kind):  # it would stand for the current folder
        raise UserError(f"{name}: expected {_words(kind)}, received an empty text")
    if not _fits(value, kind):
        choices = [str(one) for part in _parts(kind) if get_origin(part) is Literal for one in get_args(part)]
        near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        meant = f'; did you mean "{near[0]}"?' if near else ""
        raise UserError(f"{name}: expected {_words(kind)}, received {_shown(value)}{meant}")


def _shown(value: object) -> str:
    """Return a value in one short line; the kind alone of what prints as a table, such as a frame."""
    shown = reprlib.repr(value)
    return f"a {type(value).__name__}" if "\n" in shown else shown


def _parts(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union; the annotation itself if it is no union."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fits(value: object, kind: Any) -> bool:
    parts, of, inside = _parts(kind), get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return True
    if len(parts) > 1:
        return any(_fits(value, part) for part in parts)
    if of is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if of is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str | bytes) and _all(value, inside[0])
    if of is Mapping:
        return isinstance(value, Mapping) and _all(value.keys(), inside[0]) and _all(value.values(), inside[1])
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    return isinstance(value, of or kind)


def _all(values: Any, kind: Any) -> bool:
    return all(_fits(value, kind) for value in values)


def _words(kind: Any) -> str:
    """Return an annotation in words."""
    *most, last = dict.fromkeys(word for part in _parts(kind) for word in _choices(part))
    return f"{', '.join(most)} or {last}" if most else last


def _plural(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return _words(kind)
    return " or ".join(f"{_one(part).split()[-1].lower()}s" for part in _parts(kind))


def _choices(kind: Any) -> list[str]:
    return [f'"{one}"' for one in get_args(kind)] if get_origin(kind) is Literal else [_one(kind)]


def _one(kind: Any) -> str:
    of, inside = get_origin(kind), get_args(kind)
    if of is Sequence:
        return f"a list of {_plural(inside[0])}"
    if of is Mapping:
        return "a dictionary"
    if of is Callable:
        return "a function"
    return _WORDS.get(kind) or getattr(kind, "__name__", str(kind))
