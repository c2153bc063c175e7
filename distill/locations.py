"""Finds manifests and models, and reports missing ones, before anything heavy is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile

from overlap.errors import UserError

PACKAGED = "demo:"
"""Prefix of files and folders of the embedded demo: `demo:teacher`, `demo:corpus/test.jsonl`."""

DATASET = "hf:"
"""Prefix of data sets, see `distill.data.hf.reference`."""

LINKED = "get its content, as with `git annex get`, `dvc pull` or `hf download`, or renew the link"
"""Remedy for a broken link."""


def packaged(path: str) -> Path:
    """Return the absolute path of a file of the embedded demo, for instance `packaged("corpus/test.jsonl")`."""
    return Path(str(files("distill"))) / "demo" / path


def located(location: str | Path) -> str:
    """Return a location that libraries can open: `demo:…` and `~` are replaced; others are unchanged.

    Raises:
        FileNotFoundError: The demo has no such file or folder.
        UserError: It is empty.
    """
    text = str(location)
    if not text:  # it would stand for the current folder
        raise UserError("the location is an empty text; give a path, a name on the Hub, or one in `demo:`")
    if not text.startswith(PACKAGED):
        return str(Path(text).expanduser()) if text.startswith("~") else text
    path = packaged(text.removeprefix(PACKAGED))
    if not path.exists():
        remedy = _nearest_path(path) or "there are demo:teacher, demo:student and the manifests in demo:corpus/"
        raise FileNotFoundError(f"{text} is not in the embedded demo; {remedy}")
    return str(path)


def describe_broken_link(path: Path) -> str:
    """Return the description of a broken link, to follow its name in a message; empty for anything else."""
    if path.exists() or not path.is_symlink():
        return ""
    return f"is a link to {path.readlink()}, which does not exist"


def require_places(*, manifests: Mapping[str, str], models: Mapping[str, str | None]) -> None:
    """Refuse missing manifests and model folders, all at once; nothing is read or requested from the Hub.

    Args:
        manifests: Locations by the key or flag that names them; data sets (`hf:…`) are passed over.
        models: Likewise; None and possible Hub names are passed over.

    Raises:
        FileNotFoundError: Names every key, its location and the remedy.
    """
    problems = [
        *(f"{key}: {problem}" for key, place in manifests.items() if (problem := _no_manifest(place))),
        *(f"{key}: {problem}" for key, place in models.items() if place is not None and (problem := _no_model(place))),
    ]
    if problems:
        raise FileNotFoundError("\n  ".join(problems))


def require_runs(runs: Iterable[Path]) -> None:
    """Refuse run directories that hold no run, all at once; nothing is read.

    Args:
        runs: Directories, or files that `distill probe --output` wrote.

    Raises:
        FileNotFoundError: Names each, and the remedy.
    """
    missing = [run for run in runs if not run.is_file() and not (run / "resolved.json").is_file()]
    if missing:
        remedy = "Give the --output of `distill train`, or the file that `distill probe --output` wrote."
        said = [
            f"{run} holds no run: resolved.json is missing"
            if run.is_dir()
            else f"{run} does not exist{_suggestion(run)}"
            for run in missing
        ]
        raise FileNotFoundError("\n  ".join(said) + f". {remedy}")


def _suggestion(path: Path) -> str:
    near = _nearest_path(path)
    return f" ({near})" if near else ""


def require_writable(
    output: str | Path, key: str, *, makes_folders: bool = False, inputs: Mapping[str, str | None] | None = None
) -> None:
    """Refuse an output file that cannot be written, before the work begins.

    Args:
        output: The file; an existing one will be replaced.
        key: The key or flag that names it.
        makes_folders: Whether missing parent folders will be created.
        inputs: Locations that the work reads, by the key or flag that names them; None is passed over.

    Raises:
        FileNotFoundError: Its folder is not there.
        UserError: It is an input, or lies in one, or is no plain file, such as `/dev/stdout`.
        OSError: It is a folder, or nothing can be written beside it; names the key and the remedy.
    """
    path = Path(output).absolute()
    refuse_to_replace(path, key, (inputs or {}).items())
    if path.is_dir():
        raise IsADirectoryError(f"{key}: {output} is a folder; give a file in it")
    if path.exists() and not path.is_file():  # a whole file would take the place of a device or a pipe
        raise UserError(f"{key}: {output} is a device or a pipe, which a file would replace; give a plain file")
    folder = path.parent
    while makes_folders and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{key}: {folder} is a file, so nothing can be written in it; give another place")
    if not folder.is_dir():
        raise FileNotFoundError(f"{key}: there is no folder {folder}; create it, or give another place")
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{key}: nothing can be written in {folder} ({error.strerror}); give another place") from error


def refuse_to_replace(output: Path, key: str, inputs: Iterable[tuple[str, str | Path | None]]) -> None:
    """Refuse to replace an input.

    Args:
        output: A file; a new one replaces nothing.
        key: The key or flag that names it.
        inputs: What names each input, and its location; None is passed over, and so is what is not a local file or
            folder.

    Raises:
        UserError: It is an input, by whatever path, or lies in the folder of one.
    """
    if not output.exists():
        return
    there = output.resolve()
    for name, location in inputs:
        place = None if location is None else path_of(str(location))
        if place is None or not place.exists():
            continue
        if place.samefile(there):
            raise UserError(f"{key}: {output} is what {name} names, and would be replaced; give another name")
        # A table of an earlier call may be replaced; models hold none.
        if there.is_file() and there.suffix != ".parquet" and there.is_relative_to(place.resolve()):
            raise UserError(f"{key}: {output} lies in what {name} names, and would be replaced; give another name")


def _no_manifest(location: str) -> str:
    if location.startswith(DATASET):
        return ""
    path = path_of(location)
    remedy = "give the path of a JSON Lines file, one utterance a line"
    if not location:
        return f"the manifest is an empty text; {remedy}"
    if path.is_dir():
        return f"the manifest {location} is a folder; {remedy}"
    if broken := describe_broken_link(path):
        return f"the manifest {location} {broken}; {LINKED}"
    return "" if path.exists() else f"the manifest {location} does not exist; {_nearest_path(path) or remedy}"


def _no_model(location: str) -> str:
    path = path_of(location)
    remedy = "give a folder that holds a config.json, or a Hub name"
    if not location:
        return f"the model is an empty text; {remedy}"
    if path.is_file():
        return f"the model {location} is a file; {remedy}"
    if broken := describe_broken_link(path):
        return f"the model {location} {broken}; {LINKED}"
    of_the_hub = location.count("/") <= 1 and not location.startswith((PACKAGED, ".", "~")) and not path.is_absolute()
    return (
        "" if path.exists() or of_the_hub else f"the model {location} does not exist; {_nearest_path(path) or remedy}"
    )


def path_of(location: str) -> Path:
    """Return the path of a file or folder; `demo:…` and `~` are replaced, and it may be missing."""
    demo = location.startswith(PACKAGED)
    return packaged(location.removeprefix(PACKAGED)) if demo else Path(location).expanduser()


def _nearest_path(path: Path) -> str:
    """Return the path that was probably meant, or the missing folder of a path; empty if neither is found."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    # Compare names without extensions: all manifests have ".jsonl" in common.
    others = sorted(folder.iterdir())
    alike = difflib.get_close_matches(path.stem, {other.stem for other in others}, n=1)
    names = [other.name for other in others if [other.stem] == alike]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.0)
    demo = packaged("")
    within = PACKAGED + f"{folder.relative_to(demo)}/".removeprefix("./") if folder.is_relative_to(demo) else ""
    return f"did you mean {within}{near[0]}?" if near else ""
