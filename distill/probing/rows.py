"""What a probe found, as rows: of the folders of a run directory, and of the file of `distill probe --output`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import overlap
from overlap.estimates.group_readings import GroupReadings

from ..run.run_directory import CALIBRATION, GROUPS, PROBES, SIGNAL, TOKEN_RULES
from .probe import StateProbe

SIZE = "utterances"
"""Statistic of the row that every group has, also one that is too small for others."""


def probe_tables(result: StateProbe, groups: Sequence[GroupReadings] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return a probe's rows by folder of a run directory, without their place in a run; none of what was not measured.

    Args:
        result: The probe.
        groups: Its readings by group, for each field.
    """
    panel, references = result.panel, result.references
    rules = [] if panel is None else panel.estimates()
    tables: dict[str, list[dict[str, Any]]] = {
        PROBES: [*_readings(result), *_funnel(result)],
        TOKEN_RULES: [
            {"rule": rule, "other": other, "quantity": quantity, **estimate.to_dict()}
            for rule, other, quantity, estimate in rules
        ],
        SIGNAL: [] if references is None else references.signal.rows(),
        CALIBRATION: [] if references is None else references.calibration.rows(),
        GROUPS: list(_groups(groups)),
    }
    return {folder: [{"states": result.states, **row} for row in rows] for folder, rows in tables.items()}


def _readings(result: StateProbe) -> Iterator[dict[str, Any]]:
    for name, estimate in result.readings.items():
        yield {"statistic": name, **estimate.to_dict()}


def _funnel(result: StateProbe) -> Iterator[dict[str, Any]]:
    """Yield a row for each bin of the funnel (`funnel.used`, …; value = positions), and one for the number of used
    positions in rollouts that did not end (`funnel.used_unfinished`)."""
    for name, count in result.funnel.to_dict().items():
        counted = overlap.Estimate(
            float(count), math.nan, math.nan, math.nan, result.funnel.total, len(result.rollouts), 0
        )
        yield {"statistic": f"funnel.{name}", **counted.to_dict()}


def _groups(found: Sequence[GroupReadings]) -> Iterator[dict[str, Any]]:
    """Yield a row for each reading of a group, and one with the size of every group."""
    for one in found:
        unnamed: dict[str | None, int] = {None: one.unnamed} if one.unnamed else {}
        for group, n in ({**one.sizes} | unnamed).items():
            size = overlap.Estimate(float(n), math.nan, math.nan, math.nan, n, n)
            yield {"field": one.field, "group": group, "statistic": SIZE, **size.to_dict()}
        for group, readings in one.groups.items():
            for name, estimate in readings.items():
                yield {"field": one.field, "group": group, "statistic": name, **estimate.to_dict()}
