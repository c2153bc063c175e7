"""Learning-rate schedules: a warm-up that begins above zero, then constant, linear or cosine."""

from __future__ import annotations

import math
from typing import Literal


def share_of_lr(
    step: int, *, schedule: Literal["constant", "cosine", "linear"], warmup_steps: int, horizon: int
) -> float:
    """Share of the stage's learning rate that a step takes.

    From the end of the warm-up on these are the schedules that `transformers.get_scheduler` has under the same names.
    Its warm-up begins at 0, a step for nothing (and `"constant"` has none there); this one takes
    (step + 1) / (warmup_steps + 1), and so reaches 1 at the same step.

    Args:
        step: Steps taken before in this stage.
        schedule: What follows the warm-up.
        warmup_steps: Its steps.
        horizon: Steps that the whole schedule spans; the share would be 0 at this one, unless constant.

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
