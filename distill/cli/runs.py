"""Verbs that train: `demo`, `train`, `resume`, `recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from analysis import load, stage_table

from ..progress import TerminalProgress
from ..recipe import load_recipe
from ..recipe.paths import shipped_recipes
from ..training import launch
from ..training.trainer import RunResult
from .app import app

ABORTED = 3
"""Exit code of a run that a gate aborted."""


@app.command
def demo(*, output: Path, seed: int = 0, recipe: str = "demo") -> int:
    """Train the embedded demo: a small student through SFT, teacher data and OPD under overlap gates, on a CPU.

    Args:
        output: Run directory to create.
        seed: Seed of the student's weights, the order of the data, and the intervals.
        recipe: Shipped recipe to run, such as demo or demo_matched.
    """
    return _train(recipe, output, (f"seed={seed}",))


@app.command
def train(recipe: str, *, output: Path, set_: Annotated[tuple[str, ...], Parameter(name="--set")] = ()) -> int:
    """Run a recipe.

    Args:
        recipe: TOML file, or the name of a shipped recipe.
        output: Run directory to create.
        set_: dotted.key=value changes to the recipe, for instance stages.1.lr=1e-6.
    """
    return _train(recipe, output, set_)


@app.command
def resume(run: Path) -> int:
    """Continue an interrupted run from its newest checkpoint.

    Args:
        run: Run directory.
    """
    with TerminalProgress() as progress:
        result = launch.resume(run, observer=progress)
    return _conclude(result)


@app.command
def recipes() -> None:
    """List the shipped recipes."""
    for name in shipped_recipes():
        print(name)


def _train(recipe: str, output: Path, overrides: tuple[str, ...]) -> int:
    loaded = load_recipe(recipe, overrides)
    with TerminalProgress() as progress:
        result = launch.train(loaded, output, observer=progress)
    return _conclude(result)


def _conclude(result: RunResult) -> int:
    print(stage_table(load(result.path)).to_text())
    print(f"\n{result.outcome}\nrun directory: {result.path}\nmodel: {result.model}")
    return ABORTED if result.aborted else 0
