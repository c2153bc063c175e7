"""Several runs together: frames with columns for run, recipe and seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.arguments import require_kind
from overlap.errors import UserError

from .load import Run, load

EXAMPLE = "load_many(['runs/0', 'runs/1'])"
PLACES = ("manifest", "model", "background")
"""Fields of a recipe that differ between machines; the hashes of manifests show whether the data differ."""


@dataclass(frozen=True, eq=False)
class Runs(Mapping[str, Run]):
    """Runs by name, and their concatenated frames with the first columns `run`, `recipe` and `seed`.

    Attributes:
        runs: By name.
        recipes: The recipe of each run: runs of one recipe differ only in their seed.
    """

    runs: Mapping[str, Run]
    recipes: Mapping[str, str]

    def __getitem__(self, name: str) -> Run:
        try:
            return self.runs[name]
        except KeyError:
            raise KeyError(f"no run is called {name!r}; there are {', '.join(self.runs)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def of_recipe(self, recipe: str) -> dict[str, Run]:
        """Return the runs of a recipe, by name.

        Raises:
            KeyError: There is none.
        """
        found = {name: run for name, run in self.runs.items() if self.recipes[name] == recipe}
        if not found:
            raise KeyError(
                f"no run is of recipe {recipe!r}; there are {', '.join(dict.fromkeys(self.recipes.values()))}"
            )
        return found

    def __repr__(self) -> str:
        lines = [f"  {name} (of {self.recipes[name]}): {run}" for name, run in self.runs.items()]
        return "\n".join([f"Runs, {len(self)}:", *lines])

    @property
    def running(self) -> list[str]:
        """Names of the training runs that have not ended according to their decisions."""
        return [name for name, run in self.runs.items() if run.ended is None and run.probed is None]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """`Run.metrics` of all."""
        return self.joined(attrgetter("metrics"))

    @cached_property
    def probes(self) -> pd.DataFrame:
        """`Run.probes` of all."""
        return self.joined(attrgetter("probes"))

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """`Run.decisions` of all."""
        return self.joined(attrgetter("decisions"))

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """`Run.evaluations` of all."""
        return self.joined(attrgetter("evaluations"))

    @cached_property
    def transcripts(self) -> pd.DataFrame:
        """`Run.transcripts` of all."""
        return self.joined(attrgetter("transcripts"))

    @cached_property
    def traces(self) -> pd.DataFrame:
        """`Run.traces` of all."""
        return self.joined(attrgetter("traces"))

    @cached_property
    def positions(self) -> pd.DataFrame:
        """`Run.positions` of all."""
        return self.joined(attrgetter("positions"))

    def joined(self, frame: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
        """Return the concatenated results of a function for each run, after the columns `run`, `recipe` and `seed`."""
        parts = []
        for name, run in self.runs.items():
            part = frame(run)
            about = pd.DataFrame({"run": name, "recipe": self.recipes[name], "seed": run.seed}, index=part.index)
            parts.append(pd.concat([about, part], axis=1))
        filled = [part for part in parts if len(part)] or parts[:1]  # the columns of an empty one have no types
        return pd.concat(filled, ignore_index=True)


def load_many(paths: str | Path | Sequence[str | Path] | Mapping[str, str | Path | Sequence[str | Path]]) -> Runs:
    """Read several run directories, finished or not.

    Args:
        paths: Run directories; or a pattern, `load_many("runs/*")`, in which matches without a run are ignored; or by
            recipe, the directory of its run or those of its seeds: `load_many({"gated": ["runs/gated-0",
            "runs/gated-1"], "direct": "runs/direct-0"})`.

    Returns:
        The runs by the name of their directory, with as many parent folders as make them unique. If recipes are not
        given, runs have the same recipe if its name and everything except the seed agree. Different recipes with the
        same name also get the name of their first run: `demo (wide-0)`.

    Raises:
        FileNotFoundError: A directory holds no run.
        UserError: No directories, a value that is not a directory, a pattern that matches no run, a directory given
            twice, or a damaged file.
    """
    if isinstance(paths, str | Path):
        paths = matching(str(paths))
    if isinstance(paths, Mapping):
        for label, of in paths.items():
            require_kind(f"paths[{label!r}]", of, str | PathLike | Sequence[str | PathLike])
        grouped = {
            label: [Path(of)] if isinstance(of, str | PathLike) else [Path(one) for one in of]
            for label, of in paths.items()
        }
        labels = [label for label, of in grouped.items() for _ in of]
        folders = [folder for of in grouped.values() for folder in of]
    else:
        if not isinstance(paths, Sequence):
            raise UserError(f"paths: expected run directories, such as {EXAMPLE}, received a {type(paths).__name__}")
        wrong = [path for path in paths if not isinstance(path, str | PathLike)]
        if wrong:
            raise UserError(
                f"paths: expected run directories, such as {EXAMPLE}, received a {type(wrong[0]).__name__} among them"
            )
        labels, folders = None, [Path(path) for path in paths]
    names = _names(folders)
    runs = {name: load(folder) for name, folder in zip(names, folders, strict=True)}
    recipes = dict(zip(names, labels, strict=True)) if labels is not None else recipes_of(runs)
    return Runs(runs, recipes)


def matching(pattern: str) -> list[Path]:
    """Return runs and traces of probes that match a pattern such as `runs/*`, in the order of their names.

    Raises:
        UserError: There is no match, or it is not a pattern.
    """
    if not has_magic(pattern):
        raise UserError(
            f"expected several run directories, such as load_many([{pattern!r}]), or a pattern, such as "
            f"{pattern}/*; see load for one"
        )
    found = sorted(map(Path, glob(pattern, recursive=True)))  # noqa: PTH207 (a pattern may be absolute)
    runs = [path for path in found if (path / "resolved.json").is_file() or path.suffix == ".parquet"]
    if not runs:
        said = f"{len(found)} matches hold no run" if found else "nothing matches"
        raise UserError(f"{pattern}: {said}; give a pattern of run directories, such as runs/*")
    return runs


def _names(folders: Sequence[Path]) -> list[str]:
    if not folders:
        raise UserError("there are no runs to load; give at least one run directory")
    resolved = [folder.resolve() for folder in folders]
    twice = [str(folder) for folder, times in Counter(resolved).items() if times > 1]
    if twice:
        raise UserError(f"{twice[0]} is given more than once; give each run once")
    depth = 1
    while True:
        names = ["/".join(folder.parts[-depth:]) for folder in resolved]
        if len(set(names)) == len(names):
            return names
        depth += 1


def recipes_of(runs: Mapping[str, Run]) -> dict[str, str]:
    """Return the recipe of each run, see `load_many`."""
    contents = {name: json.dumps(_content(run), sort_keys=True) for name, run in runs.items()}
    first: dict[tuple[str, str], str] = {}
    for name, run in runs.items():
        first.setdefault((run.recipe, contents[name]), name)
    times = Counter(recipe for recipe, _ in first)
    return {
        name: run.recipe if times[run.recipe] == 1 else f"{run.recipe} ({first[run.recipe, contents[name]]})"
        for name, run in runs.items()
    }


def _content(run: Run) -> list[Any]:
    """Return the content of a run's recipe, without seed and paths."""
    recipe = {key: value for key, value in run.resolved["recipe"].items() if key not in ("name", "seed", "tracking")}
    digests = [sorted(run.resolved.get(kind, {}).values()) for kind in ("manifest_sha256", "background_sha256")]
    return [_without_places(recipe), *digests]


def _without_places(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_places(value) for key, value in tree.items() if key not in PLACES}
    return [_without_places(item) for item in tree] if isinstance(tree, list) else tree
