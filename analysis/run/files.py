"""Files of a run directory as frames, with their columns checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.errors import UserError
from overlap.plain_json import INFINITE


def read_parquet(path: Path, required: Sequence[str], by: str = "distill train") -> pd.DataFrame:
    """A Parquet file of a run. Trainers write such files atomically, so it is complete.

    Args:
        path: The file.
        required: Columns that it must have.
        by: The command that writes such files.

    Raises:
        UserError: Not Parquet, or columns are missing; names the file and them.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        remedy = "restore it, or resume the run" if by == "distill train" else f"give a file that `{by}` wrote"
        raise UserError(f"{path}: not a readable Parquet file ({error}); {remedy}") from error
    require_columns(frame, path, required, by)
    return frame


def require_columns(frame: pd.DataFrame, path: Path, required: Sequence[str], by: str) -> None:
    """Refuse a file that lacks columns, see `read_parquet`."""
    missing = [column for column in required if column not in frame]
    if missing:
        raise UserError(f"{path}: columns {missing} are missing; write them as `{by}` does, see RUN_DIRECTORY.md")


def read_log(path: Path, required: Sequence[str]) -> pd.DataFrame:
    """Read JSON lines; nested fields become columns with dots. A missing file gives a frame without rows.

    Raises:
        UserError: A line is damaged; names it and the field. A last line without a line end is still being written and
            is ignored.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(required))
    rows = [
        read_object(line, f"{path}, line {number}", required)
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1)
        if line.endswith(b"\n")
    ]
    if not rows:
        return pd.DataFrame(columns=list(required))
    frame = pd.json_normalize(rows)
    # JSON has no NaN: a column of only nulls contains undefined numbers. Infinite ones are written as text.
    undefined = frame.columns[frame.isna().all()]
    infinite = [name for name in frame if _has_infinite(str(name), frame[name].tolist())]
    return frame.astype(dict.fromkeys([*undefined, *infinite], "float64"))


def _has_infinite(name: str, values: Sequence[Any]) -> bool:
    """Whether these are numbers, some of them infinite; if all are "inf", only a nested field counts as numbers."""
    texts = {value for value in values if isinstance(value, str)}
    rest = [value for value in values if not isinstance(value, str) and value is not None]
    if not texts or not texts <= set(INFINITE):
        return False
    return all(isinstance(value, float) or type(value) is int for value in rest) and (bool(rest) or "." in name)


def read_object(text: bytes, where: str, required: Sequence[str]) -> dict[str, Any]:
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
