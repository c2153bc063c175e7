"""Streaming accumulation of token statistics, over batches and over ranks."""

from collections.abc import Mapping
from typing import Any

import torch

from overlap.bootstrap import DRAWS
from overlap.definitions import TOKEN_STATISTICS
from overlap.distributed import gathered
from overlap.groups import Groups, GroupSums
from overlap.statistics import TokenStatistics
from overlap.summary import OverlapSummary


class OverlapMeter:
    """Adds up `TokenStatistics` batch by batch and gives the same summary as all of them at once.

    Sums are float64 and counts int64, kept by utterance, so meters merge in any order and the interval still resamples
    whole utterances. An utterance may come in several batches.

    Example:
        >>> import torch
        >>> from overlap import OverlapMeter, measure
        >>> meter, scores = OverlapMeter(k=2, states="fixed"), torch.randn(3, 4, 8)
        >>> meter.update(measure(scores, scores, k=2), groups=["a", "b", "c"])
        >>> meter.compute()["overlap_ratio"].value
        1.0

    Args:
        k: size of the top-k sets of all that is added.
        temperature: of all that is added.
        states: whose states these are.
        level: coverage of the intervals.
        draws: bootstrap resamples.
        seed: of the resampling.
    """

    def __init__(
        self,
        *,
        k: int = 32,
        temperature: float = 1.0,
        states: str | None = None,
        level: float = 0.95,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> None:
        self.k = k
        self.temperature = temperature
        self.states = states
        self.level = level
        self.draws = draws
        self.seed = seed
        self.reset()

    @property
    def sums(self) -> GroupSums:
        """Everything added so far, by utterance."""
        if len(self._parts) > 1:
            self._parts = [GroupSums.merged(self._parts)]
        return self._parts[0]

    def update(self, statistics: TokenStatistics, groups: Groups) -> None:
        """Add a batch.

        Args:
            statistics: of leading shape ``[...]``, taken with the meter's k and temperature.
            groups: the utterance of each position, as in `TokenStatistics.summary`; names must be unique across
                batches, so there is no default.

        Raises:
            ValueError: if k or temperature differ, or groups do not fit.
        """
        self._check(statistics.k, statistics.temperature, "statistics")
        self._add(GroupSums.from_values(statistics.values(), groups, mask=statistics.mask))

    def merge(self, other: "OverlapMeter") -> None:
        """Add all that another meter holds; in which order meters are merged does not matter (see `reduce`).

        Raises:
            ValueError: if its k, temperature or states differ.
        """
        self._check(other.k, other.temperature, "meter")
        if other.states != self.states:
            raise ValueError(
                f"meter: expected states {self.states!r}, received {other.states!r}; statistics of different states "
                "are not averaged together, keep one meter for each"
            )
        self._add(other.sums)

    def compute(self) -> OverlapSummary:
        """Summary of everything added so far."""
        return OverlapSummary.from_group_sums(
            self.sums,
            k=self.k,
            temperature=self.temperature,
            states=self.states,
            level=self.level,
            draws=self.draws,
            seed=self.seed,
        )

    def reduce(self, group: Any = None) -> "OverlapMeter":
        """A new meter with what all ranks hold, the same on each; a copy where torch.distributed is not initialised.

        This meter is left as it is, so that nothing is counted twice when accumulation goes on. However the positions
        are spread over ranks, counts are the same bits. So are the sums of an utterance that one rank has to itself;
        where ranks share it, the order of addition is another and its sums are equal to 1e-12.

        Args:
            group: process group, the default one if None. Every rank of it must call, those without data as well.

        Raises:
            ValueError: if this rank is not in the group, or the ranks' meters differ in k, temperature or states.
        """
        total = self._like()
        for state in gathered(self.state_dict(), group):
            part = self._like()
            part.load_state_dict(state)
            total.merge(part)
        return total

    def reset(self) -> None:
        """Forget everything added."""
        self._parts = [GroupSums.empty(tuple(TOKEN_STATISTICS))]

    def state_dict(self) -> dict[str, Any]:
        """What has been added, as numbers, strings, lists and tensors, which `torch.load` reads by default."""
        held = self.sums
        return {
            "k": self.k,
            "temperature": self.temperature,
            "states": self.states,
            "names": list(held.names),
            "keys": list(held.keys),
            "sums": torch.from_numpy(held.sums.copy()),
            "counts": torch.from_numpy(held.counts.copy()),
            "undefined": torch.from_numpy(held.undefined.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace what has been added by a saved state.

        Raises:
            ValueError: if the state was saved with another k, temperature, states or set of statistics.
        """
        self._check(state["k"], state["temperature"], "state")
        if state["states"] != self.states:
            raise ValueError(f"state: expected states {self.states!r}, received {state['states']!r}")
        names = tuple(TOKEN_STATISTICS)
        if tuple(state["names"]) != names:
            raise ValueError(
                f"state: expected the statistics {list(names)}, received {list(state['names'])}; "
                "it was saved by another version"
            )
        sums, counts, undefined = (
            torch.as_tensor(state[name], dtype=dtype, device="cpu").clone().reshape(-1, len(names)).numpy()
            for name, dtype in (("sums", torch.float64), ("counts", torch.int64), ("undefined", torch.int64))
        )
        self._parts = [GroupSums(names, tuple(state["keys"]), sums, counts, undefined)]

    def _add(self, part: GroupSums) -> None:
        # Merging sorts all utterances, so it waits until as many rows have come as there are already.
        self._parts.append(part)
        if sum(len(late.keys) for late in self._parts[1:]) > max(1024, len(self._parts[0].keys)):
            self._parts = [GroupSums.merged(self._parts)]

    def _like(self) -> "OverlapMeter":
        return OverlapMeter(
            k=self.k,
            temperature=self.temperature,
            states=self.states,
            level=self.level,
            draws=self.draws,
            seed=self.seed,
        )

    def _check(self, k: int, temperature: float, what: str) -> None:
        if (k, temperature) != (self.k, self.temperature):
            raise ValueError(
                f"{what}: expected k = {self.k} and temperature = {self.temperature:g} like the meter, received "
                f"k = {k} and temperature = {temperature:g}; keep one meter for each setting"
            )
