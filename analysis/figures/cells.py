"""Text in colored cells: its size, its color, and how much of it fits."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from .panels import inches, small


def readable(color: tuple[float, float, float]) -> str:
    """Return black on light, white on dark."""
    return "white" if np.dot(color, (0.299, 0.587, 0.114)) < 0.5 else "black"


def cell_text_size(panel: Axes, columns: int) -> tuple[float, int]:
    """Return the size of text in the cells, in points, and the number of characters that fit."""
    cell = 72 * inches(panel) / columns
    size = min(small(panel), max(5.0, cell / 3))
    return size, max(2, int(cell / (0.62 * size)))


def shortened(token: str, most: int) -> str:
    """Return a token, cut to so many characters."""
    return token if len(token) <= most else f"{token[: most - 1]}…"
