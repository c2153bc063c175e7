"""Where runs begin: a recipe into a new run directory, or an interrupted run from its newest checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..data.findings import errors, lines_of
from ..data.sampling import micro_batches
from ..recipe import Recipe, TrackerName, load_recipe
from ..run import checkpoint
from ..run.checkpoint import TrainingState
from ..run.provenance import list_findings, resolved_configuration
from ..run.run_directory import RunDirectory
from .errors import TrainingError
from .observer import Observer
from .setup import prepare_run
from .tracking import check_trackers, copied, trackers_of
from .trainer import RunResult, Trainer


def train(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    observer: Observer | None = None,
) -> RunResult:
    """Run a recipe into a new run directory.

    Args:
        recipe: A recipe, a TOML file, or the name of a shipped recipe.
        output: Directory to create; an existing run is never overwritten.
        overrides: `dotted.key=value` changes, when the recipe is a file.
        observer: Hears what happens; silent without one.

    Raises:
        RecipeError, ManifestError, AudioError, ModelError, PairError, RunDirectoryError: Before the first step.
        MissingExtraError: A tracker of the recipe is not installed.
        TrainingError: Loss or gradient stopped being finite.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides)
    check_trackers(recipe.tracking.trackers)
    accelerator = accelerator_for(recipe)
    setup = prepare_run(recipe, device=accelerator.device)
    if accelerator.is_main_process:
        left_out = {"unusable_lines": lines_of(errors(setup.findings))}
        list_findings(RunDirectory.create(output, resolved_configuration(recipe) | left_out).path, setup.findings)
    accelerator.wait_for_everyone()
    run = RunDirectory.open(output, writer=accelerator.is_main_process)
    if setup.findings:
        (observer or Observer()).unusable(setup.findings)
    with copied(recipe, run, observer or Observer(), step=0, before=run.rows) as heard_by:
        return Trainer(setup, run, accelerator, heard_by, TrainingState()).run()


def resume(output: str | Path, *, trackers: Sequence[TrackerName] = (), observer: Observer | None = None) -> RunResult:
    """Continue a run from its newest checkpoint, with the same result as if it had not been interrupted.

    Args:
        output: The run directory.
        trackers: Further ones than the run's own; they get what the run directory holds, if the run goes on or not.
        observer: Hears what happens; silent without one.

    Raises:
        MissingExtraError: A tracker is not installed.
        RunDirectoryError: No run there.
        TrainingError: The recipe's data changed since the run began.
    """
    run = RunDirectory.open(output)
    recipe = Recipe.model_validate(run.resolved["recipe"])
    names = dict.fromkeys((*recipe.tracking.trackers, *trackers_of(run.path), *trackers))
    check_trackers(names)
    recipe = recipe.model_copy(update={"tracking": recipe.tracking.model_copy(update={"trackers": tuple(names)})})
    changed = _changed(run.resolved, resolved_configuration(recipe))
    if changed:
        raise TrainingError(
            f"cannot resume {output}: {', '.join(changed)} changed since the run began; put it back as it was, or "
            "start a new run"
        )
    newest = checkpoint.latest(run.path)
    state = checkpoint.load_state(newest) if newest else TrainingState(rows=dict.fromkeys(run.rows, 0))
    accelerator = accelerator_for(recipe)
    accelerator.wait_for_everyone()
    run.writer, before = accelerator.is_main_process, run.rows
    if newest and state.outcome is not None:
        with copied(recipe, run, Observer(), step=state.step + 1, before=before):
            return RunResult.of(run.path, newest, state)
    run.rewind(state.rows)
    accelerator.wait_for_everyone()
    setup = prepare_run(recipe, device=accelerator.device, weights=newest)
    optimiser = checkpoint.load_optimiser(newest) if newest else None
    with copied(recipe, run, observer or Observer(), step=state.step, before=before) as heard_by:
        return Trainer(setup, run, accelerator, heard_by, state, optimiser).run()


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Manifests, data sets and background noise that are not what they were."""
    kinds = ("manifest_sha256", "background_sha256")  # older runs may lack a kind
    return [place for kind in kinds for place, digest in then.get(kind, {}).items() if now[kind][place] != digest]


def accelerator_for(recipe: Recipe) -> Accelerator:
    """What joins the processes of a run, with its threads and precision set.

    Raises:
        TrainingError: More processes than a stage has utterances a step.
    """
    AcceleratorState._reset_state()  # or an earlier run's precision would be this one's, or refuse it
    # Without being told, accelerate takes processes on a machine without an accelerator for as many separate runs.
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=not torch.accelerator.is_available())
    if recipe.threads:  # after accelerate, which gives processes on the CPU a number of threads of its own
        torch.set_num_threads(recipe.threads)
    n = accelerator.num_processes
    for stage in recipe.stages:
        if stage.batch_size < n:
            raise TrainingError(
                f"started in {n} processes, but stage {stage.name!r} takes {stage.batch_size} utterance"
                f"{'s' if stage.batch_size > 1 else ''} a step; raise its batch_size or start fewer processes"
            )
        try:
            micro_batches(range(stage.batch_size), stage.micro_batch_size, 0, n)
        except ValueError as error:
            raise TrainingError(f"stage {stage.name!r}: {error}") from error
    return accelerator
