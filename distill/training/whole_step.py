"""One step of training over all parts of a batch: data, rollouts, losses, and the update of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from ..data.batch import Batch
from ..data.sampling import micro_batches, seed_of
from ..recipe.stages import CROSS_ENTROPY
from ..run.checkpoint import TrainingState
from ..timing import Stopwatch
from .errors import TrainingError
from .optimization import Optimization
from .rejection import planned
from .setup import Setup
from .soft_switches import SoftSwitches
from .stage_data import StageData
from .steps import Seen, step_metrics, supervised_step, training_step


@dataclass(frozen=True, eq=False)
class StepTaken:
    """A step that was taken.

    Attributes:
        row: Of `metrics.jsonl`, without the step's place in the run.
        refused_in_a_row: Steps up to this one that refused most of their rollouts.
    """

    row: dict[str, Any]
    refused_in_a_row: int


def take_step(
    setup: Setup, state: TrainingState, data: StageData, optimization: Optimization, accelerator: Accelerator
) -> StepTaken:
    """Take one step of the current stage; every process takes its share of the batch.

    Args:
        setup: Models and data of the run.
        state: Of the run before the step; it is not changed.
        data: Of the stage.
        optimization: Of the stage.
        accelerator: Of the run.

    Raises:
        TrainingError: The loss or the gradient is not finite; the weights are unchanged.
    """
    recipe, stage, clock = setup.recipe, setup.recipe.stages[state.stage], Stopwatch()
    rank, processes = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(seed_of(recipe.seed, state.stage, state.step, rank))
    parts = micro_batches(data.sampler.batch(state.stage_step), stage.micro_batch_size, rank, processes)
    augmentation, key = setup.augmentations[state.stage], (recipe.seed, state.stage, state.step)

    def batches(indices: Sequence[int]) -> tuple[Batch, Batch]:
        with clock("data"):
            clean = setup.source.batch([data.utterances[i] for i in indices])
            return clean, clean if augmentation is None else augmentation(clean, *key)

    switches = SoftSwitches.at(stage, state)
    draws = (float(np.random.default_rng([*key, number]).random()) for number in range(1, len(parts) + 1))
    mixtures = [switches.mixture(draw) for draw in draws]  # the same in all processes
    loaded: Iterable[tuple[Batch, Batch]] = map(batches, parts)
    plan = None
    if stage.type == "opd" and stage.reject is not None:
        assert setup.pair is not None
        loaded = list(loaded)
        own = [batch for _, batch in loaded]
        theirs = [clean if stage.teacher_audio == "clean" else None for clean, _ in loaded]
        plan = planned(stage, setup.pair, own, mixtures, data.teacher_texts, state.refused_steps, clock, theirs)
        loaded = loaded if plan.taken_on != "nothing" else []
    seen: list[Seen] = []
    for number, (clean, batch) in enumerate(loaded):
        with optimization.part(last=number == len(parts) - 1):
            if plan is not None and plan.taken_on == "teacher":
                batch = plan.teachers[number]
                assert batch is not None
                outcome = supervised_step(setup.student, batch, clock)
            else:
                written = None if plan is None else plan.written[number]
                outcome = training_step(
                    stage, setup.student, setup.pair, batch, recipe.support, clock, mixtures[number], clean, written
                )
            with clock("update"):
                optimization.backward(outcome.loss, outcome.positions)
        setup.student.model.eval()  # for whatever comes next: rollouts, probes, evaluations
        seen += [] if outcome.seen is None else [outcome.seen]
    with clock("measure"):
        metrics = step_metrics(seen)
    with clock("update"):
        loss, norm, positions = optimization.gradients()
        if positions and not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {state.step} of stage {stage.name!r}: loss {loss}, gradient norm {norm}. Lower the stage's "
                "lr, or look at the models' logits; the last checkpoint is unchanged."
            )
        lr = optimization.step(update=positions > 0)
    row: dict[str, Any] = {"loss": loss, "n_positions": positions, "gradient_norm": norm, "lr": lr}
    instead = plan is not None and plan.taken_on == "teacher"
    objective = {"name": CROSS_ENTROPY if instead else stage.objective_name}
    row |= metrics | {"objective": objective | metrics.get("objective", {})}
    row |= switches.row(metrics) | ({} if plan is None else {"rejection": plan.row})
    row |= {"seconds": {phase: round(seconds, 4) for phase, seconds in clock.seconds.items()}}
    return StepTaken(row, state.refused_steps if plan is None else plan.row["in_a_row"])
