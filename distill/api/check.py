"""`distill.check`: check a recipe before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from overlap.arguments import checked_arguments

from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Recipe, load_recipe
from ..training import check as checks


@checked_arguments
def check(
    recipe: Recipe | str | Path,
    *,
    overrides: Sequence[str] = (),
    output: str | Path = ".",
    dry_run: bool = True,
    observer: Observer | None = None,
    quiet: bool = False,
) -> checks.CheckResult:
    """Check a recipe before training: its data, its models, disk and memory, and two steps of every stage.

    What users can mend is a finding, and no finding keeps others from being reported.

    Args:
        recipe: A recipe, a TOML file, or the name of a shipped recipe.
        overrides: `dotted.key=value` changes, when the recipe is a file.
        output: Where the run would be written, for the free disk.
        dry_run: Take two steps of every stage, which also measures memory; otherwise it is estimated.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        RecipeError: The recipe cannot be read.
        TrainingError: More processes than a stage has utterances a step.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    with observed(observer, quiet=quiet) as watcher:
        return checks.check_recipe(recipe, Path(output), steps=dry_run, observer=watcher)
