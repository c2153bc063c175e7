"""Work in batches that survives interruptions: a file with one line per batch, after a line with the settings.

An incomplete line of a killed job is cut off, and its batch is repeated. Batches, and with them padding and arithmetic,
are therefore the same after any interruption. Utterances that could not be read and were repaired since are done in
additional batches at the end.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from overlap.errors import UserError

from ..files import write_atomically, writing

Row = dict[str, Any]
UNREAD = "unread"
"""Field of the first line: ids of the utterances that could not be read when the journal was created."""


def unread_at_first(path: Path) -> frozenset[str] | None:
    """Ids of the utterances that could not be read when a journal was created; None without a journal.

    Raises:
        UserError: Its first line is damaged.
    """
    first = path.read_bytes().split(b"\n", 1) if path.exists() else []
    if len(first) < 2:
        return None
    about = _parsed(path, 1, first[0])
    return frozenset(about.get(UNREAD, ())) if isinstance(about, dict) else frozenset()


def open_journal(
    path: Path,
    settings: dict[str, Any],
    batches: Sequence[Sequence[str]],
    *,
    author: str,
    unread: Collection[str] = (),
) -> list[list[Row]]:
    """The batches in a journal; it is created if there is none, and cut back to complete lines.

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
        _check_settings(path, _parsed(path, 1, lines[0]), settings)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            (
                json.dumps(
                    {"author": author} | settings | ({UNREAD: sorted(unread)} if unread else {}), ensure_ascii=False
                )
                + "\n"
            ).encode()
        ]
    done = [_parsed(path, number, line) for number, line in enumerate(lines[1:], start=2)]
    again = set(unread_at_first(path) or ())
    for number, rows in enumerate(done, start=2):
        ids = [row.get("id") for row in rows] if isinstance(rows, list) else None
        if number - 2 < len(batches):
            expected = list(batches[number - 2])
            again |= {row["id"] for row in rows if "error" in row} if ids == expected else set()
        else:
            expected = [id_ for id_ in ids or () if id_ in again]
        if ids != expected:
            raise UserError(f"{path}:{number}: holds utterances {_short(ids)}, not {_short(expected)}; {_REMEDY}")
    if (kept := b"".join(lines)) != content:
        write_atomically(path, kept)
    return done


def append_batch(path: Path, rows: Sequence[Row]) -> None:
    """Add the rows of one batch, in one line."""
    line = json.dumps(rows, ensure_ascii=False, allow_nan=False) + "\n"
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line)


_REMEDY = "delete it to start again, or choose another output"


def _parsed(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: not a line of JSON ({error}); {_REMEDY}") from error


def _check_settings(path: Path, found: Any, settings: dict[str, Any]) -> None:
    found = found if isinstance(found, dict) else {}
    for key, value in settings.items():
        if found.get(key) != value:
            raise UserError(
                f"{path}:1: written by {found.get('author')!r} under other settings: {key} is {found.get(key)!r}, not "
                f"{value!r}; {_REMEDY}"
            )


def _short(ids: Sequence[Any] | None) -> str:
    if not ids:
        return "[]"
    return f"{list(ids)}" if len(ids) < 4 else f"[{ids[0]!r}, {ids[1]!r}, …, {ids[-1]!r}] ({len(ids)})"
