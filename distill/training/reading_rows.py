"""Rows of `token_rules/`, `signal/` and `calibration/` of a run directory, from a probe of the student's states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..probing.probe import StateProbe


def signal_rows(result: StateProbe, place: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows of `signal/`: one per statistic and quantity; none without reference texts.

    Args:
        result: The probe.
        place: Step, visit and stage.
    """
    rows = [] if result.references is None else result.references.signal.rows()
    return [{**place, "states": result.states} | row for row in rows]


def calibration_rows(result: StateProbe, place: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows of `calibration/`: one per model, unit and quantity, and one per bin; none without reference texts.

    Args:
        result: The probe.
        place: Step, visit and stage.
    """
    rows = [] if result.references is None else result.references.calibration.rows()
    return [{**place, "states": result.states} | row for row in rows]


def rule_rows(result: StateProbe, place: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows of `token_rules/`: one per number of the probe's shadow panel; none without one.

    Args:
        result: The probe.
        place: Step, visit and stage.
    """
    common = {**place, "states": result.states}
    found = [] if result.panel is None else result.panel.estimates()
    return [
        common | {"rule": rule, "other": other, "quantity": quantity, **estimate.to_dict()}
        for rule, other, quantity, estimate in found
    ]
