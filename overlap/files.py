"""Atomic writing of files."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; its file replaces `path` atomically when the block ends.

    If the block raises, the file is removed.

    The temporary path is unique and in the same folder: several threads and processes may write the same file.

    Args:
        path: the file to create or replace; its folder must exist.
        sync: whether to flush to disk before replacing; a power cut then leaves the old or the new file. Not needed for
            files that can be made again.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
