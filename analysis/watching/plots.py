"""Plots of one line: one column for each span of steps, in eight heights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

BLOCKS = "▁▂▃▄▅▆▇█"


def columns(steps: Sequence[float], values: Sequence[float], last_step: int, width: int) -> list[float]:
    """Return means over equal spans of steps from 0 to the last; a span without a value repeats the one before it.

    Args:
        steps: Where the values were taken, ascending.
        values: As many; NaN is left out.
        last_step: The right end.
        width: How many spans.

    Returns:
        One number for each span; NaN before the first value.
    """
    taken = [(s, v) for s, v in zip(steps, values, strict=True) if not math.isnan(v)]
    if not taken:
        return [math.nan] * width
    spans = np.array([min(width - 1, int(step * width / max(1, last_step))) for step, _ in taken])
    numbers = np.array([value for _, value in taken])
    means, before = [], math.nan
    with np.errstate(invalid="ignore"):  # both infinities in a span have no mean
        for span in range(width):
            here = numbers[spans == span]
            before = float(here.mean()) if len(here) else before
            means.append(before)
    return means


def sparkline(values: Sequence[float], least: float = 0.0) -> str:
    """Return blocks from the lowest value to the highest; a space for NaN, a middle line if all are equal.

    An infinite value is the lowest or highest block, above what is finite.

    Args:
        values: In order.
        least: Least difference between the lowest and highest block, so that nearly constant values look constant.
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return " " * len(values)
    finite = [value for value in known if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    if 0 < high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    top = len(BLOCKS) - 1

    def block(value: float) -> str:
        if math.isnan(value):
            return " "
        if math.isinf(value):
            return BLOCKS[top if value > 0 else 0]
        return BLOCKS[round(top * (value - low) / (high - low))] if high > low else BLOCKS[top // 2]

    return "".join(map(block, values))


def bar(share: float, width: int) -> str:
    """Return a bar that is filled from the left."""
    filled = round(width * min(1.0, max(0.0, share)))
    return "━" * filled + "─" * (width - filled)
