"""Readings of a probe for groups of its utterances, such as every language."""

from __future__ import annotations

from collections.abc import Sequence

from overlap.estimates.group_readings import GroupReadings, group_readings

from ..data.groups import FieldGroups
from .probe import StateProbe


def readings_by_group(probed: StateProbe, fields: Sequence[FieldGroups]) -> tuple[GroupReadings, ...]:
    """Return every reading of a probe for each large enough group, one result for each field.

    They are averages of the probe's sums by utterance, so nothing is measured twice.

    Args:
        probed: On one kind of states.
        fields: Groups of the probed utterances; where these are pieces, of their recordings.
    """
    names = [name for name in probed.sums.names if name in probed.readings]
    sums = probed.sums.chosen({name: name for name in names}).regrouped(probed.recordings)
    return tuple(group_readings(sums, one.values, one.field, least=one.least, ranges=probed.ranges) for one in fields)
