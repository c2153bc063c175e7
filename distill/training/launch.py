"""Start a recipe in a new run directory, or resume an interrupted run from its newest checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from pydantic import ValidationError

from overlap.arguments import checked_arguments
from overlap.errors import UserError
from overlap.estimates.distributed import gathered

from ..checking.finding import counted, of_severity, refuse_errors
from ..data.sampling import micro_batches
from ..process_rank import warn_in_first_process_only
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Recipe, RecipeError, TrackerName, load_recipe
from ..recipe.explaining import explain
from ..run import checkpoint
from ..run.checkpoint import TrainingState
from ..run.provenance import dropped_lines, list_findings, resolved_configuration
from ..run.run_directory import RunDirectory, RunDirectoryError, occupied
from .errors import TrainingError
from .probes_and_evaluations import fixed_rollouts
from .quick_checks import quick_findings
from .reset_measurements import reset_messages, reset_state
from .result import RunResult
from .resume_changed_data import changed_dropped_lines, changes, keep_lines, record, refusal
from .resume_moved_data import Request, check_paths, with_new_paths
from .seen_in_training import resolved, warn_if_seen
from .setup import Setup, prepare_run
from .tracking import check_trackers, copied, trackers_of
from .trainer import Trainer


@checked_arguments
def train(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    check: bool = True,
    observer: Observer | None = None,
    quiet: bool = False,
) -> RunResult:
    """Run a recipe into a new run directory.

    Args:
        recipe: A recipe, a TOML file, or the name of a shipped recipe.
        output: Directory to create; an existing run is never overwritten.
        overrides: `dotted.key=value` changes, when the recipe is a file.
        check: Before the first step, check data, models and resources as `distill.check` does, but for the steps.
        observer: Is told what happens, instead of the progress display.
        quiet: Without an observer, show no progress. It is shown live in a terminal, as bars in a notebook, as lines on
            standard error elsewhere, and by the first process alone.

    Raises:
        RecipeError, ManifestError, AudioError, ModelError, PairError, RunDirectoryError: Before the first step.
        CheckError: Likewise, with all errors that the check found.
        AtWorkError: Another process uses that directory.
        WriteError: The disk is full; files written so far are kept, and the run can be resumed.
        MissingExtraError: A tracker of the recipe is not installed.
        TrainingError: Loss or gradient stopped being finite.
    """
    recipe = _valid(recipe) if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    check_trackers(recipe.tracking.trackers)
    with warn_in_first_process_only(), observed(observer, quiet=quiet) as watcher:
        accelerator = accelerator_for(recipe)
        if accelerator.is_main_process:
            RunDirectory.check_vacant(output)
        setup = prepare_run(recipe, device=accelerator.device)
        if check:
            _check(setup, Path(output), accelerator, watcher)
        with _locked(Path(output), accelerator):
            if accelerator.is_main_process:
                _create(output, recipe, setup)
            accelerator.wait_for_everyone()
            run = RunDirectory.open(output, writer=accelerator.is_main_process)
            if setup.findings:
                watcher.unusable(setup.findings)
            with copied(recipe, run, watcher, step=0, before=run.rows) as copying:
                return Trainer(setup, run, accelerator, copying, TrainingState()).run()


def _valid(recipe: Recipe) -> Recipe:
    """Return the recipe; refuse one that its run directory could not give back.

    `model_copy` of pydantic checks nothing. Such a run could be trained, but neither resumed nor read again.

    Raises:
        RecipeError: Says what does not fit together.
    """
    try:
        Recipe.model_validate(recipe.model_dump(mode="json"))
    except ValidationError as error:
        problems = explain(error).replace("\n  ", "; ")
        raise RecipeError(
            f"the recipe was changed in Python and is not valid: {problems}; change it by "
            "distill.load_recipe(path, overrides), which checks it"
        ) from error
    return recipe


def _check(setup: Setup, output: Path, accelerator: Accelerator, observer: Observer) -> None:
    """Check a run in every process, which then all stop or go on; warnings are told.

    Raises:
        CheckError: With all errors.
    """
    found = quick_findings(setup, output, accelerator.device, accelerator.num_processes)
    warned = [one for one in found if one.severity == "warning"]
    for one in warned:
        observer.notice(str(one))
    if warned:
        observer.notice(f"checked before training: {counted(found)}; distill check shows all of it")
    # Disk and memory are those of a machine: an error in one process must stop all.
    errors = (one for part in gathered(of_severity(found, "error")) for one in part)
    refuse_errors(list(dict.fromkeys(errors)))


def _create(output: str | Path, recipe: Recipe, setup: Setup) -> None:
    """Create the run directory with everything known before the first step; warn of audio seen in training."""
    warn_if_seen(setup.seen_in_training)
    known = resolved(setup.seen_in_training) | {"tokenizers": setup.tokenizers} | dropped_lines(setup.findings)
    configuration = resolved_configuration(recipe)
    path = RunDirectory.create(output, configuration | known).path
    list_findings(path, setup.findings)
    keep_lines(path, configuration["manifest_sha256"])


@checked_arguments
def resume(
    output: str | Path,
    *,
    trackers: Sequence[TrackerName] = (),
    moved: Sequence[str] = (),
    accept_changed_data: bool = False,
    observer: Observer | None = None,
    quiet: bool = False,
) -> RunResult:
    """Continue a run from its newest checkpoint, with the same result as if it had not been interrupted.

    Args:
        output: The run directory.
        trackers: More trackers than the run's own; they mirror the run directory even if the run has ended.
        moved: `dotted.key=path` of data that is no longer where it was, such as `stages.0.manifest=new.jsonl`.
        accept_changed_data: Continue with changed data, and record the changes in the run.
        observer: Is told what happens, instead of the progress display.
        quiet: Without an observer, show no progress; see `train`.

    Raises:
        MissingExtraError: A tracker is not installed.
        RunDirectoryError: No run there, or one whose files are damaged or whose checkpoints are gone.
        CheckpointError: The newest checkpoint is damaged; names the one from which the run can continue.
        AtWorkError: Another process uses that directory.
        WriteError: The disk is full; files written so far are kept, and the run can be resumed.
        TrainingError: The recipe's data changed since the run began, or is missing; names the changed lines, and the
            keys of missing data.
    """
    run = RunDirectory.open(output)
    if checkpoint.latest(run.path) is None:
        _initial_state(run)  # or data would be asked for in vain
    recipe = _recipe_of(run)
    names = dict.fromkeys((*recipe.tracking.trackers, *trackers_of(run.path), *trackers))
    check_trackers(names)
    recipe = recipe.model_copy(update={"tracking": recipe.tracking.model_copy(update={"trackers": tuple(names)})})
    began, recipe = recipe, with_new_paths(recipe, moved)
    request = Request(run.path, moved, trackers, accept_changed_data)
    check_paths(recipe, began, request)
    changed = changes(run, began, recipe)
    if changed and not accept_changed_data:
        raise refusal(request, changed)
    accelerator = accelerator_for(recipe)
    accelerator.wait_for_everyone()
    newest = checkpoint.latest(run.path)
    if newest and (state := checkpoint.load_state(newest)).outcome is not None:
        run.writer = accelerator.is_main_process
        with copied(recipe, run, Observer(), step=state.step + 1, before=run.rows):
            return RunResult.from_state(run.path, newest, state)
    with warn_in_first_process_only(), observed(observer, quiet=quiet) as watcher, _locked(run.path, accelerator):
        accelerator.wait_for_everyone()  # other users of the directory have left
        run = RunDirectory.open(output, writer=accelerator.is_main_process)
        before, newest = run.rows, checkpoint.latest(run.path)
        state, optimizer = checkpoint.load(newest, stages=len(recipe.stages)) if newest else (_initial_state(run), None)
        fixed_rollouts(run.path)
        setup = prepare_run(recipe, device=accelerator.device, weights=newest)
        dropped = changed_dropped_lines(run, began, recipe, setup.findings, changed)
        if dropped and not accept_changed_data:
            raise refusal(request, dropped)
        accelerator.wait_for_everyone()  # all have read what the first process is about to write
        if run.writer and (changed or dropped or began != recipe):
            record(run, recipe, [*changed, *dropped], setup.findings, step=state.step, stage=state.stage)
        state, earlier = reset_state(state, recipe, {one.key for one in (*changed, *dropped)}), state
        for line in reset_messages(earlier, state):
            watcher.notice(line)
        if setup.findings:
            watcher.unusable(setup.findings)
        if newest:
            _check_gate(newest, state, recipe)
        run.rewind(state.rows, until=(state.visit, state.step))
        accelerator.wait_for_everyone()
        with copied(recipe, run, watcher, step=state.step, before=before) as copying:
            return Trainer(setup, run, accelerator, copying, state, optimizer).run()


@contextmanager
def _locked(path: Path, accelerator: Accelerator) -> Iterator[None]:
    """Lock a run directory, in the first process for all of them; an interruption says how to continue."""
    if not accelerator.is_main_process:
        yield
        return
    with occupied(path):
        try:
            yield
        except (KeyboardInterrupt, OSError) as error:
            newest = checkpoint.latest(path)
            if newest is not None:
                where = f"Everything up to {newest.name} is saved; continue from there"
                error.add_note(f"{where} with `{shlex.join(['distill', 'resume', str(path)])}`")
            elif (path / "resolved.json").exists():
                error.add_note(
                    f"There is no checkpoint yet; start again with `distill resume {shlex.quote(str(path))}`"
                )
            raise


def _recipe_of(run: RunDirectory) -> Recipe:
    try:
        return Recipe.model_validate(run.resolved["recipe"])
    except ValidationError as error:
        problems = explain(error).replace("\n  ", "; ")
        raise RunDirectoryError(
            f"{run.path / 'resolved.json'}: its recipe is not valid here: {problems}. Restore the file from a copy, or "
            "resume with the version of this package that it names"
        ) from error


def _check_gate(newest: Path, state: TrainingState, recipe: Recipe) -> None:
    """Refuse a checkpoint whose state of the stage's gate is none, before anything is written.

    Raises:
        CheckpointError: Names the file.
    """
    if state.gate is None:
        return
    try:
        recipe.stages[state.stage].effective_gate.build().load_state_dict(state.gate)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        why = str(error) if isinstance(error, UserError) else f"not a state of the stage's gate ({error!r})"
        raise checkpoint.checkpoint_error(newest, f"{newest / checkpoint.STATE}: gate: {why}") from error


def _initial_state(run: RunDirectory) -> TrainingState:
    """Return the state of a run that was interrupted before its first checkpoint, when its first visit had at most
    begun.

    Raises:
        RunDirectoryError: It ran for longer, and its checkpoints are gone.
    """
    if lost := {log: n for log, n in run.rows.items() if n and log not in ("visits", "evaluations")}:
        counted = ", ".join(f"{n} rows of {log}" for log, n in lost.items())
        raise RunDirectoryError(
            f"{run.path / 'checkpoints'} holds no checkpoint, but the run has {counted}, which would be lost. Put its "
            "checkpoints back, or start a new run with another --output"
        )
    return TrainingState(rows=dict.fromkeys(run.rows, 0))


def accelerator_for(recipe: Recipe) -> Accelerator:
    """Return the accelerator of a run, with its threads and precision set.

    Raises:
        TrainingError: More processes than a stage has utterances a step.
    """
    AcceleratorState._reset_state()  # or this run would use an earlier run's precision, or be refused
    # Otherwise accelerate treats processes on a machine without an accelerator as separate runs.
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=not torch.accelerator.is_available())
    if recipe.threads:  # after accelerate, which sets its own number of threads for processes on the CPU
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
