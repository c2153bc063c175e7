"""What a probe adds up over batches: statistics where both models' logits are here, both ends where they are not."""

from __future__ import annotations

from torch import Tensor

import overlap
from overlap.definitions import Ranges

from ..data.batch import Batch
from ..models import Transcripts
from ..pair.comparison import Comparison, compare
from ..pair.listed import ListedComparison, compare_lists
from ..pair.pair import Pair
from ..recipe import Support


class LogitsTally:
    """Token statistics of both models' logits."""

    def __init__(self, support: Support, states: str) -> None:
        self._meter = overlap.OverlapMeter(k=support.k, temperature=support.temperature, states=states)

    def add(
        self, pair: Pair, batch: Batch, transcripts: Transcripts, support: Support
    ) -> tuple[Comparison, dict[str, Tensor]]:
        """Compare a batch; returns the comparison and [batch, length] values by statistic."""
        comparison = compare(pair, batch, transcripts, support)
        statistics = comparison.statistics()
        self._meter.update(statistics, names=[utterance.id for utterance in batch.utterances])
        return comparison, statistics.values()

    def estimates(self) -> overlap.OverlapSummary:
        """Averages over all batches."""
        return self._meter.compute()

    def bounds(self, support: Support, states: str) -> None:
        """Nothing is left open."""
        del support, states


class ListTally:
    """What a served teacher's lists decide, and both ends of every bounded statistic."""

    def __init__(self) -> None:
        self._decided: list[overlap.GroupSums] = []
        self._lower: list[overlap.GroupSums] = []
        self._upper: list[overlap.GroupSums] = []
        self._ranges: Ranges | None = None

    def add(
        self, pair: Pair, batch: Batch, transcripts: Transcripts, support: Support
    ) -> tuple[ListedComparison, dict[str, Tensor]]:
        """Compare a batch; returns the comparison and [batch, length] values by statistic, ends by their names."""
        comparison = compare_lists(pair, batch, transcripts, support)
        found, ids = comparison.bounds(), [utterance.id for utterance in batch.utterances]
        self._ranges = found.ranges if self._ranges is None else self._ranges.joined(found.ranges)
        decided = {**found.decided(), **comparison.own_statistics()}
        for parts, values in (
            (self._decided, decided),
            (self._lower, found.lower),
            (self._upper, found.upper),
        ):
            parts.append(overlap.GroupSums.from_values(values, ids, mask=found.mask))
        ends = {f"{name}.lower": value for name, value in found.lower.items()}
        ends |= {f"{name}.upper": value for name, value in found.upper.items()}
        return comparison, {**decided, **ends}

    def estimates(self) -> dict[str, overlap.Estimate]:
        """Averages of what is decided."""
        sums = overlap.GroupSums.merged(self._decided)
        return dict(overlap.OverlapSummary.from_group_sums(sums, ranges=self._ranges))

    def bounds(self, support: Support, states: str) -> overlap.BoundsSummary:
        """Averages of both ends."""
        lower, upper = (overlap.GroupSums.merged(parts) for parts in (self._lower, self._upper))
        return overlap.BoundsSummary.from_group_sums(lower, upper, k=support.k, ranges=self._ranges, states=states)
