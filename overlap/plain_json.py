"""Numbers that JSON lacks: NaN is written as null, infinities as the texts "inf" and "-inf"."""

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

INFINITE = ("inf", "-inf")


def plain(value: Any) -> Any:
    """Return a tree that JSON can hold: NaN becomes None, infinities text, tuples lists, members of enumerations text.

    >>> plain({"loss": math.nan, "ends": (-math.inf, 2.5)})
    {'loss': None, 'ends': ['-inf', 2.5]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(float(value))
    return str(value) if isinstance(value, Enum) else value


def number(value: float | str | None) -> float:
    """Return the inverse of `plain` for a number.

    >>> [number(value) for value in (None, "-inf", 2.5)]
    [nan, -inf, 2.5]
    """
    return math.nan if value is None else float(value)


def dumps(tree: Any, *, ensure_ascii: bool = False, **options: Any) -> str:
    """Return JSON of a tree; numbers that JSON lacks are written as `plain` says.

    Args:
        tree: mappings, lists, tuples, texts, numbers, truth values, None and members of enumerations.
        ensure_ascii: whether other characters are escaped.
        options: further ones of `json.dumps`.

    Raises:
        TypeError: the tree holds anything else.
    """
    return json.dumps(plain(tree), ensure_ascii=ensure_ascii, allow_nan=False, **options)
