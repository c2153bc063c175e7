"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A path to write to, whose file takes another's place when the block ends; if that raises, nothing is left.

    The path is beside the other and nobody else's: several threads and processes may write the same file.

    Args:
        path: the file that is made or replaced; its folder exists.
        sync: whether the content reaches the disk first, so that a power cut leaves the old file or the new one. What
            can be made again goes without.
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
