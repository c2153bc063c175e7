"""Work in batches that survives interruptions: a file with one line per batch, after a line with the settings.

An incomplete line of a killed job is cut off, and its batch is repeated. Batches, and with them padding and arithmetic,
are therefore the same after any interruption. Utterances that could not be read and were repaired since are done in
additional batches at the end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from overlap.errors import UserError
from overlap.plain_json import dumps

from ..files import write_atomically, writing

Row = dict[str, Any]
T = TypeVar("T")
UNREAD = "unread"
"""Field of the first line: ids of the utterances that could not be read when the journal was created."""


def unreadable_ids(path: Path) -> frozenset[str] | None:
    """Return ids of the utterances that could not be read when a journal was created; None without a journal.

    Raises:
        UserError: Its first line is damaged.
    """
    first = path.read_bytes().split(b"\n", 1) if path.exists() else []
    if len(first) < 2:
        return None
    about = _parsed(path, 1, first[0], _ANYTHING)
    return frozenset(about.get(UNREAD, ())) if isinstance(about, dict) else frozenset()


def open_journal(
    path: Path,
    settings: dict[str, Any],
    batches: Sequence[Sequence[str]],
    *,
    author: str,
    unread: Collection[str] = (),
) -> list[list[Row]]:
    """Return the batches in a journal; it is created if there is none, and cut back to complete lines.

    Args:
        path: The journal.
        settings: Everything that the results depend on, as JSON.
        batches: Ids of the utterances by batch.
        author: Name of the teacher, for readers; it may differ if the settings are the same.
        unread: Ids of the utterances in no batch because they cannot be read; stored in a new journal.

    Returns:
        Rows of each finished batch, each with its `id`: the planned ones, then those of repaired utterances.

    Raises:
        UserError: It was written under other settings or for other batches, or is damaged; names file, line and field.
    """
    content = path.read_bytes() if path.exists() else b""
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    if lines:
        _check_settings(path, _parsed(path, 1, lines[0], _ANYTHING), settings)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [(dumps({"author": author} | settings | ({UNREAD: sorted(unread)} if unread else {})) + "\n").encode()]
    done = [
        [row.model_dump() for row in _parsed(path, number, line, _BATCH)]
        for number, line in enumerate(lines[1:], start=2)
    ]
    again = set(unreadable_ids(path) or ())
    for number, rows in enumerate(done, start=2):
        ids = [row["id"] for row in rows]
        if number - 2 < len(batches):
            expected = list(batches[number - 2])
            again |= {row["id"] for row in rows if "error" in row} if ids == expected else set()
        else:
            expected = [id_ for id_ in ids if id_ in again]
        if ids != expected:
            raise UserError(f"{path}:{number}: holds utterances {_short(ids)}, not {_short(expected)}; {_REMEDY}")
    if (kept := b"".join(lines)) != content:
        write_atomically(path, kept)
    return done


def append_batch(path: Path, rows: Sequence[Row]) -> None:
    """Add the rows of one batch, in one line."""
    line = dumps(rows) + "\n"
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line)


class _Row(BaseModel):
    """An utterance in a batch: its id and its result."""

    model_config = ConfigDict(extra="allow")
    id: str


_ANYTHING, _BATCH = TypeAdapter(Any), TypeAdapter(list[_Row])
_REMEDY = "delete it to start again, or choose another output"


def _parsed(path: Path, number: int, line: bytes, kind: TypeAdapter[T]) -> T:
    try:
        return kind.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = "not a line of JSON" if first["type"] == "json_invalid" else "not the rows of a batch"
        where = "".join(f"{part}: " for part in first["loc"])
        raise UserError(f"{path}:{number}: {what} ({where}{first['msg']}); {_REMEDY}") from error


def _check_settings(path: Path, found: Any, settings: dict[str, Any]) -> None:
    found = found if isinstance(found, dict) else {}
    for key, value in settings.items():
        if found.get(key) != value:
            raise UserError(
                f"{path}:1: written by {found.get('author')!r} under other settings: {key} is {found.get(key)!r}, not "
                f"{value!r}; {_REMEDY}"
            )


def _short(ids: Sequence[str]) -> str:
    if not ids:
        return "[]"
    return f"{list(ids)}" if len(ids) < 4 else f"[{ids[0]!r}, {ids[1]!r}, …, {ids[-1]!r}] ({len(ids)})"
