"""Where a run returns to when a gate falls back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import overlap

from ..recipe import Recipe
from ..run.checkpoint import BestEnd, TrainingState

ENDED = "end_of_text"


@dataclass(frozen=True)
class Return:
    """Stage and weights of the visit after a fall back.

    Attributes:
        stage: Index of the stage that is visited again.
        step: Training step of the checkpoint with the weights.
        started_from: `entry`: the weights that entered the stage that was left. `best_end`: those of the visit that was
            left whose transcripts ended most often.
    """

    stage: int
    step: int
    started_from: Literal["entry", "best_end"]


def return_of(state: TrainingState, recipe: Recipe) -> Return | str:
    """Return where a fall back leads, or why it leads nowhere, in words.

    From on-policy training it leads to the last teacher-data stage with the weights that entered this one. Within a
    teacher-data stage, whose entry may be as bad, it leads to the checkpoint of the visit whose transcripts ended most
    often. Supervised training has nothing to return to.

    Args:
        state: Of the run, at the reading that fell back.
        recipe: Of the run.
    """
    if state.fallbacks >= recipe.max_fallbacks:
        return f"{state.fallbacks} fallbacks already"
    if recipe.stages[state.stage].type == "td":
        best = state.best_end
        if best is None or best.step == state.step or best.end_of_text <= best.latest:
            return "no checkpoint of this visit whose transcripts end more often"
        return Return(state.stage, best.step, "best_end")
    earlier = [i for i in range(state.stage) if recipe.stages[i].type == "td"]
    if not earlier:
        return "no teacher-data stage to return to"
    return Return(earlier[-1], state.entries[str(state.stage)], "entry")


def with_reading(
    best: BestEnd | None, readings: Mapping[str, overlap.Estimate], step: int, kept: bool
) -> BestEnd | None:
    """Return the best end of a visit after one more reading; among equal ones, the latest.

    Args:
        best: Before the reading; None before the first.
        readings: Of the probe.
        step: Training step of the reading.
        kept: Whether there is a checkpoint of this step.
    """
    found = readings.get(ENDED)
    if found is None or math.isnan(found.value):
        return best
    if kept and (best is None or found.value >= best.end_of_text):
        return BestEnd(step, found.value, found.value)
    return None if best is None else BestEnd(best.step, best.end_of_text, found.value)
