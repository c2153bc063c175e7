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

from .doubled import ONCE, check_once
from .kinds import REMEDY, Record, check_column, check_record, fields, plain, required


def read_parquet(path: Path, kinds: Mapping[str, Any], by: str = "distill train") -> pd.DataFrame:
    """A Parquet file of a run. Trainers write such files atomically, so it is complete.

    Args:
        path: The file.
        kinds: Of the columns that it must have.
        by: The command that writes such files.

    Raises:
        UserError: Not Parquet, columns are missing, or hold something else; names the file and them.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        remedy = "restore it, or resume the run" if by == "distill train" else f"give a file that `{by}` wrote"
        raise UserError(f"{path}: not a readable Parquet file ({error}); {remedy}") from error
    require_columns(frame, path, kinds, by)
    return frame


def require_columns(frame: pd.DataFrame, path: Path, kinds: Mapping[str, Any], by: str) -> None:
    """Refuse a file that lacks columns, or where they hold something else, see `read_parquet`."""
    missing = [column for column in kinds if column not in frame]
    if missing:
        raise UserError(f"{path}: columns {missing} are missing; write them as `{by}` does, see RUN_DIRECTORY.md")
    for name, kind in kinds.items():
        check_column(_values(pd.Series(frame[name]), kind), kind, str(path), name)


def _values(column: pd.Series, kind: Any) -> np.ndarray:
    """Return the values of a column; of one with few distinct values, each once, since there may be many rows."""
    if isinstance(column.dtype, pd.CategoricalDtype) and not column.isna().any():
        return column.cat.categories.to_numpy()
    return column.to_numpy()


def read_log(path: Path, record: type[Record]) -> pd.DataFrame:
    """Read JSON lines; nested fields become columns with dots. A missing file gives a frame without rows.

    Raises:
        UserError: It is a folder, or a line is damaged, or there twice; names it and the field. A last line without a
            line end is still being written and is ignored.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(required(record)))
    if path.is_dir():
        raise UserError(f"{path}: is a folder; {REMEDY}")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            where = f"{path}, line {number}"
            if not line.strip():
                raise UserError(f"{where}: the line is empty; delete it")
            rows.append(read_record(line, where, record, "line"))
    if not rows:
        return pd.DataFrame(columns=list(required(record)))
    frame = pd.json_normalize(rows)
    if path.name in ONCE:
        check_once([(path, frame)], ONCE[path.name], "line")
    # JSON has no NaN: a column of only nulls contains undefined numbers. Infinite ones are written as text.
    undefined = frame.columns[frame.isna().all()]
    infinite = [name for name in frame if _has_infinite(frame[name].tolist(), known=_is_number(str(name), record))]
    return frame.astype(dict.fromkeys([*undefined, *infinite], "float64"))


def _is_number(name: str, record: type[Record]) -> bool:
    """Whether a column must be one of numbers, as a nested field is if it has nothing but infinite ones."""
    return "." in name or plain(fields(record).get(name)) is float


def _has_infinite(values: Sequence[Any], *, known: bool) -> bool:
    """Whether these are numbers, some of them infinite; where all are "inf", it must be known that they are numbers."""
    texts = {value for value in values if isinstance(value, str)}
    rest = [value for value in values if not isinstance(value, str) and value is not None]
    if not texts or not texts <= set(INFINITE):
        return False
    return all(isinstance(value, float) or type(value) is int for value in rest) and (bool(rest) or known)


def read_record(text: bytes, where: str, record: type[Record], unit: str = "file") -> dict[str, Any]:
    """A JSON object, checked to be such a record; see `read_json` for the rest.

    Raises:
        UserError: It is not one; names its place and the field.
    """
    row = read_object(text, where, required(record), unit)
    check_record(row, record, where)
    return row


def read_object(text: bytes, where: str, required: Iterable[str], unit: str = "file") -> dict[str, Any]:
    """A JSON object that has certain fields; see `read_json` for the rest.

    Raises:
        UserError: It is not one; names its place.
    """
    row = read_json(text, where, unit)
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}")
    missing = [name for name in required if name not in row]
    if missing:
        raise UserError(f"{where}: fields {missing} are missing; add them as RUN_DIRECTORY.md describes")
    return row


def read_json(text: bytes, where: str, unit: str = "file") -> Any:
    """The value of a JSON text.

    Args:
        text: UTF-8.
        where: Its place, for messages.
        unit: What may be deleted if it is none: the whole file, or a line of it.

    Raises:
        UserError: It is not JSON; names its place.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); restore the file from a copy, or delete the {unit}") from error
