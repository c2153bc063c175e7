"""Errors for arguments of the wrong kind: a path for a run, one run for several, a run for its frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from overlap.errors import UserError

from .load import Run
from .runs import Runs


def want_run(value: Any, name: str = "run", *, remedy: str = "") -> None:
    """Refuse a value that is not one run, and say how to load one.

    Args:
        value: What was given.
        name: Of the argument.
        remedy: Added to the message if several runs were given.
    """
    if isinstance(value, Mapping) and value and all(isinstance(one, Run) for one in value.values()):
        first = next(iter(value))
        raise UserError(f"{name}: expected one run, received {len(value)}; choose one, such as runs[{first!r}]{remedy}")
    if _are_runs(value):
        raise UserError(f"{name}: expected one run, received {len(value)}; choose one, such as runs[0]{remedy}")
    if not isinstance(value, Run):
        raise UserError(f"{name}: expected a run, such as load({_path(value)}), received a {type(value).__name__}")


def want_runs(value: Any, name: str = "runs") -> None:
    """Refuse a value that is not several runs, and say how to load them."""
    if isinstance(value, Run):
        raise UserError(f"{name}: expected several runs, such as load_many([{str(value.path)!r}]), received one run")
    if not isinstance(value, Runs):
        example, received = "load_many(['runs/0', 'runs/1'])", type(value).__name__
        raise UserError(f"{name}: expected several runs, such as {example}, received a {received}")


def want_run_or_several(value: Any, function: str) -> None:
    """Refuse a value that is neither a run nor several by name, and say how to give them.

    Args:
        value: What was given.
        function: Its name.
    """
    if isinstance(value, Mapping):
        for name, one in value.items():
            want_run(one, f"runs[{name!r}]")
    elif _are_runs(value):
        paths = ", ".join(repr(str(one.path)) for one in value)
        raise UserError(f"run: several runs are given by name: {function}(load_many([{paths}]))")
    else:
        want_run(value)


def _are_runs(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(one, Run) for one in value)


def want_frame(value: Any, name: str, what: str, example: str, columns: Sequence[str] = ()) -> None:
    """Refuse a value that is not a frame with the columns, and say which frame is expected.

    Args:
        value: What was given.
        name: Of the argument.
        what: Description of the expected frame.
        example: Code that gives it.
        columns: Required columns.
    """
    if not isinstance(value, pd.DataFrame):
        raise UserError(f"{name}: expected {what}, such as {example}, received a {type(value).__name__}")
    missing = [column for column in columns if column not in value]
    if missing:
        raise UserError(f"{name}: there is no column {missing[0]!r}; expected {what}, such as {example}")


def numbers(value: Any, name: str, example: str) -> np.ndarray:
    """Return an array of double precision.

    Args:
        value: What was given.
        name: Of the argument.
        example: Code that gives such numbers.

    Raises:
        UserError: They are not numbers; shows an example.
    """
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        received = f"expected numbers, such as {example}, received a {type(value).__name__}"
        raise UserError(f"{name}: {received}") from None


def _path(value: Any) -> str:
    return repr(str(value)) if isinstance(value, str) or hasattr(value, "__fspath__") else "'runs/0'"
