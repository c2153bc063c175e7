"""What a probe says of groups of its utterances, for gates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import overlap
from overlap.definitions import Ranges
from overlap.definitions.group_names import in_group
from overlap.definitions.names import change_of
from overlap.estimates.group_readings import GroupReadings
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.paired_change import paired_change

from ..data.groups import FieldGroups


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
