"""Selects the utterances of a step, as a pure function of seed, stage and step: resuming needs no state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from overlap.errors import UserError


@dataclass(frozen=True)
class BatchSampler:
    """Batches over the utterances of a stage.

    Epochs are seeded permutations, and batches cross their borders, so every utterance is used equally often. During a
    curriculum, batches are sampled without replacement from the shortest utterances; their share grows linearly from
    `start_fraction` to 1.

    With `bucket_batches`, groups of this many batches of an epoch are rearranged: utterances by duration, batches in
    random order. An epoch keeps its utterances; a batch that crosses epochs is unchanged.

    Attributes:
        durations: Seconds of each utterance (or any other measure of its length).
        batch_size: Utterances per step.
        key: Integers that seed the order, for instance (seed, stage).
        curriculum_steps: Length of the curriculum in steps; 0 is none.
        start_fraction: Share of the utterances admitted at step 0.
        bucket_batches: Number of batches in which utterances are grouped by duration; 0 does not group.
    """

    durations: tuple[float, ...]
    batch_size: int
    key: tuple[int, ...]
    curriculum_steps: int = 0
    start_fraction: float = 1.0
    bucket_batches: int = 0

    def batch(self, step: int) -> list[int]:
        """Return indices of step `step` of the stage (0-based)."""
        n = len(self.durations)
        if step < self.curriculum_steps:
            share = self.start_fraction + (1 - self.start_fraction) * step / self.curriculum_steps
            admitted = np.argsort(np.asarray(self.durations), kind="stable")[: max(1, round(share * n))]
            rng = np.random.default_rng([*self.key, 1, step])
            return rng.choice(admitted, self.batch_size, replace=len(admitted) < self.batch_size).tolist()
        step -= self.curriculum_steps
        return (self._bucketed(step) if self.bucket_batches else self._plain(step, step + 1)[0]).tolist()

    def _plain(self, start: int, stop: int) -> np.ndarray:
        """Return [steps, batch] indices in the order of the permutations; steps are counted from the curriculum's
        end."""
        n = len(self.durations)
        positions = np.arange(start * self.batch_size, stop * self.batch_size).reshape(-1, self.batch_size)
        return np.array([[_permutation(self.key, int(p // n), n)[p % n] for p in row] for row in positions])

    def _bucketed(self, step: int) -> np.ndarray:
        n, size = len(self.durations), self.batch_size
        epoch = step * size // n
        first, end = -(-epoch * n // size), (epoch + 1) * n // size  # the steps that are entirely in the epoch
        if not first <= step < end:
            return self._plain(step, step + 1)[0]
        start = step - (step - first) % self.bucket_batches
        indices = self._plain(start, min(start + self.bucket_batches, end))
        order = np.argsort([self.durations[i] for i in indices.flat], kind="stable")
        batches = indices.ravel()[order].reshape(indices.shape)
        return np.random.default_rng([*self.key, 2, start]).permutation(batches)[step - start]


def micro_batches(indices: Sequence[int], size: int | None, rank: int = 0, processes: int = 1) -> list[list[int]]:
    """Return a process's share of a batch in parts; every process has the same number, because parts are synchronized.

    Args:
        indices: The batch, at least one for each process.
        size: Maximum number of utterances of a part; None does not divide the share.
        rank: Index of the process.
        processes: Number of processes.

    Raises:
        UserError: A part of a smaller share would be empty; happens only if `size` is 1.

    Examples:
        >>> micro_batches([7, 2, 5, 3, 9], 2, rank=0, processes=2), micro_batches([7, 2, 5, 3, 9], 2, 1, 2)
        ([[7], [5, 9]], [[2], [3]])
    """
    share = list(indices[rank::processes])
    parts = 1 if size is None else -(-len(indices[::processes]) // size)
    if len(indices) // processes < parts:
        raise UserError(
            f"micro_batch_size = {size} cuts a batch of {len(indices)} in {processes} processes into {parts} parts, "
            "more than some process has utterances; raise it, or make batch_size a multiple of the processes"
        )
    ends = [len(share) * part // parts for part in range(parts + 1)]
    return [share[start:end] for start, end in pairwise(ends)]


def seed_of(*parts: int) -> int:
    """Return one 63-bit seed from several integers; each of its bits depends on all of them."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


@lru_cache(maxsize=4)
def _permutation(key: tuple[int, ...], epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng([*key, 0, epoch]).permutation(n)
