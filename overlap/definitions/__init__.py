"""Definitions of all statistics: unit, formula, range, where undefined, source and reading, in the order shown.

``python -m overlap.definitions`` prints them as a page, which is kept as ``overlap/STATISTICS.md``.
"""

from overlap.definitions.bounded_statistics import BOUNDED_STATISTICS, DECIDED_BY_TOP_K
from overlap.definitions.calibration_readings import CALIBRATION_READINGS
from overlap.definitions.checkpoint_statistics import CHECKPOINT_STATISTICS
from overlap.definitions.definition import Definition
from overlap.definitions.names import ALL, by_canonical_name, canonical, checked
from overlap.definitions.probe_statistics import PROBE_STATISTICS
from overlap.definitions.sequence_statistics import SEQUENCE_STATISTICS
from overlap.definitions.signal_readings import SIGNAL_READINGS
from overlap.definitions.token_statistics import TOKEN_STATISTICS
from overlap.definitions.value_ranges import Ranges

__all__ = [
    "BOUNDED_STATISTICS",
    "CALIBRATION_READINGS",
    "CHECKPOINT_STATISTICS",
    "DECIDED_BY_TOP_K",
    "PROBE_STATISTICS",
    "SEQUENCE_STATISTICS",
    "SIGNAL_READINGS",
    "TOKEN_STATISTICS",
    "Definition",
    "Ranges",
    "by_canonical_name",
    "canonical",
    "checked",
    "label_of",
    "unit_of",
]


def unit_of(name: str) -> str:
    """Return the unit of a statistic, empty for a name that is not defined here."""
    return ALL[name].unit if name in ALL else ""


def label_of(name: str) -> str:
    """Return the name as it is printed: with its alias where it has one."""
    alias = ALL[name].alias if name in ALL else None
    return f"{name} ({alias})" if alias else name
