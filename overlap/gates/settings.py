"""Settings of gates: what each may be stands in the fields of their dataclasses, where checks and recipes find it."""

import math
import numbers
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

from overlap.arguments import whole_number
from overlap.errors import UserError

Rule = Literal[
    "no level", "two levels", "release", "no limits", "open limits", "limits cross", "levels cross", "constant"
]
"""How the settings of a gate or a soft switch may fail to go together."""
_MEANINGS = {"bound": " (of the interval)"}


class RefusedSettingsError(UserError):
    """Settings of a gate that do not go together, in the words of Python.

    Attributes:
        rule: what is wrong, for recipes, which say it in the words of a file.
        statistic: whose limits they are; empty for settings of the whole gate.
    """

    def __init__(self, message: str, rule: Rule, statistic: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        self.statistic = statistic


def minimum(least: float, unit: str = "") -> dict[str, Any]:
    """Return metadata of a field that holds a number.

    Args:
        least: The lowest value allowed.
        unit: What a whole number counts, in the plural.
    """
    return {"ge": least, "unit": unit and f" of {unit}"}


def proportion() -> dict[str, Any]:
    """Return metadata of a field that holds a number between 0 and 1."""
    return minimum(0) | {"le": 1}


def check_settings(gate: Any) -> None:
    """Refuse settings out of range, naming what is allowed; numbers become Python's own.

    Args:
        gate: A dataclass. Fields with ``Literal`` annotations are checked, and those with :func:`minimum` or
            :func:`proportion`.

    Raises:
        UserError: A setting that its field does not allow.
    """
    for item in fields(gate):
        value, least = getattr(gate, item.name), item.metadata.get("ge")
        if get_origin(item.type) is Literal and value not in (choices := get_args(item.type)):
            allowed = " or ".join(f'"{one}"{_MEANINGS.get(one, "")}' for one in choices)
            raise UserError(f"{item.name}: expected {allowed}, received {value!r}")
        if least is None:
            continue
        if item.type is float:
            setattr(gate, item.name, level(value, item.name, least, item.metadata.get("le", math.inf)))
        elif (whole := whole_number(value)) is None or whole < least:
            unit = item.metadata["unit"]
            raise UserError(f"{item.name}: expected a whole number{unit} of at least {least}, received {value!r}")
        else:
            setattr(gate, item.name, whole)


def level(value: Any, what: str, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a level that a gate compares with, as a Python number: JSON holds it, and every reading is above or below
    it.

    Args:
        value: a number, or one element of an array or tensor.
        what: says in an error which level it is.
        least: the lowest one allowed.
        most: the highest one allowed.

    Raises:
        UserError: if it is no number, not finite, too low or too high.
    """
    number = as_number(value)
    if number is None or not math.isfinite(number) or not least <= number <= most:
        wanted = "a finite number" if least == -math.inf else f"a number of at least {least:g}"
        wanted += "" if most == math.inf else f" and at most {most:g}"
        raise UserError(f"{what}: expected {wanted}, received {value!r}")
    return number


def as_number(value: Any) -> int | float | None:
    """Return a real number as Python's own; one element of an array or tensor is one as well. None for anything
    else."""
    if not isinstance(value, int | float | str | bytes) and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        as_float = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return value if type(value) is int else as_float
