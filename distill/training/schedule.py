"""Learning-rate schedules: a warm-up that begins above zero, then constant, linear or cosine."""

from __future__ import annotations

import math
from typing import Literal


def share_of_lr(
    step: int, *, schedule: Literal["constant", "cosine", "linear"], warmup_steps: int, horizon: int
) -> float:
    """Return the factor of the stage's learning rate at a step.

    After the warm-up these are the schedules of the same names in `transformers.get_scheduler`. Its warm-up begins at
    0, which wastes a step (and its `"constant"` has no warm-up); this one is (step + 1) / (warmup_steps + 1), and
    reaches 1 at the same step.

    Args:
        step: Earlier steps of this stage.
        schedule: What follows the warm-up.
        warmup_steps: Steps of the warm-up.
        horizon: Steps of the entire schedule; the factor would be 0 at this step, unless constant.

    Returns:
        Between 0 and 1.

    >>> [share_of_lr(step, schedule="linear", warmup_steps=1, horizon=5) for step in range(5)]
    [0.5, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, horizon - warmup_steps)
    return max(0.0, 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress)))
