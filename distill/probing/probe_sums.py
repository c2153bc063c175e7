"""Sums of a probe over batches: exact statistics, and both bounds of inexact ones."""

from __future__ import annotations

from collections.abc import Sequence

import overlap
from overlap.bounds import BoundsSummary
from overlap.definitions import Ranges
from overlap.estimates.group_sums import GroupSums

from ..scoring.scores import Scores


class ProbeSums:
    """Sums by utterance of every batch so far.

    Args:
        k: Size of the supports.
        states: Whose transcripts are scored.
    """

    def __init__(self, k: int, states: str) -> None:
        self._k, self._states = k, states
        self._exact: list[GroupSums] = []
        self._ends: list[tuple[GroupSums, GroupSums]] = []
        self._ranges: Ranges | None = None

    def add(self, scores: Scores, names: Sequence[str]) -> None:
        """Add a batch.

        Args:
            scores: Of the batch.
            names: Its utterances.
        """
        self._exact.append(GroupSums.from_values(scores.statistics(), names, mask=scores.used))
        found = scores.bounds()
        if found is not None:
            lower, upper = (GroupSums.from_values(ends, names, mask=found.mask) for ends in (found.lower, found.upper))
            self._ends.append((lower, upper))
        self._ranges = scores.ranges if self._ranges is None else self._ranges.joined(scores.ranges)

    def estimates(self) -> overlap.OverlapSummary:
        """Return averages of the exact statistics over all batches."""
        return overlap.OverlapSummary.from_group_sums(GroupSums.merged(self._exact), k=self._k, ranges=self._ranges)

    def bounds(self) -> BoundsSummary | None:
        """Return averages of both bounds; None if every statistic is exact."""
        if not self._ends:
            return None
        lower, upper = (GroupSums.merged(parts) for parts in zip(*self._ends, strict=True))
        return BoundsSummary.from_group_sums(lower, upper, k=self._k, ranges=self._ranges, states=self._states)
