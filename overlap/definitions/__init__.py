"""What every statistic is: unit, formula, range, where it is undefined, source and reading, in the order shown.

``python -m overlap.definitions`` prints them as a page, which is kept as ``overlap/STATISTICS.md``.
"""

import math

from overlap.definitions.bounded import BOUNDED_STATISTICS, DECIDED_BY_TOP_K
from overlap.definitions.definition import Definition
from overlap.definitions.others import CHECKPOINT_STATISTICS, SEQUENCE_STATISTICS
from overlap.definitions.tokens import TOKEN_STATISTICS

__all__ = [
    "BOUNDED_STATISTICS",
    "CHECKPOINT_STATISTICS",
    "DECIDED_BY_TOP_K",
    "SEQUENCE_STATISTICS",
    "TOKEN_STATISTICS",
    "Definition",
    "label_of",
    "limits_of",
    "unit_of",
]

_ALL = TOKEN_STATISTICS | SEQUENCE_STATISTICS | CHECKPOINT_STATISTICS


def unit_of(name: str) -> str:
    """Unit of a statistic, empty for a name that is not defined here."""
    return _ALL[name].unit if name in _ALL else ""


def label_of(name: str) -> str:
    """The name as it is printed: with its alias where it has one."""
    alias = _ALL[name].alias if name in _ALL else None
    return f"{name} ({alias})" if alias else name


def limits_of(name: str) -> tuple[float, float]:
    """Least and largest value of a statistic; infinite for a name that is not defined here."""
    return _ALL[name].limits if name in _ALL else (-math.inf, math.inf)
