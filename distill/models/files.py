"""Finds damaged files of a checkpoint: pointers of Git LFS or git-annex, truncated downloads, missing shards.

Errors of libraries on such files are obscure ("header too large"); here the message names the file and the remedy.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .base import ModelError

POINTERS = {
    b"version https://git-lfs": "a pointer of Git LFS in place of the file; run `git lfs pull` where it was cloned",
    b"version https://hawser": "a pointer of Git LFS in place of the file; run `git lfs pull` where it was cloned",
    b"/annex/objects/": "a pointer of git-annex in place of the file; run `git annex get` where it was cloned",
}
"""First bytes of pointer files, and what they are."""

_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "tekken.json")
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")

AGAIN = "download or copy it again"
CHAT_TEMPLATE = "chat_template.jinja"
_PASSED_OVER = (CHAT_TEMPLATE, "chat_template.json", "generation_config.json")
"""Files that transformers ignores silently if they are damaged; the loaded model would then be different."""

_INDEX = ".index.json"
_WEIGHTS = (".safetensors", ".bin", ".pt")


def damage(folder: Path, *, weights: bool = True) -> str | None:
    """Return what is wrong with a file of a checkpoint, with the remedy; None if all files seem complete.

    Only headers and sizes are checked: weights that were changed in place pass.

    Args:
        folder: The checkpoint's folder; subfolders are not searched.
        weights: Also check files of weights.
    """
    for path in sorted(folder.iterdir()):
        if not weights and any(suffix in path.suffixes for suffix in _WEIGHTS):
            continue
        if path.is_symlink() and not path.exists():
            return _describe_broken_link(path)
        if path.is_file() and (found := file_damage(path)):
            return found
    return None


def missing_files(folder: Path, *, processor: bool) -> str | None:
    """Return files of a tokenizer or processor that a checkpoint lacks, with the remedy; None if it has all.

    Only for checkpoints that could not be read, because some families do not need all of these files.

    Args:
        folder: The checkpoint's.
        processor: Whether it should have a processor's.
    """
    there = {path.name for path in folder.iterdir()}
    wanted = [("config.json",), _VOCABULARIES, *([_PROCESSORS] if processor else [])]
    if "tekken.json" not in there:  # Mistral's; it contains the settings as well
        wanted.insert(2, ("tokenizer_config.json",))
    missing = [
        names[0] + (f" (or {', '.join(names[1:])})" if names[1:] else "") for names in wanted if there.isdisjoint(names)
    ]
    if not missing:
        return None
    return f"{folder} lacks {', '.join(missing)}; copy it there from the model that this one was made from"


def check_ignored_files(folder: Path) -> None:
    """Refuse damaged files that transformers would ignore.

    Args:
        folder: The checkpoint's.

    Raises:
        ModelError: There is one; names it, with the remedy.
    """
    for path in (folder / name for name in _PASSED_OVER):
        if path.is_symlink() and not path.exists():
            raise ModelError(_describe_broken_link(path))
        if path.is_file() and (found := file_damage(path)):
            raise ModelError(found)


def _describe_broken_link(link: Path) -> str:
    return f"{link} is a link to {link.readlink()}, where there is nothing; fetch that, or {AGAIN}"


def file_damage(path: Path) -> str | None:
    """Return what is wrong with a file, with the remedy; None if it seems complete."""
    with path.open("rb") as file:
        start = file.read(64)
    for pointer, what in POINTERS.items():
        if start.startswith(pointer):
            return f"{path} is {what}, or {AGAIN}"
    check = _CHECKS.get(path.suffix)
    if check is None:
        return None
    if not start:
        return f"{path} is empty; {AGAIN}"
    return check(path)


def _safetensors(path: Path) -> str | None:
    try:
        with safe_open(path, framework="pt"):
            return None
    except SafetensorError as error:
        return f"{path} is cut short or damaged ({error}); {AGAIN}"


def _pickled(path: Path) -> str | None:
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"  # what torch writes since 1.6; older files are plain pickles
    if is_archive and not zipfile.is_zipfile(path):
        return f"{path} is cut short or damaged (an archive without its end); {AGAIN}"
    return None


def _json(path: Path) -> str | None:
    try:
        tree = json.loads(path.read_bytes())
    except ValueError as error:
        return f"{path} is cut short or damaged (not JSON: {error}); {AGAIN}"
    if not path.name.endswith(_INDEX) or not isinstance(tree, dict):
        return None
    shards = {str(name) for name in dict(tree.get("weight_map", {})).values()}
    missing = sorted(name for name in shards if not (path.parent / name).exists())
    if not missing:
        return None
    return f"{path.parent} lacks {', '.join(missing)}, of the {len(shards)} files that {path.name} lists; download them"


def _accept_text(path: Path) -> None:
    del path  # the content of a template is checked when it is rendered


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".safetensors": _safetensors,
    ".bin": _pickled,
    ".pt": _pickled,
    ".json": _json,
    ".jinja": _accept_text,
}
