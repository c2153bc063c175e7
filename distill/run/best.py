"""The weights with the least error rate so far, in `best/` of the run directory beside the checkpoints.

They are a model and no checkpoint: an evaluation falls between a checkpoint and the next, where a run cannot be taken
up. Every checkpoint says which ones were the best when it was saved, so those of an abandoned continuation go.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .checkpoint import CheckpointError, TrainingState, checkpoints, load_state, save_model
from .training_data import TrainingData
from .writing import writing

FOLDER, ABOUT = "best", "best.json"


@dataclass(frozen=True)
class Best:
    """What the best weights are.

    Attributes:
        step: Training step that they are of.
        stage: Its stage.
        set: Evaluation set.
        rate: `wer` or `mer`, as the set's normaliser asks.
        value: The error rate, a proportion.
    """

    step: int
    stage: str
    set: str
    rate: str
    value: float

    def __str__(self) -> str:
        return f"step {self.step}, {self.rate.upper()} {100 * self.value:.2f} % on {self.set}"


def directory(run: Path, best: Best) -> Path:
    """Where the best weights lie."""
    return run / FOLDER / f"step-{best.step:06d}"


def best_of(state: TrainingState) -> Best | None:
    """The best so far, as a checkpoint knows it."""
    return None if state.best is None else Best(**state.best)


def better(row: Mapping[str, Any], than: Best | None) -> Best | None:
    """What an evaluation makes the best weights, None where it does not; of equal ones the earlier stay.

    Args:
        row: Of `evaluations.jsonl`.
        than: The best so far.
    """
    rate = "mer" if "mer" in row else "wer"
    value = row[rate]["value"]
    if value is None or not math.isfinite(value) or (than is not None and value >= than.value):
        return None
    return Best(row["step"], row["stage"], row["set"], rate, value)


def save(run: Path, best: Best, recogniser: Any, weights: Mapping | None, data: TrainingData | None) -> Path:
    """Write weights as the best ones, there whole or not at all; earlier ones stay until `prune`.

    Args:
        run: The run directory.
        best: What they are.
        recogniser: Student.
        weights: Of the student, where they are not simply its own.
        data: What the student was trained on, if that is known.
    """
    target = directory(run, best)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(target, temporary):
        save_model(temporary, recogniser, weights, data)
        (temporary / ABOUT).write_text(json.dumps(asdict(best), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return target


def set_aside(run: Path, best: Best, step: int) -> None:
    """Keep best weights under a name of their own, since nothing that comes can be held against them.

    Args:
        run: The run directory.
        best: What they are.
        step: Training steps taken, which the new name tells.
    """
    folder = directory(run, best)
    if folder.is_dir():
        kept = folder.with_name(f"{folder.name}.before-step-{step}")
        shutil.rmtree(kept, ignore_errors=True)
        folder.rename(kept)


def prune(run: Path) -> None:
    """Delete best weights of which no checkpoint knows: they were outdone, or are of steps that will be taken anew.

    Those that were set aside stay.
    """
    known: set[str] = set()
    for path in checkpoints(run):
        try:
            best = best_of(load_state(path))
        except CheckpointError:  # what it knew is not known: let everything stay
            return
        if best is not None:
            known.add(directory(run, best).name)
    for folder in (run / FOLDER).glob("step-*"):
        if folder.name not in known and not folder.suffix and (folder / ABOUT).is_file():
            shutil.rmtree(folder)
