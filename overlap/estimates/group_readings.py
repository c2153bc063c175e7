"""The readings of a set for groups of its utterances, such as every language, from the sums by utterance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from overlap.definitions import Ranges
from overlap.definitions.group_names import LEAST, check_field, named_by_group
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import GroupSums, Key
from overlap.estimates.number_formatting import plural, significant, span
from overlap.estimates.summary import estimate
from overlap.estimates.table_formatting import TitledTable
from overlap.plain_json import plain

SHOWN = (
    "end_of_text",
    "repetition",
    "top1_agreement.without_repeats",
    "total_variation.without_repeats",
    "student_mass",
    "teacher_mass",
)
"""Readings that are printed of each group, the end of text first."""


@dataclass(frozen=True, repr=False)
class GroupReadings(TitledTable):
    """Readings of every group of a field that is large enough, and the sizes of all. Prints the first ones to read.

    Attributes:
        field: whose values the groups are, such as ``language``.
        groups: estimates by name, by group; the largest group first.
        sizes: number of utterances of every group, of small ones as well; the largest first.
        unnamed: utterances without a value of the field, which are in no group.
        least: fewest utterances of a group with readings.
    """

    field: str
    groups: Mapping[str, Mapping[str, Estimate]]
    sizes: Mapping[str, int]
    unnamed: int = 0
    least: int = LEAST

    @property
    def small(self) -> dict[str, int]:
        """Groups that are too small for readings, with their number of utterances."""
        return {group: n for group, n in self.sizes.items() if group not in self.groups}

    @property
    def readings(self) -> dict[str, Estimate]:
        """All of them as a gate reads them, such as ``language=de/end_of_text``."""
        return named_by_group(self.groups, self.field)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as a tree that JSON can hold."""
        groups = {group: {name: one.to_dict() for name, one in of.items()} for group, of in self.groups.items()}
        return plain({"groups": groups, "sizes": dict(self.sizes), "unnamed": self.unnamed})

    def _title(self) -> str:
        small = ", ".join(f"{group} ({n})" for group, n in self.small.items())
        parts = [f"by {self.field}, intervals over the utterances of each"]
        parts += [f"without readings, fewer than {self.least} utterances: {small}"] if small else []
        parts += [f"{self.unnamed:,} {plural('utterance', self.unnamed)} without one"] if self.unnamed else []
        return "; ".join(parts)

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        level = next((100 * one.level for of in self.groups.values() for one in of.values()), 95)
        heading = [self.field, "utterances", "statistic", "value", f"{level:g}% interval", "positions", "undefined"]
        rows = [
            [
                *(group, f"{self.sizes[group]:,}", name, significant(one.value), span(one.low, one.high)),
                *(f"{one.n_positions:,}", f"{one.n_undefined:,}"),
            ]
            for group, readings in self.groups.items()
            for name, one in readings.items()
            if name in SHOWN
        ]
        return heading, rows


def group_readings(
    sums: GroupSums,
    values: Mapping[Any, str | None],
    field: str,
    *,
    least: int = LEAST,
    ranges: Ranges | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> GroupReadings:
    """Return every average over the utterances of each group, with intervals over these utterances.

    The readings of a group are those that a set of its utterances alone would have.

    Args:
        sums: by utterance; several statistics side by side, see `GroupSums.side_by_side`.
        values: the group of each utterance by its key in the sums, None where it has none.
        field: whose values these are, such as ``language``.
        least: fewest utterances of a group with readings.
        ranges: limits of the statistics.
        level: coverage of the intervals.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: if an utterance of the sums has no entry in the values, or the field cannot be named.

    Example:
        >>> sums = GroupSums.from_values({"end_of_text": np.array([1.0, 1.0, 0.0])}, ["a", "b", "c"])
        >>> found = group_readings(sums, {"a": "de", "b": "de", "c": "en"}, "language", least=2)
        >>> found.readings["language=de/end_of_text"].value, found.small
        (1.0, {'en': 1})
    """
    check_field(field, "field")
    if missing := [key for key in sums.keys if key not in values]:
        raise UserError(
            f"values: utterance {missing[0]!r} of the sums has none; give every utterance its {field}, None where it "
            "is not known"
        )
    members: dict[str, list[Key]] = {}
    for key in sums.keys:
        if (value := values[key]) is not None:
            members.setdefault(value, []).append(key)
    largest_first = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    settings = {"ranges": ranges, "level": level, "draws": draws, "seed": seed}
    groups = {group: estimates(sums.of(keys), **settings) for group, keys in largest_first if len(keys) >= least}
    sizes = {group: len(keys) for group, keys in largest_first}
    return GroupReadings(field, groups, sizes, len(sums.keys) - sum(sizes.values()), least)


def estimates(
    sums: GroupSums,
    *,
    ranges: Ranges | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return averages of statistics side by side, each over the utterances that have a position of it.

    `overlap.estimates.summary.estimate` draws its resamples from all utterances of the sums. Of a form such as
    ``at_end`` some have no position, so a probe averages it over the others alone; this does the same.

    Args:
        sums: by utterance.
        ranges: limits of the statistics.
        level: coverage of the intervals.
        draws: bootstrap resamples.
        seed: of the resampling.

    Returns:
        By name, in the order of the sums; NaN without a position.
    """
    there = sums.counts + sums.undefined > 0
    alike: dict[bytes, list[str]] = {}
    for column, name in enumerate(sums.names):
        alike.setdefault(there[:, column].tobytes(), []).append(name)
    found: dict[str, Estimate] = {}
    for names in alike.values():
        rows = np.flatnonzero(there[:, sums.names.index(names[0])])
        if len(rows):
            part = sums.chosen({name: name for name in names}).of([sums.keys[row] for row in rows])
            found |= estimate(part, ranges=ranges, level=level, draws=draws, seed=seed)
        else:
            nan = float("nan")
            found |= dict.fromkeys(names, Estimate(nan, nan, nan, nan, 0, 0, 0, level))
    return {name: found[name] for name in sums.names}
