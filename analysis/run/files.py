"""Files of a run directory as frames, with their columns checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from overlap.errors import UserError
from overlap.plain_json import INFINITE

from .columns import check_column, fits
from .records import check_record


def read_parquet(path: Path, required: Mapping[str, str], by: str = "distill train") -> pd.DataFrame:
    """A Parquet file of a run. Trainers write such files atomically, so it is complete.

    Args:
        path: The file.
        required: Columns that it must have, with their kinds.
        by: The command that writes such files.

    Raises:
        UserError: Not Parquet, columns are missing, or hold something else; names the file and them.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        remedy = "restore it, or resume the run" if by == "distill train" else f"give a file that `{by}` wrote"
        raise UserError(f"{path}: not a readable Parquet file ({error}); {remedy}") from error
    require_columns(frame, path, required, by)
    return frame


def require_columns(frame: pd.DataFrame, path: Path, required: Mapping[str, str], by: str) -> None:
    """Refuse a file that lacks columns, or where they hold something else, see `read_parquet`."""
    missing = [column for column in required if column not in frame]
    if missing:
        raise UserError(f"{path}: columns {missing} are missing; write them as `{by}` does, see RUN_DIRECTORY.md")
    for name, kind in required.items():
        check_column(_values(pd.Series(frame[name]), kind), kind, str(path), name)


def _values(column: pd.Series, kind: str) -> np.ndarray:
    """The values of a column; of one with few distinct values, each once if all fit, since there may be many rows."""
    if isinstance(column.dtype, pd.CategoricalDtype) and not column.isna().any():
        distinct = column.cat.categories.to_numpy()
        if all(fits(value, kind) for value in distinct):
            return distinct
    return column.to_numpy()


def read_log(path: Path, required: Mapping[str, str]) -> pd.DataFrame:
    """Read JSON lines; nested fields become columns with dots. A missing file gives a frame without rows.

    Raises:
        UserError: A line is damaged; names it and the field. A last line without a line end is still being written and
            is ignored.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(required))
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            rows.append(row := read_object(line, where := f"{path}, line {number}", required))
            check_record(row, path.name, required, where)
    if not rows:
        return pd.DataFrame(columns=list(required))
    frame = pd.json_normalize(rows)
    # JSON has no NaN: a column of only nulls contains undefined numbers. Infinite ones are written as text.
    undefined = frame.columns[frame.isna().all()]
    infinite = [name for name in frame if _has_infinite(frame[name].tolist(), known=_is_number(str(name), required))]
    return frame.astype(dict.fromkeys([*undefined, *infinite], "float64"))


def _is_number(name: str, required: Mapping[str, str]) -> bool:
    """Whether a column must be one of numbers, as a nested field is if it has nothing but infinite ones."""
    return "." in name or required.get(name, "").startswith("number")


def _has_infinite(values: Sequence[Any], *, known: bool) -> bool:
    """Whether these are numbers, some of them infinite; where all are "inf", it must be known that they are numbers."""
    texts = {value for value in values if isinstance(value, str)}
    rest = [value for value in values if not isinstance(value, str) and value is not None]
    if not texts or not texts <= set(INFINITE):
        return False
    return all(isinstance(value, float) or type(value) is int for value in rest) and (bool(rest) or known)


def read_object(text: bytes, where: str, required: Iterable[str]) -> dict[str, Any]:
    """A JSON object that has certain fields.

    Raises:
        UserError: It is not one; names its place.
    """
    row = read_json(text, where)
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}")
    missing = [name for name in required if name not in row]
    if missing:
        raise UserError(f"{where}: fields {missing} are missing; add them as RUN_DIRECTORY.md describes")
    return row


def read_json(text: bytes, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        UserError: It is not JSON; names its place.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); restore it from a copy, or delete it") from error
