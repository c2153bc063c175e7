"""Finds the columns of a data set and reads their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from ..manifest import FIELDS, ManifestError

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript")
"""Column names for reference text."""


class Columns:
    """Finds a data set's columns and reads their values."""

    def __init__(self, name: str, dataset: Dataset) -> None:
        self.name = name
        self.dataset = dataset

    def audio(self, given: str | None) -> str:
        """Return the column with audio."""
        if given is None:
            features = self.dataset.features.items()
            marked = [column for column, feature in features if type(feature).__name__ == "Audio"]
            given = self.one_of("audio", marked or ["audio"])
        if given is None:
            self._fail("has no column with audio", "audio")
        self._check(given, "audio")
        return given

    def one_of(self, what: str, candidates: Sequence[str]) -> str | None:
        """Return the only existing column among candidates."""
        found = [column for column in candidates if column in self.dataset.column_names]
        if len(found) > 1:
            names = ", ".join(found)
            raise ManifestError(f"{self.name}: {what} may be in {names}; choose with {what}_column={found[0]}")
        return found[0] if found else None

    def strings(self, what: str, column: str | None) -> list[str | None]:
        """Return values of a column of strings or class labels; None for each row without a column."""
        if column is None:
            return [None] * self.dataset.num_rows
        self._check(column, what)
        values, kind = self._values(column)
        feature = self.dataset.features[column]
        if hasattr(feature, "int2str"):
            return [None if value is None else feature.int2str(value) for value in values]
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise ManifestError(
                f'{self.name}: column "{column}" holds {kind}, not strings; choose another {what}_column'
            )
        return values

    def ids(self, given: str | None) -> list[str]:
        """Return unique names of the rows."""
        numbers = [f"row-{row:06d}" for row in range(self.dataset.num_rows)]
        column = given or "id"
        if given is None and column not in self.dataset.column_names:
            return numbers
        self._check(column, "id")
        values, kind = self._values(column)
        readable = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
        names = ["" if value is None else str(value) for value in values]
        first = {value: row for row, value in reversed(list(enumerate(names)))}
        if readable and len(first) == len(names):
            return names
        if given is None:
            return numbers
        if not readable:
            raise ManifestError(f'{self.name}: column "{column}" holds {kind}, not strings or integers; choose another')
        row, value = next((row, value) for row, value in enumerate(names) if first[value] != row)
        raise ManifestError(
            f'{self.name}, row {row}: column "{column}": {value!r} is already used in row {first[value]}; choose '
            "another id_column"
        )

    def extras(self, used: set[str | None]) -> dict[str, list[Any]]:
        """Return further columns of strings, numbers and booleans, by name."""
        extras = {}
        for column in self.dataset.column_names:
            if column not in used and column not in FIELDS:
                kind = self.dataset.features.arrow_schema.field(column).type
                if pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
                    extras[column] = self._values(column)[0]
        return extras

    def _values(self, column: str) -> tuple[list[Any], pa.DataType]:
        table: Any = self.dataset.select_columns([column]).with_format("arrow")[:]
        return table.column(0).to_pylist(), table.column(0).type

    def _check(self, column: str, what: str) -> None:
        if column not in self.dataset.column_names:
            self._fail(f"has no column {column!r}", what)

    def _fail(self, problem: str, what: str) -> NoReturn:
        columns = ", ".join(self.dataset.column_names)
        raise ManifestError(f"{self.name}: {problem}; its columns are {columns}: choose one with {what}_column=…")
