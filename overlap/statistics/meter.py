"""Streaming accumulation of token statistics, over batches and over ranks."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from overlap.arguments import whole_number
from overlap.definitions import TOKEN_STATISTICS, Ranges
from overlap.definitions.names import check_states
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.distributed import gathered
from overlap.estimates.group_sums import Groups, GroupSums
from overlap.estimates.summary import OverlapSummary
from overlap.statistics.measure import TokenStatistics


class OverlapMeter:
    """Accumulates `TokenStatistics` over batches; the summary is the same as from all positions at once.

    Sums are float64 and counts int64, kept by utterance, so meters merge in any order and the interval still resamples
    whole utterances. Each row of each batch on each rank is a separate utterance, unless `update` gets groups or names.
    Names are needed only if an utterance is split over several batches.

    Example:
        >>> import torch
        >>> from overlap import OverlapMeter, measure
        >>> meter, scores = OverlapMeter(k=2, states="fixed"), torch.randn(3, 4, 8)
        >>> meter.update(measure(scores, scores, k=2))
        >>> meter.compute()["overlap_ratio"].value
        1.0

    Args:
        k: size of the supports of all that is added.
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
        check_states(states)
        self.k = k if (whole := whole_number(k)) is None else whole
        self.temperature = temperature
        self.states = states
        self.level = level
        self.draws = draws
        self.seed = seed
        self.reset()

    @property
    def sums(self) -> GroupSums:
        """Everything added so far, by utterance: first those without a name, numbered in order of arrival."""
        named = self._named()
        rows = GroupSums.joined(self._rows, named.names)
        if not named.keys:
            return rows
        keys = tuple(f"row {key}" for key in rows.keys) + named.keys
        return replace(GroupSums.joined([rows, named], named.names), keys=keys)

    def update(self, statistics: TokenStatistics, groups: Groups | None = None, *, names: Groups | None = None) -> None:
        """Add a batch.

        Args:
            statistics: of leading shape ``[...]``, taken with the meter's k and temperature.
            groups: the utterance of each position *within this batch*, as in `TokenStatistics.summary`: default the
                first axis; of packed rows see `overlap.packed_groups`. The same number in another batch is another
                utterance.
            names: instead of groups, names of utterances that are valid for all batches, meters and ranks: all
                positions with one name belong to one utterance.

        Raises:
            UserError: if k or temperature differ, groups or names do not fit, or both are given.
        """
        self._check(statistics.k, statistics.temperature, "statistics")
        if groups is not None and names is not None:
            raise UserError("update: expected groups (of this batch) or names (of all batches), received both")
        values, mask = statistics.values(), statistics.mask
        if names is not None:
            self._add_named(GroupSums.from_values(values, names, mask=mask))
        else:
            self._rows.append(
                GroupSums.from_values(values, statistics.default_groups() if groups is None else groups, mask=mask)
            )
        self._widen(statistics.ranges)

    def merge(self, other: "OverlapMeter") -> None:
        """Add everything that another meter holds.

        Values and counts do not depend on the order in which meters are merged. Without utterance names, bounds of
        intervals change with the order, by no more than the bootstrap's random error.

        Raises:
            UserError: if its k, temperature or states differ.
        """
        self._check(other.k, other.temperature, "meter")
        if other.states != self.states:
            raise UserError(
                f"meter: expected states {self.states!r}, received {other.states!r}; statistics of different states "
                "are not averaged together, keep one meter for each"
            )
        self._rows += other._rows
        self._add_named(other._named())
        if other._ranges is not None:
            self._widen(other._ranges)

    def compute(self) -> OverlapSummary:
        """Return the summary of everything added so far."""
        return OverlapSummary.from_group_sums(
            self.sums,
            k=self.k,
            temperature=self.temperature,
            states=self.states,
            ranges=self._ranges,
            level=self.level,
            draws=self.draws,
            seed=self.seed,
        )

    def reduce(self, group: Any = None) -> "OverlapMeter":
        """Return a new meter with the positions of all ranks, the same on each; a copy if torch.distributed is not
        initialized.

        This meter does not change, so accumulation can continue without counting positions twice. Counts do not depend
        on the distribution over ranks. Nor do the sums of an utterance that is on one rank; if ranks share an
        utterance, the order of addition changes its sums by up to 1e-12, relatively.

        Args:
            group: process group, the default one if None. Every rank of it must call, also ranks without data.

        Raises:
            UserError: if this rank is not in the group, or the ranks' meters differ in k, temperature or states.
        """
        total = self._like()
        for state in gathered(self.state_dict(), group):
            part = self._like()
            part.load_state_dict(state)
            total.merge(part)
        return total

    def reset(self) -> None:
        """Forget everything added."""
        self._parts, self._ranges = [GroupSums.empty(tuple(TOKEN_STATISTICS))], None
        self._rows: list[GroupSums] = []

    def state_dict(self) -> dict[str, Any]:
        """Return everything added, as numbers, strings, lists and tensors that `torch.load` reads by default."""
        named = self._named()
        held = GroupSums.joined([*self._rows, named], named.names)
        return {
            "k": self.k,
            "temperature": self.temperature,
            "states": self.states,
            "ranges": None if self._ranges is None else asdict(self._ranges),
            "names": list(held.names),
            "keys": list(named.keys),
            "sums": torch.from_numpy(held.sums.copy()),
            "counts": torch.from_numpy(held.counts.copy()),
            "undefined": torch.from_numpy(held.undefined.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace what has been added by a saved state.

        Raises:
            UserError: if the state was saved with another k, temperature, states or set of statistics.
        """
        self._check(state["k"], state["temperature"], "state")
        if state["states"] != self.states:
            raise UserError(f"state: expected states {self.states!r}, received {state['states']!r}")
        names = tuple(TOKEN_STATISTICS)
        if tuple(state["names"]) != names:
            raise UserError(
                f"state: expected the statistics {list(names)}, received {list(state['names'])}; "
                "it was saved by another version"
            )
        sums, counts, undefined = (
            torch.as_tensor(state[name], dtype=dtype, device="cpu").clone().reshape(-1, len(names)).numpy()
            for name, dtype in (("sums", torch.float64), ("counts", torch.int64), ("undefined", torch.int64))
        )
        keys, n_rows = tuple(state["keys"]), len(sums) - len(state["keys"])
        self._rows = [GroupSums(names, tuple(range(n_rows)), sums[:n_rows], counts[:n_rows], undefined[:n_rows])]
        self._parts = [GroupSums(names, keys, sums[n_rows:], counts[n_rows:], undefined[n_rows:])]
        self._ranges = None if state["ranges"] is None else Ranges(**state["ranges"])

    def _widen(self, ranges: Ranges) -> None:
        self._ranges = ranges if self._ranges is None else self._ranges.joined(ranges)

    def _named(self) -> GroupSums:
        if len(self._parts) > 1:
            self._parts = [GroupSums.merged(self._parts)]
        return self._parts[0]

    def _add_named(self, part: GroupSums) -> None:
        # Merging sorts all utterances; to amortize this, it waits until the number of rows has doubled.
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
            raise UserError(
                f"{what}: expected k = {self.k} and temperature = {self.temperature:g} like the meter, received "
                f"k = {k} and temperature = {temperature:g}; keep one meter for each setting"
            )
