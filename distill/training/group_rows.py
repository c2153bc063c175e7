"""What a probe says of groups of its utterances, for gates and for the run directory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import overlap
from overlap.definitions import Ranges
from overlap.definitions.group_names import in_group
from overlap.definitions.names import change_of
from overlap.estimates.group_readings import GroupReadings
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.paired_change import paired_change

from ..data.groups import FieldGroups

SIZE = "utterances"
"""Statistic of the row that every group has, also one that is too small for others."""


def group_rows(states: str, found: Sequence[GroupReadings], place: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows of `probe_groups/`: one per reading of a group, and one with the size of every group.

    Args:
        states: Of the probe.
        found: Its readings, by field.
        place: Step, visit and stage.
    """
    rows: list[dict[str, Any]] = []
    for one in found:
        common = {**place, "states": states, "field": one.field}
        unnamed: dict[str | None, int] = {None: one.unnamed} if one.unnamed else {}
        for group, n in ({**one.sizes} | unnamed).items():
            size = overlap.Estimate(float(n), math.nan, math.nan, math.nan, n, n)
            rows.append({**common, "group": group, "statistic": SIZE, **size.to_dict()})
        for group, readings in one.groups.items():
            rows += [
                {**common, "group": group, "statistic": name, **estimate.to_dict()}
                for name, estimate in readings.items()
            ]
    return rows


def group_estimates(states: str, found: Sequence[GroupReadings]) -> dict[str, overlap.Estimate]:
    """Return the readings as gates read them: `language=de/end_of_text`, `language=de/fixed.union_size`.

    Args:
        states: Of the probe.
        found: Its readings, by field.
    """
    prefix = "" if states == "student" else f"{states}."
    return {
        in_group(one.field, group, f"{prefix}{name}"): estimate
        for one in found
        for group, readings in one.groups.items()
        for name, estimate in readings.items()
    }


def group_changes(
    name: str, before: GroupSums, after: GroupSums, fields: Sequence[FieldGroups], ranges: Ranges
) -> Iterator[tuple[str, overlap.Estimate]]:
    """Yield the change of one statistic since the probe before, for each group: name and estimate.

    Args:
        name: Of the change, as gates have it.
        before: Sums of the statistic at the probe before.
        after: Its sums now.
        fields: Groups of the probed utterances.
        ranges: Limits of the statistic.
    """
    [statistic] = after.names
    for one in fields:
        for group, ids in one.large.items():
            change = paired_change(before.of(ids), after.of(ids), ranges=ranges)[change_of(statistic)]
            yield in_group(one.field, group, name), change
