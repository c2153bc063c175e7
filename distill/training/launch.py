"""Where runs begin: a recipe into a new run directory, or an interrupted run from its newest checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
from .changed_data import at_new_places, changes, check_places, keep_lines, record, refusal
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
        dropped = lines_of(errors(setup.findings))
        left_out = {"unusable_lines": dropped} if dropped else {}
        resolved = resolved_configuration(recipe)
        path = RunDirectory.create(output, resolved | left_out).path
        list_findings(path, setup.findings)
        keep_lines(path, resolved["manifest_sha256"])
    accelerator.wait_for_everyone()
    run = RunDirectory.open(output, writer=accelerator.is_main_process)
    if setup.findings:
        (observer or Observer()).unusable(setup.findings)
    with copied(recipe, run, observer or Observer(), step=0, before=run.rows) as heard_by:
        return Trainer(setup, run, accelerator, heard_by, TrainingState()).run()


def resume(
    output: str | Path,
    *,
    trackers: Sequence[TrackerName] = (),
    moved: Sequence[str] = (),
    accept_changed_data: bool = False,
    observer: Observer | None = None,
) -> RunResult:
    """Continue a run from its newest checkpoint, with the same result as if it had not been interrupted.

    Args:
        output: The run directory.
        trackers: Further ones than the run's own; they get what the run directory holds, if the run goes on or not.
        moved: `dotted.key=path` of data that is no longer where it was, such as `stages.0.manifest=new.jsonl`.
        accept_changed_data: Go on with data that changed, and record in the run what did.
        observer: Hears what happens; silent without one.

    Raises:
        MissingExtraError: A tracker is not installed.
        RunDirectoryError: No run there.
        TrainingError: The recipe's data changed since the run began, or is no longer there; says which lines did, and
            which keys it had.
    """
    run = RunDirectory.open(output)
    recipe = Recipe.model_validate(run.resolved["recipe"])
    names = dict.fromkeys((*recipe.tracking.trackers, *trackers_of(run.path), *trackers))
    check_trackers(names)
    recipe = recipe.model_copy(update={"tracking": recipe.tracking.model_copy(update={"trackers": tuple(names)})})
    began, recipe = recipe, at_new_places(recipe, moved)
    check_places(recipe, run.path)
    changed = changes(run, began, recipe)
    if changed and not accept_changed_data:
        raise refusal(run.path, changed)
    newest = checkpoint.latest(run.path)
    state = checkpoint.load_state(newest) if newest else TrainingState(rows=dict.fromkeys(run.rows, 0))
    accelerator = accelerator_for(recipe)
    accelerator.wait_for_everyone()
    run.writer, before = accelerator.is_main_process, run.rows
    if run.writer and (changed or began != recipe):
        record(run, recipe, changed, step=state.step, stage=state.stage)
    if newest and state.outcome is not None:
        with copied(recipe, run, Observer(), step=state.step + 1, before=before):
            return RunResult.of(run.path, newest, state)
    run.rewind(state.rows)
    accelerator.wait_for_everyone()
    setup = prepare_run(recipe, device=accelerator.device, weights=newest)
    if setup.findings:
        (observer or Observer()).unusable(setup.findings)
    optimiser = checkpoint.load_optimiser(newest) if newest else None
    with copied(recipe, run, observer or Observer(), step=state.step, before=before) as heard_by:
        return Trainer(setup, run, accelerator, heard_by, state, optimiser).run()


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
