"""Checkpoints: weights for `from_pretrained`, the optimiser, and the state of the loop, there whole or not at all.

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
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ..models.adapters import FOLDER, has_adapters, merged, save_adapters
from ..models.files import damage
from .run_directory import LOGS, PROBES
from .training_data import TrainingData
from .writing import writing

STATE = "state.json"
OPTIMISER = "optimiser.pt"
_NAME = re.compile(r"step-(\d{6,})")


Count = Annotated[int, Field(ge=0)]


class CheckpointError(ValueError):
    """A checkpoint that a run cannot go on from; the message names the file, and where the run can go on."""


@dataclass
class TrainingState:
    """Where a run stands.

    Attributes:
        step: Training steps taken in the run.
        stage: Index of the current stage.
        stage_step: Steps taken in it since it was last entered.
        horizon: Steps that the stage's learning-rate schedule spans.
        entries: Steps at which stages were entered, by stage index: where a fall back returns to.
        gate: State of the stage's gate.
        fallbacks: Fall backs so far.
        rows: Rows of each log when this was saved.
        outcome: None while running, else why the run ended.
        best: The best weights so far, see `distill.run.best`; None without.
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
    outcome: str | None = None
    best: dict[str, Any] | None = None


_STATES = TypeAdapter(TrainingState)
_ALWAYS = {one.name for one in fields(TrainingState)} - {"best"}
"""What every state has; runs that began before best weights were kept have none."""


def directory(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"step-{step:06d}"


def save(
    run: Path,
    recogniser: Any,
    state: TrainingState,
    weights: Mapping | None,
    optimiser: Mapping | None,
    training_data: TrainingData | None = None,
) -> Path:
    """Write a checkpoint beside the others and move it into place.

    Args:
        run: The run directory.
        recogniser: Student.
        state: Where the run stands.
        weights: Of the student, where they are not simply its own.
        optimiser: Its state, unless the checkpoint opens a stage.
        training_data: What the student was trained on, if that is known.

    Returns:
        The checkpoint's folder.
    """
    target = directory(run, state.step)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(target, temporary):
        save_model(temporary, recogniser, weights, training_data)
        if optimiser is not None:
            with (temporary / OPTIMISER).open("wb") as file:  # given a path, torch hides why it cannot write
                torch.save(optimiser, file)
        (temporary / STATE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        # The logs too: after a power cut, a checkpoint must not count rows that never reached the disk.
        for path in (path for path in (*temporary.rglob("*"), *run.glob("*")) if path.is_file()):
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if target.exists():
        # Same step saved again (a stage entered where the last ended): the newer state replaces the older.
        stale = target.with_name(f".{target.name}.stale")
        shutil.rmtree(stale, ignore_errors=True)
        target.rename(stale)
        temporary.rename(target)
        shutil.rmtree(stale)
    else:
        temporary.rename(target)
    return target


def save_model(folder: Path, recogniser: Any, weights: Mapping | None, training_data: TrainingData | None) -> None:
    """Write a student for `from_pretrained`, its adapters apart as well, and what it was trained on.

    Args:
        folder: Where; made.
        recogniser: Student.
        weights: Of the student, where they are not simply its own.
        training_data: What it was trained on, if that is known.
    """
    if weights is not None and has_adapters(recogniser.generator):
        save_adapters(recogniser.generator, weights, folder / FOLDER)
        weights = merged(recogniser.generator, weights)
    recogniser.save(folder, weights)
    if training_data is not None:
        training_data.write(folder)


def latest(run: Path) -> Path | None:
    """The newest checkpoint."""
    return next(reversed(checkpoints(run)), None)


def load(path: Path, *, stages: int) -> tuple[TrainingState, Mapping | None]:
    """What a checkpoint was saved with, once all its files are found whole.

    Args:
        path: The checkpoint.
        stages: How many the run has.

    Returns:
        The state of the loop, and the optimiser's where the checkpoint is not at the beginning of a stage or the end.

    Raises:
        CheckpointError: A file is missing or damaged; names it, and the checkpoint before this one.
    """
    for folder in (path, path / FOLDER):
        if folder.is_dir() and (found := damage(folder)):
            raise lost(path, found)
    state = load_state(path)
    if state.stage >= stages:
        raise lost(path, f"{path / STATE}: its stage is {state.stage}, counted from 0, and the run has {stages}")
    if missing := sorted({*LOGS, PROBES} - state.rows.keys()):
        raise lost(path, f"{path / STATE}: rows of {', '.join(missing)} are missing")
    return state, load_optimiser(path) if state.stage_step and state.outcome is None else None


def load_state(path: Path) -> TrainingState:
    """The state a checkpoint was saved with.

    Raises:
        CheckpointError: It is missing or damaged, or of another step than the folder's name says.
    """
    file = path / STATE
    try:
        content = file.read_text(encoding="utf-8")
        tree, state = json.loads(content), _STATES.validate_json(content)
    except FileNotFoundError:
        raise lost(path, f"{file} is missing") from None
    except ValidationError as error:
        raise lost(path, f"{file} is cut short or damaged ({_problems(error)})") from error
    except ValueError as error:
        raise lost(path, f"{file} is cut short or damaged ({error})") from error
    if missing := sorted(_ALWAYS - tree.keys()):
        raise lost(path, f"{file} is cut short or damaged ({', '.join(missing)} missing)")
    if state.step != _step(path):
        raise lost(path, f"{file} is the state of step {state.step}, so the folder is a copy or was renamed")
    return state


def load_optimiser(path: Path) -> Mapping:
    """The optimiser's state and its schedule's.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    file = path / OPTIMISER
    if not file.exists():
        raise lost(path, f"{file} is missing, without which learning rate and momentum would begin anew")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise lost(path, f"{file} is cut short or damaged ({type(error).__name__})") from error
    if not isinstance(state, dict) or not {"optimiser", "scheduler"} <= state.keys():
        raise lost(path, f"{file} holds no optimizer's state")
    return state


def prune(run: Path, keep: int, protected: set[int]) -> None:
    """Delete all but the newest `keep` checkpoints and those of protected steps; what is no checkpoint stays."""
    for path in checkpoints(run)[:-keep]:
        if _step(path) not in protected:
            shutil.rmtree(path)


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run in the order of their steps; folders of other names are somebody else's."""
    paths = (run / "checkpoints").glob("step-*")
    return sorted((path for path in paths if _NAME.fullmatch(path.name) and path.is_dir()), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


def lost(path: Path, what: str) -> CheckpointError:
    """Why a run cannot go on from a checkpoint, and where it can.

    Args:
        path: The checkpoint.
        what: What is wrong with it.
    """
    earlier = [other for other in checkpoints(path.parent.parent) if _step(other) < _step(path)]
    remedy = (
        f"Restore it from a copy, or delete {path}: the run then goes on from {earlier[-1].name}"
        if earlier
        else "Restore it from a copy, or start a new run: there is no earlier checkpoint"
    )
    return CheckpointError(f"cannot go on from {path.name}: {what}. {remedy}")
