"""New places of a resumed run's data, and the command that gives them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.hf.reference import is_dataset
from ..locations import path_of
from ..recipe import Recipe
from ..recipe.paths import resolve
from .errors import TrainingError


@dataclass(frozen=True)
class Request:
    """The call that continues a run.

    Attributes:
        run: The run directory.
        moved: `dotted.key=path` of data, as entered.
        trackers: More trackers than the run's own.
        accept_changed_data: Whether to continue with changed data.
    """

    run: Path
    moved: Sequence[str] = ()
    trackers: Sequence[str] = ()
    accept_changed_data: bool = False

    def command(self, *, unknown: Collection[str] = (), accept_changed_data: bool = False) -> str:
        """Return the corrected command.

        Args:
            unknown: Keys of data whose place is to be filled in.
            accept_changed_data: Whether to continue with changed data, in addition to the call.
        """
        moved = [one for one in self.moved if _parts(one)[0] not in unknown]
        words = ["distill", "resume", str(self.run), *(word for name in self.trackers for word in ("--track", name))]
        words += [word for one in moved for word in ("--set", one)]
        words += ["--accept-changed-data"] * (accept_changed_data or self.accept_changed_data)
        return shlex.join(words) + "".join(f" --set {key}=PATH" for key in unknown)


def _parts(assignment: str) -> tuple[str, str | None]:
    key, separator, place = assignment.partition("=")
    return key.strip(), place.strip().strip("\"'") if separator else None


def data_paths(recipe: Recipe) -> dict[str, str]:
    """Return places of a recipe's data, by dotted key."""
    places = {f"stages.{i}.manifest": stage.manifest for i, stage in enumerate(recipe.stages)}
    places |= {
        f"{name}.manifest": section.manifest
        for name, section in (("probe", recipe.probe), ("evaluation", recipe.evaluation))
        if section is not None
    }
    places |= {f"further_evaluations.{i}.manifest": one.manifest for i, one in enumerate(recipe.further_evaluations)}
    alone = recipe.probe and recipe.probe.no_speech
    if alone and alone.background is not None:
        places["probe.no_speech.background"] = alone.background
    return places | {
        f"stages.{i}.augment.{j}.background": background
        for i, stage in enumerate(recipe.stages)
        for j, one in enumerate(stage.augment)
        if (background := getattr(one, "background", None)) is not None
    }


def with_new_paths(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """Return the recipe with the new places of its data.

    Args:
        recipe: The one that the run was started with.
        assignments: `dotted.key=path`, relative to the working directory.

    Raises:
        TrainingError: A key is not the place of data.
    """
    tree, places = recipe.model_dump(mode="json"), data_paths(recipe)
    for assignment in assignments:
        key, place = _parts(assignment)
        if place is None or key not in places:
            raise TrainingError(
                f"--set {assignment!r}: a resumed run can only change the places of its data; set "
                f"{', '.join(places)} to a path, or start a new run"
            )
        *parents, last = key.split(".")
        node: Any = tree
        for part in parents:
            node = node[int(part) if part.isdigit() else part]
        node[last] = resolve(place, Path.cwd())
    return Recipe.model_validate(tree)


def check_paths(recipe: Recipe, began: Recipe, request: Request) -> None:
    """Refuse to continue without data.

    Args:
        recipe: With data where it is now, as far as that is known.
        began: The recipe as the run has it.
        request: The call that continues the run.

    Raises:
        TrainingError: Names each key, the place where its data is missing, and the command with new places.
    """
    old, wrong = data_paths(began), {}
    for key, place in data_paths(recipe).items():
        path = path_of(place)
        if is_dataset(place) or path.is_file() or (path.is_dir() and key.endswith(".background")):
            continue
        if place == old[key]:
            wrong[key] = f"{key} was {place}, where {'a folder' if path.is_dir() else 'nothing'} is now"
        else:
            wrong[key] = f"--set {key}={place}: {'a folder is' if path.is_dir() else 'nothing is'} there"
    if wrong:
        said = "\n  ".join(wrong.values())
        raise TrainingError(
            f"cannot resume {request.run}:\n  {said}\nput the data back, or give its new place: "
            f"{request.command(unknown=wrong)}"
        )
