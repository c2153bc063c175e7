"""Sums of a probe over batches: exact statistics, and both bounds of inexact ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

import overlap
from overlap.bounds import BoundsSummary
from overlap.definitions import Ranges
from overlap.estimates.group_sums import GroupSums
from overlap.statistics.forms import form_estimates, form_masks, form_sums

from ..recipe.gate_statistics import ENDS, UNDECIDED
from ..scoring.scores import Scores


class ProbeSums:
    """Sums by utterance of every batch so far.

    Args:
        k: Size of the supports.
        states: Whose transcripts are scored.
        recordings: The recording of each utterance that is a piece of one: intervals are over recordings.
    """

    def __init__(self, k: int, states: str, recordings: Mapping[str, str] | None = None) -> None:
        self._k, self._states, self._recordings = k, states, recordings or {}
        self._exact: list[GroupSums] = []
        self._ends: list[tuple[GroupSums, GroupSums]] = []
        self._forms: list[dict[str, GroupSums]] = []
        self._ranges: Ranges | None = None

    def add(self, scores: Scores, names: Sequence[str], teacher_lengths: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            scores: Of the batch.
            names: Its utterances.
            teacher_lengths: [utterances] positions of the teacher's transcripts, negative where one did not end; None
                if they are not known.
        """
        self._exact.append(GroupSums.from_values(scores.statistics(), names, mask=scores.used))
        found = scores.bounds()
        if found is not None:
            lower, upper = (GroupSums.from_values(ends, names, mask=found.mask) for ends in (found.lower, found.upper))
            self._ends.append((lower, upper))
        written = scores.transcripts
        masks = form_masks(written.ids, written.mask, written.finished, teacher_lengths=teacher_lengths)
        self._forms.append(form_sums(scores.readable(), masks, names, used=scores.used))
        self._ranges = scores.ranges if self._ranges is None else self._ranges.joined(scores.ranges)

    def estimates(self) -> overlap.OverlapSummary:
        """Return averages of the exact statistics over all batches."""
        sums = GroupSums.merged(self._exact).regrouped(self._recordings)
        return overlap.OverlapSummary.from_group_sums(sums, k=self._k, ranges=self._ranges)

    def forms(self) -> dict[str, overlap.Estimate]:
        """Averages over the positions of each form, such as `top1_agreement.without_repeats`."""
        parts = [{form: sums.regrouped(self._recordings) for form, sums in part.items()} for part in self._forms]
        return form_estimates(parts, ranges=self._ranges)

    @property
    def ranges(self) -> Ranges:
        """Limits of the statistics."""
        return self._ranges or Ranges(self._k)

    def sums(self) -> GroupSums:
        """Sums by utterance of everything that is averaged: exact statistics, ends of inexact ones, and forms."""
        parts = [GroupSums.merged(self._exact)]
        for end, sums in zip(ENDS, zip(*self._ends, strict=True), strict=False):
            merged = GroupSums.merged(sums)
            parts.append(merged.chosen({name: f"{name}.{end}" for name in merged.names if name in UNDECIDED}))
        forms = dict.fromkeys(form for part in self._forms for form in part)
        parts += [GroupSums.merged([part[form] for part in self._forms if form in part]) for form in forms]
        return GroupSums.side_by_side(parts)

    def bounds(self) -> BoundsSummary | None:
        """Return averages of both bounds; None if every statistic is exact."""
        if not self._ends:
            return None
        lower, upper = (GroupSums.merged(parts).regrouped(self._recordings) for parts in zip(*self._ends, strict=True))
        return BoundsSummary.from_group_sums(lower, upper, k=self._k, ranges=self._ranges, states=self._states)
