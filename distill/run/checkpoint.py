"""Checkpoints: weights for `from_pretrained`, the optimiser, and the state of the loop, there whole or not at all.

Random numbers are a function of (seed, stage, step), so there is no generator state to save.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..models.adapters import FOLDER, has_adapters, merged, save_adapters
from .training_data import TrainingData

STATE = "state.json"
OPTIMISER = "optimiser.pt"


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
    """

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    horizon: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    gate: dict[str, Any] | None = None
    fallbacks: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    outcome: str | None = None


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
    if weights is not None and has_adapters(recogniser.generator):
        save_adapters(recogniser.generator, weights, temporary / FOLDER)
        weights = merged(recogniser.generator, weights)
    recogniser.save(temporary, weights)
    if optimiser is not None:
        torch.save(optimiser, temporary / OPTIMISER)
    if training_data is not None:
        training_data.write(temporary)
    (temporary / STATE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    for path in (path for path in temporary.rglob("*") if path.is_file()):
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


def latest(run: Path) -> Path | None:
    """The newest complete checkpoint."""
    complete = sorted((path.parent for path in (run / "checkpoints").glob(f"step-*/{STATE}")), key=_step)
    return complete[-1] if complete else None


def load_state(path: Path) -> TrainingState:
    """The state a checkpoint was saved with."""
    return TrainingState(**json.loads((path / STATE).read_text(encoding="utf-8")))


def load_optimiser(path: Path) -> Mapping | None:
    """The optimiser's state, or None where the checkpoint opens a stage."""
    file = path / OPTIMISER
    return torch.load(file, map_location="cpu", weights_only=True) if file.exists() else None


def prune(run: Path, keep: int, protected: set[int]) -> None:
    """Delete all but the newest `keep` checkpoints and those of protected steps."""
    paths = sorted((run / "checkpoints").glob("step-*"), key=_step)
    for path in paths[:-keep]:
        if _step(path) not in protected:
            shutil.rmtree(path)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
