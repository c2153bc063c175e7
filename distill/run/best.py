"""The weights with the lowest error rate so far, in `best/` of the run directory beside the checkpoints.

They are a model, not a checkpoint: evaluations happen between checkpoints, where a run cannot be resumed. Every
checkpoint records the best weights when it was saved, so those of an abandoned continuation are deleted.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from overlap.plain_json import dumps

from ..files import writing
from .checkpoint import CheckpointError, TrainingState, checkpoints, load_state, save_model
from .training_data import TrainingData

FOLDER, ABOUT = "best", "best.json"


@dataclass(frozen=True)
class Best:
    """Description of the best weights.

    Attributes:
        step: Their training step.
        stage: Its stage.
        set: Evaluation set.
        rate: `wer` or `mer`, depending on the set's normalizer.
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
    """Return the folder of the best weights."""
    return run / FOLDER / f"step-{best.step:06d}"


def best_of(state: TrainingState) -> Best | None:
    """Return the best weights so far, as recorded in a checkpoint."""
    return None if state.best is None else Best(**state.best)


def new_best(row: Mapping[str, Any], than: Best | None) -> Best | None:
    """Return the new best weights after an evaluation, None if they are not better; ties keep the earlier ones.

    Args:
        row: Of `evaluations.jsonl`.
        than: The best so far.
    """
    rate = "mer" if "mer" in row else "wer"
    value = row[rate]["value"]
    if value is None or not math.isfinite(value) or (than is not None and value >= than.value):
        return None
    return Best(row["step"], row["stage"], row["set"], rate, value)


def save(run: Path, best: Best, recognizer: Any, weights: Mapping | None, data: TrainingData | None) -> Path:
    """Write the best weights atomically; earlier ones are kept until `prune`.

    Args:
        run: The run directory.
        best: Their description.
        recognizer: Student.
        weights: Of the student, if they are not its own.
        data: What the student was trained on, if that is known.
    """
    target = directory(run, best)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(target, temporary):
        save_model(temporary, recognizer, weights, data)
        (temporary / ABOUT).write_text(dumps(asdict(best), indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return target


def rename_best(run: Path, best: Best, step: int) -> None:
    """Keep best weights under another name, because later ones cannot be compared with them.

    Args:
        run: The run directory.
        best: Their description.
        step: Training steps so far, for the new name.
    """
    folder = directory(run, best)
    if folder.is_dir():
        kept = folder.with_name(f"{folder.name}.before-step-{step}")
        shutil.rmtree(kept, ignore_errors=True)
        folder.rename(kept)


def prune(run: Path) -> None:
    """Delete best weights that no checkpoint records: they are no longer the best, or of steps that are repeated.

    Weights that were set aside are kept.
    """
    known: set[str] = set()
    for path in checkpoints(run):
        try:
            best = best_of(load_state(path))
        except CheckpointError:  # its record is not known: keep everything
            return
        if best is not None:
            known.add(directory(run, best).name)
    for folder in (run / FOLDER).glob("step-*"):
        if folder.name not in known and not folder.suffix and (folder / ABOUT).is_file():
            shutil.rmtree(folder)
