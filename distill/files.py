"""Atomic writing of a run's files, and an error that names the file if the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from overlap.files import replacing

if TYPE_CHECKING:
    import pandas as pd

FULL = {errno.ENOSPC, errno.EDQUOT}
"""Error numbers of a full disk and of an exceeded quota."""


class WriteError(OSError):
    """A file cannot be written, for instance on a full disk; the message names it. An existing file is unchanged."""


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn write errors into one that names the file or folder, and delete a partial temporary folder.

    Args:
        path: The file or folder.
        temporary: The folder that is written first.

    Raises:
        WriteError: The operating system refuses; names `path`.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        reason = _reason(error)
        if reason is None:
            raise
        raise WriteError(f"cannot write {path}: {reason}") from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file atomically."""
    with writing(path), replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file atomically; its folder is created if needed."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            frame.to_parquet(temporary, index=False)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any] | None = None) -> None:
    """Write rows to a Parquet file, with a description in its metadata."""
    import pandas as pd  # slow to import

    frame = pd.DataFrame(rows)
    frame.attrs.update(about or {})
    write_parquet(path, frame)


def _reason(error: OSError | SafetensorError | RuntimeError) -> str | None:
    """Return the reason of an operating system error, which libraries wrap in their own kinds; None for other
    errors."""
    system = next((e for e in (error, error.__context__) if isinstance(e, OSError)), None)
    if system is None and isinstance(error, RuntimeError):
        return None
    number = system.errno if system is not None else None
    if number in FULL or os.strerror(errno.ENOSPC) in str(error):
        return "the disk is full; make room"
    return first_line(error) if number is None else os.strerror(number)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind if it has none."""
    return str(error).strip().split("\n")[0] or type(error).__name__
