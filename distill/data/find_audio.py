"""Finds the audio of a manifest: beside it, and if it is a link, beside each file on the chain of links."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_MOST_LINKS = 40
"""Maximum number of links that operating systems follow."""


def audio_folders(manifest: Path) -> tuple[Path, ...]:
    """Return folders that a manifest's paths may be relative to; the first that contains a file is used.

    Snapshots of the Hub's cache, DVC and git-annex are links into a store, in which files are named by hashes, without
    folders.
    """
    folders: dict[Path, Path] = {}
    for path in _links(manifest.absolute()):
        folders.setdefault(path.parent.resolve(), path.parent)
    linked = manifest.resolve().parent
    folders.setdefault(linked, linked)
    return tuple(folders.values())


def _links(path: Path) -> Iterator[Path]:
    """Yield a path and, as long as it is a link, its target, and so on."""
    yield path
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()
        yield path


def found_beside(audio: str, folders: Sequence[Path]) -> Path:
    """Return the absolute path of a file in a manifest; if there is no such file, its path beside the manifest."""
    # Not resolve(): it costs several system calls for each line, and would hide the names in a folder of links.
    paths = [_remove_parent_steps(folder / audio) for folder in folders]
    return next((path for path in paths[1:] if not os.path.lexists(paths[0]) and path.is_file()), paths[0])


def _remove_parent_steps(path: Path) -> Path:
    """Return a path without `name/..`, unless the name is a link: the parent of its target is another folder."""
    if ".." not in path.parts:
        return path
    kept = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        goes_up = part == ".." and kept.name != ".." and not kept.is_symlink()
        kept = kept.parent if goes_up else kept / part
    return kept
