"""Verbs that train: `demo`, `train`, `resume`, `recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from overlap.errors import UserError

from ..locations import packaged
from ..process_rank import is_first
from ..progress.display import display
from ..recipe import TrackerName, load_recipe
from ..recipe.paths import require_files, shipped_recipes
from .app import JsonFlag, Seed, app, print_json
from .exit_codes import ExitCode

if TYPE_CHECKING:
    from ..training.result import RunResult

Track = Annotated[tuple[TrackerName, ...], Parameter(name="--track")]


@app.command
def demo(*, output: Path, seed: Seed = 0, recipe: str = "demo", track: Track = ()) -> int:
    """Train the embedded demo: a small student through SFT, teacher data and OPD under overlap gates, on a CPU.

    Args:
        output: Run directory to create.
        seed: Seed of the student's weights, the order of the data, and the intervals.
        recipe: Shipped recipe to run, such as demo or demo_matched.
        track: Also copy the run to tensorboard, wandb or trackio.
    """
    code = _train(recipe, output, (f"seed={seed}",), track)
    teacher = load_recipe(recipe).teacher
    if teacher is not None and teacher.model == str(packaged("teacher")):
        from ..demo.error_rates import written

        print(f"\n{written()}")
    return code


@app.command
def train(
    recipe: str,
    *,
    output: Path | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    track: Track = (),
    dry_run: bool = False,
    check: bool = True,
    json_: JsonFlag = False,
) -> int:
    """Run a recipe.

    Args:
        recipe: TOML file, or the name of a shipped recipe.
        output: Run directory to create.
        set_: dotted.key=value changes to the recipe, for instance stages.1.lr=1e-6.
        track: Also copy the run to tensorboard, wandb or trackio, instead of the recipe's own tracking.trackers.
        dry_run: Take two steps of every stage on its longest utterances and print seconds and memory; write nothing.
        check: First check data, models and resources as distill check does, but for the steps; errors stop the run.
        json_: With --dry-run, print one JSON object to standard output and nothing else there.
    """
    if not dry_run:
        if json_:
            raise UserError("--json needs --dry-run: add that, or leave --json out")
        if output is None:
            raise UserError("--output is missing: the run directory to create (--dry-run needs none)")
        return _train(recipe, output, set_, track, check=check)
    if not check:
        raise UserError("--no-check: a dry run takes steps and checks nothing else; leave it out")
    if output is not None or track:
        raise UserError("--dry-run writes nothing: leave out --output and --track")
    loaded = load_recipe(recipe, set_)
    require_files(loaded)
    from ..training.dry_run import dry_run as rehearse

    with display() as progress:
        costs = rehearse(loaded, observer=progress)
    if is_first():
        if json_:
            print_json(costs.to_dict())
        else:
            print(costs)
    return 0


@app.command
def resume(
    run: Path,
    *,
    track: Track = (),
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    accept_changed_data: bool = False,
) -> int:
    """Continue an interrupted run from its newest checkpoint.

    Args:
        run: Run directory.
        track: Also copy the run to tensorboard, wandb or trackio; this works for finished runs too.
        set_: New places of moved data, such as stages.0.manifest=new.jsonl; its contents must be the same.
        accept_changed_data: Continue with manifests that changed since the run began; the run records which lines.
    """
    from ..run.run_directory import RunDirectory

    RunDirectory.open(run)  # before what takes seconds to load
    from ..training import launch

    with display() as progress:
        result = launch.resume(
            run, trackers=track, moved=set_, accept_changed_data=accept_changed_data, observer=progress
        )
    return _conclude(result)


@app.command
def recipes() -> None:
    """Print the names of the shipped recipes."""
    for name in shipped_recipes():
        print(name)


def _train(
    recipe: str, output: Path, overrides: tuple[str, ...], track: tuple[TrackerName, ...], *, check: bool = True
) -> int:
    loaded = load_recipe(recipe, (*overrides, f"tracking.trackers={list(track)}") if track else overrides)
    require_files(loaded)
    from ..training import launch

    with display() as progress:
        result = launch.train(loaded, output, check=check, observer=progress)
    return _conclude(result)


def _conclude(result: RunResult) -> int:
    if is_first():
        from analysis import load, stage_table

        print(stage_table(load(result.path)).to_text())
        print(f"\n{result.outcome}: {result.reason}\nrun directory: {result.path}\nmodel: {result.model}")
        if result.best is not None:
            print(f"best model: {result.best_model} ({result.best})")
    if result.aborted:
        return ExitCode.ABORTED
    return ExitCode.STOPPED if result.stopped else ExitCode.DONE
