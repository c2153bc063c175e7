"""Resets what a run measured on data that changed since, because later measurements would not be comparable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from overlap.definitions.names import OWN

from ..recipe import Recipe
from ..recipe.gate_statistics import evaluation_reading
from ..run import best, checkpoint
from ..run.checkpoint import CheckpointError, TrainingState
from .soft_switches import share_rule


def reset_state(state: TrainingState, recipe: Recipe, keys: Collection[str]) -> TrainingState:
    """Return the state without what was measured on data that changed: the best weights, what the stage's gate has
    read, and the reading that its off-policy share follows.

    Args:
        state: State of the run.
        recipe: Of the run.
        keys: Dotted keys of the recipe whose data changed.
    """
    sets = set(_changed_sets(recipe, keys))
    rates = {evaluation_reading(one) for one in sets}

    def stale(names: Iterable[str]) -> bool:
        return any(name in rates or ("probe.manifest" in keys and not name.startswith(OWN)) for name in names)

    stage = recipe.stages[state.stage]
    gate, rule = stage.effective_gate.build(), share_rule(stage)
    known = best.best_of(state)
    return replace(
        state,
        gate=None if stale(gate.statistics) else state.gate,
        best=None if known is not None and known.set in sets else state.best,
        last_reading=None if rule is not None and stale(rule.statistics) else state.last_reading,
    )


def reset_messages(before: TrainingState, after: TrainingState) -> list[str]:
    """Return what is reset, a sentence each.

    Args:
        before: The state before the reset.
        after: The result of :func:`reset_state`.
    """
    said = []
    if before.best != after.best:
        said.append(f"the best model so far ({best.best_of(before)}) is set aside: its evaluation set changed")
    if before.gate != after.gate:
        said.append("the stage's gate is reset: its readings were measured on other data")
    if before.last_reading != after.last_reading:
        said.append("the off-policy share is 1 until the next reading: the last one was measured on other data")
    return said


def reset_checkpoints(run: Path, recipe: Recipe, keys: Collection[str], *, step: int) -> None:
    """Reset every checkpoint of a run, so that no later start uses the old state; best weights are renamed.

    Args:
        run: The run directory.
        recipe: Of the run.
        keys: Dotted keys of the recipe whose data changed.
        step: Training steps so far, for the new name.
    """
    for path in checkpoint.checkpoints(run):
        try:
            before = checkpoint.load_state(path)
        except CheckpointError:  # no run continues from there either
            continue
        after = reset_state(before, recipe, keys)
        if after.gate is None and before.gate is not None:
            after.gate = recipe.stages[before.stage].effective_gate.build().state_dict()
        known = best.best_of(before)
        if known is not None and after.best is None:
            best.rename_best(run, known, step)
        if after != before:
            checkpoint.write_state(path, after)


def _changed_sets(recipe: Recipe, keys: Collection[str]) -> Iterator[str]:
    places = ["evaluation", *(f"further_evaluations.{i}" for i in range(len(recipe.further_evaluations)))]
    for place, section in zip(places, recipe.evaluations, strict=False):
        if f"{place}.manifest" in keys:
            yield section.name
