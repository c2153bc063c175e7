"""Checkpoints: weights for `from_pretrained`, the optimizer, and the state of the loop, written atomically.

Random numbers are a function of (seed, stage, step), so there is no generator state to save.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from overlap.errors import UserError
from overlap.plain_json import dumps
from overlap.version import SCHEMA, foreign_schema

from ..files import writing
from ..models.files import damage
from ..models.lora import FOLDER, has_adapters, merged, save_adapters
from .run_directory import LOGS, PROBES, write_atomically
from .training_data import TrainingData

Outcome = Literal["finished", "stopped", "aborted"]
"""How a run ends: at the end of its recipe, because a gate did not open in time, or aborted by a gate."""
STATE = "state.json"
OPTIMIZER = "optimizer.pt"
_NAME = re.compile(r"step-(\d{6,})")


Count = Annotated[int, Field(ge=0)]


class CheckpointError(UserError):
    """A checkpoint from which a run cannot continue; the message names the file, and a usable checkpoint."""


@dataclass(frozen=True)
class BestEnd:
    """The checkpoint of a visit whose transcripts ended most often.

    Attributes:
        step: Its training step.
        end_of_text: Share of its transcripts that ended by themselves.
        latest: That share at the visit's last reading.
    """

    step: Count
    end_of_text: float
    latest: float


@dataclass(frozen=True)
class LastReading:
    """The last reading of what an off-policy share follows.

    Attributes:
        step: Training step of the reading.
        estimates: Numbers of each estimate by the statistic's name, as JSON holds them (`overlap.plain_json`);
            statistics that the reading lacked are left out.
    """

    step: Count
    estimates: dict[str, dict[str, float | str | None]]


@dataclass
class TrainingState:
    """State of a run.

    Attributes:
        step: Training steps taken in the run.
        stage: Index of the current stage.
        stage_step: Steps taken in it since it was last entered.
        horizon: Steps that the stage's learning-rate schedule spans.
        entries: Steps at which stages were entered, by stage index: the targets of fallbacks.
        gate: State of the stage's gate.
        fallbacks: Fallbacks so far.
        rows: Rows of each log when this was saved.
        visit: Number of the current visit, from 0: a stage that a gate falls back to is visited again.
        outcome: None while running, else how the run ended.
        reason: Why it ended, in words; empty while running.
        best: The best weights so far, see `distill.run.best`; None if there are none.
        best_end: The checkpoint of the visit to which a collapse in teacher data returns; None before one is known.
        refused_steps: On-policy steps in a row whose rollouts were refused, see `distill.training.rejection`.
        last_reading: What the stage's off-policy share follows, see `distill.training.soft_switches`; None if it
            follows no reading, and before the first of a visit.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="forbid")

    step: Count = 0
    stage: Count = 0
    stage_step: Count = 0
    horizon: Count = 0
    entries: dict[str, Count] = field(default_factory=dict)
    gate: dict[str, Any] | None = None
    fallbacks: Count = 0
    rows: dict[str, Count] = field(default_factory=dict)
    visit: Count = 0
    outcome: Outcome | None = None
    reason: str = ""
    best: dict[str, Any] | None = None
    best_end: BestEnd | None = None
    refused_steps: Count = 0
    last_reading: LastReading | None = None


_STATES = TypeAdapter(TrainingState)
_ALWAYS = {one.name for one in fields(TrainingState)} - {"best", "best_end", "last_reading"}
"""Fields of every state; those of checkpoints and readings that may not be there are optional."""


def directory(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return run / "checkpoints" / f"step-{step:06d}"


def save(
    run: Path,
    recognizer: Any,
    state: TrainingState,
    weights: Mapping | None,
    optimizer: Mapping | None,
    training_data: TrainingData | None = None,
) -> Path:
    """Write a checkpoint beside the others and move it into place.

    Args:
        run: The run directory.
        recognizer: Student.
        state: State of the run.
        weights: Of the student, if they are not its own.
        optimizer: Its state, except at the start of a stage.
        training_data: The record of its training data, if known.

    Returns:
        The checkpoint's folder.
    """
    target = directory(run, state.step)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(target, temporary):
        save_model(temporary, recognizer, weights, training_data)
        if optimizer is not None:
            with (temporary / OPTIMIZER).open("wb") as file:  # with a path, torch hides the reason of a failure
                torch.save(optimizer, file)
        write_state(temporary, state)
        # The logs too: after a power cut, a checkpoint must not count rows that never reached the disk.
        for path in (path for path in (*temporary.rglob("*"), *run.glob("*")) if path.is_file()):
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if target.exists():
        # The same step is saved again if a stage starts where the last one ended: the newer state replaces the older.
        stale = target.with_name(f".{target.name}.stale")
        shutil.rmtree(stale, ignore_errors=True)
        target.rename(stale)
        temporary.rename(target)
        shutil.rmtree(stale)
    else:
        temporary.rename(target)
    return target


def write_state(folder: Path, state: TrainingState) -> None:
    """Write the state of the loop into a checkpoint, atomically."""
    write_atomically(folder / STATE, dumps({"schema": SCHEMA} | asdict(state), ensure_ascii=True, indent=2) + "\n")


def save_model(folder: Path, recognizer: Any, weights: Mapping | None, training_data: TrainingData | None) -> None:
    """Write a student for `from_pretrained`, its adapters also separately, and the record of its training data.

    Args:
        folder: The folder, which is created.
        recognizer: Student.
        weights: Of the student, if they are not its own.
        training_data: The record of its training data, if known.
    """
    if weights is not None and has_adapters(recognizer.generator):
        save_adapters(recognizer.generator, weights, folder / FOLDER)
        weights = merged(recognizer.generator, weights)
    recognizer.save(folder, weights)
    if training_data is not None:
        training_data.write(folder)


def latest(run: Path) -> Path | None:
    """Return the newest checkpoint."""
    return next(reversed(checkpoints(run)), None)


def load(path: Path, *, stages: int) -> tuple[TrainingState, Mapping | None]:
    """Return the state in a checkpoint, after all its files were checked.

    Args:
        path: The checkpoint.
        stages: Number of stages of the run.

    Returns:
        The state of the loop, and of the optimizer unless the checkpoint is at the start of a stage or the end.

    Raises:
        CheckpointError: A file is missing or damaged; names it, and the checkpoint before this one.
    """
    for folder in (path, path / FOLDER):
        if folder.is_dir() and (found := damage(folder)):
            raise checkpoint_error(path, found)
    state = load_state(path)
    if state.stage >= stages:
        raise checkpoint_error(
            path, f"{path / STATE}: its stage is {state.stage}, counted from 0, and the run has {stages}"
        )
    if missing := sorted({*LOGS, PROBES} - state.rows.keys()):
        raise checkpoint_error(path, f"{path / STATE}: rows of {', '.join(missing)} are missing")
    within_stage = state.stage_step > 0 and state.outcome is None
    if within_stage and state.gate is None:
        raise checkpoint_error(
            path, f"{path / STATE}: gate is null within a stage; without its state, the gate would begin anew"
        )
    return state, load_optimizer(path) if within_stage else None


def load_state(path: Path) -> TrainingState:
    """Return the state of the loop in a checkpoint.

    Raises:
        CheckpointError: It is missing, damaged, of another schema version, or of another step than the folder's name
            says.
    """
    file = path / STATE
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise checkpoint_error(path, f"{file} is missing") from None
    except ValueError as error:
        raise checkpoint_error(path, f"{file} is cut short or damaged ({error})") from error
    if isinstance(tree, dict) and "step" in tree and (why := foreign_schema(tree, _resolved(path.parent.parent))):
        raise CheckpointError(f"{file}: {why}")
    known = {name: value for name, value in tree.items() if name != "schema"} if isinstance(tree, dict) else tree
    try:
        state = _STATES.validate_json(json.dumps(known))
    except ValidationError as error:
        raise checkpoint_error(path, f"{file} is cut short or damaged ({_problems(error)})") from error
    if missing := sorted(_ALWAYS - tree.keys()):
        raise checkpoint_error(path, f"{file} is cut short or damaged ({', '.join(missing)} missing)")
    if state.step != _step(path):
        raise checkpoint_error(
            path, f"{file} is the state of step {state.step}, so the folder is a copy or was renamed"
        )
    return state


def _resolved(run: Path) -> Mapping[str, Any]:
    """Return `resolved.json` of a run; empty if it cannot be read."""
    try:
        tree = json.loads((run / "resolved.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def load_optimizer(path: Path) -> Mapping:
    """Return the optimizer's state and its schedule's.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    file = path / OPTIMIZER
    if not file.exists():
        raise checkpoint_error(path, f"{file} is missing; without it, learning rate and momentum would be reset")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise checkpoint_error(path, f"{file} is cut short or damaged ({type(error).__name__})") from error
    if not isinstance(state, dict) or not {"optimizer", "scheduler"} <= state.keys():
        raise checkpoint_error(path, f"{file} contains no optimizer state")
    return state


def prune(run: Path, keep: int, protected: set[int]) -> None:
    """Delete all but the newest `keep` checkpoints and those of protected steps; other folders are kept."""
    for path in checkpoints(run)[:-keep]:
        if _step(path) not in protected:
            shutil.rmtree(path)


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run in the order of their steps; folders with other names are ignored."""
    paths = (run / "checkpoints").glob("step-*")
    return sorted((path for path in paths if _NAME.fullmatch(path.name) and path.is_dir()), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


def checkpoint_error(path: Path, what: str) -> CheckpointError:
    """Return the error for a checkpoint from which a run cannot continue, with the remedy.

    Args:
        path: The checkpoint.
        what: What is wrong with it.
    """
    earlier = [other for other in checkpoints(path.parent.parent) if _step(other) < _step(path)]
    remedy = (
        f"Restore it from a copy, or delete {path}: the run then continues from {earlier[-1].name}"
        if earlier
        else "Restore it from a copy, or start a new run: there is no earlier checkpoint"
    )
    return CheckpointError(f"cannot continue from {path.name}: {what}. {remedy}")
