"""Which utterances a step trains on: a pure function of seed, stage and step, so that there is no state to resume."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class BatchSampler:
    """Batches over the utterances of a stage.

    Epochs are seeded permutations and batches run across their borders, so every utterance is visited equally often.
    During a curriculum, batches are drawn without replacement from the shortest utterances, the admitted share growing
    linearly from `start_fraction` to 1.

    Attributes:
        durations: Seconds of each utterance (or any other measure of its length).
        batch_size: Utterances a step.
        key: Integers that seed the order, for instance (seed, stage).
        curriculum_steps: Length of the curriculum in steps; 0 is none.
        start_fraction: Share of the utterances admitted at step 0.
    """

    durations: tuple[float, ...]
    batch_size: int
    key: tuple[int, ...]
    curriculum_steps: int = 0
    start_fraction: float = 1.0

    def batch(self, step: int) -> list[int]:
        """Indices of step `step` of the stage (0-based)."""
        n = len(self.durations)
        if step < self.curriculum_steps:
            share = self.start_fraction + (1 - self.start_fraction) * step / self.curriculum_steps
            admitted = np.argsort(np.asarray(self.durations), kind="stable")[: max(1, round(share * n))]
            rng = np.random.default_rng([*self.key, 1, step])
            return rng.choice(admitted, self.batch_size, replace=len(admitted) < self.batch_size).tolist()
        positions = (step - self.curriculum_steps) * self.batch_size + np.arange(self.batch_size)
        return [int(_permutation(self.key, int(p // n), n)[p % n]) for p in positions]


@lru_cache(maxsize=4)
def _permutation(key: tuple[int, ...], epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng([*key, 0, epoch]).permutation(n)
