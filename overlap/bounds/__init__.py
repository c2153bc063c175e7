"""Bounds of statistics when only top-k log-probabilities of the teacher are known.

A server returns nothing else. Every statistic of `overlap.measure` that needs more
then has a lower and an upper bound; `measure_bounds` computes both. They are equal when the server returns all tokens.
"""

from overlap.bounds.measure import OverlapBounds, measure_bounds
from overlap.bounds.summary import BoundsSummary
from overlap.definitions import BOUNDED_STATISTICS, DECIDED_BY_TOP_K

__all__ = ["BOUNDED_STATISTICS", "DECIDED_BY_TOP_K", "BoundsSummary", "OverlapBounds", "measure_bounds"]
