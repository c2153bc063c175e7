"""Checkpoints: weights for `from_pretrained`, the optimizer, and the state of the loop, there whole or not at all.

Random numbers are a function of (seed, stage, step), so there is no generator state to save.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from overlap.errors import UserError

from ..files import writing
from ..models.files import damage
from ..models.lora import FOLDER, has_adapters, merged, save_adapters
from .schema import SCHEMA, foreign_schema
from .training_data import TrainingData

Outcome = Literal["finished", "stopped", "aborted"]
"""How a run ends: as its recipe says, because a gate did not open in time, or by a gate's alarm."""
STATE = "state.json"
OPTIMIZER = "optimizer.pt"
_NAME = re.compile(r"step-(\d{6,})")


class CheckpointError(UserError):
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
        visit: Number of the current stay in a stage, from 0: a stage that a gate falls back to is visited again.
        outcome: None while running, else how the run ended.
        reason: Why it ended, in words; empty while running.
        best: The best weights so far, see `distill.run.best`; None without.
    """

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    horizon: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    gate: dict[str, Any] | None = None
    fallbacks: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    visit: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    best: dict[str, Any] | None = None


def directory(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
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
        state: Where the run stands.
        weights: Of the student, where they are not simply its own.
        optimizer: Its state, unless the checkpoint opens a stage.
        training_data: What the student was trained on, if that is known.

    Returns:
        The checkpoint's folder.
    """
    target = directory(run, state.step)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(target, temporary):
        save_model(temporary, recognizer, weights, training_data)
        if optimizer is not None:
            with (temporary / OPTIMIZER).open("wb") as file:  # given a path, torch hides why it cannot write
                torch.save(optimizer, file)
        (temporary / STATE).write_text(
            json.dumps({"schema": SCHEMA} | asdict(state), indent=2) + "\n", encoding="utf-8"
        )
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


def save_model(folder: Path, recognizer: Any, weights: Mapping | None, training_data: TrainingData | None) -> None:
    """Write a student for `from_pretrained`, its adapters apart as well, and what it was trained on.

    Args:
        folder: Where; made.
        recognizer: Student.
        weights: Of the student, where they are not simply its own.
        training_data: What it was trained on, if that is known.
    """
    if weights is not None and has_adapters(recognizer.generator):
        save_adapters(recognizer.generator, weights, folder / FOLDER)
        weights = merged(recognizer.generator, weights)
    recognizer.save(folder, weights)
    if training_data is not None:
        training_data.write(folder)


def latest(run: Path) -> Path | None:
    """The newest checkpoint."""
    return next(reversed(checkpoints(run)), None)


def load(path: Path) -> tuple[TrainingState, Mapping | None]:
    """What a checkpoint was saved with, once all its files are found whole.

    Args:
        path: The checkpoint.

    Returns:
        The state of the loop, and the optimizer's where the checkpoint is not at the beginning of a stage or the end.

    Raises:
        CheckpointError: A file is missing or damaged; names it, and the checkpoint before this one.
    """
    for folder in (path, path / FOLDER):
        if folder.is_dir() and (found := damage(folder)):
            raise _lost(path, found)
    state = load_state(path)
    return state, load_optimizer(path) if state.stage_step and state.outcome is None else None


def load_state(path: Path) -> TrainingState:
    """The state a checkpoint was saved with.

    Raises:
        CheckpointError: It is missing, damaged or of another schema version.
    """
    file = path / STATE
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        readable = tree.get("schema", SCHEMA) == SCHEMA
        state = TrainingState(**{k: v for k, v in tree.items() if k != "schema"}) if readable else TrainingState()
    except FileNotFoundError:
        raise _lost(path, f"{file} is missing") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise _lost(path, f"{file} is cut short or damaged ({error})") from error
    if why := foreign_schema(tree, _resolved(path.parent.parent)):
        raise CheckpointError(f"{file}: {why}")
    return state


def _resolved(run: Path) -> Mapping[str, Any]:
    """What is known of a run; nothing where that cannot be read."""
    try:
        tree = json.loads((run / "resolved.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def load_optimizer(path: Path) -> Mapping:
    """The optimizer's state and its schedule's.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    file = path / OPTIMIZER
    if not file.exists():
        raise _lost(path, f"{file} is missing, without which learning rate and momentum would begin anew")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise _lost(path, f"{file} is cut short or damaged ({type(error).__name__})") from error
    if not isinstance(state, dict) or not {"optimizer", "scheduler"} <= state.keys():
        raise _lost(path, f"{file} holds no optimizer's state")
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


def _lost(path: Path, what: str) -> CheckpointError:
    earlier = [other for other in checkpoints(path.parent.parent) if _step(other) < _step(path)]
    remedy = (
        f"Restore it from a copy, or delete {path}: the run then goes on from {earlier[-1].name}"
        if earlier
        else "Restore it from a copy, or start a new run: there is no earlier checkpoint"
    )
    return CheckpointError(f"cannot go on from {path.name}: {what}. {remedy}")
