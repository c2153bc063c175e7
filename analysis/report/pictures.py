"""Figures as pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..figures import overlap_over_training
from ..load import Run

LARGEST_SVG = 400_000
"""Bytes from which a picture is stored as pixels instead: densities of many points."""


@dataclass(frozen=True)
class Picture:
    """A figure with what it says.

    Attributes:
        title: Above it.
        text: What it shows, for those who do not see it, and below it for all.
        uri: The picture, as `data:` of SVG or PNG on a transparent ground.
    """

    title: str
    text: str
    uri: str


def pictures(run: Run) -> list[Picture]:
    """The figures of a run, in the order they are read."""
    return [
        Picture(
            "Overlap and error rate through the stages",
            "Statistics of overlap and the error rate over training steps, with 95 % intervals; the ground says which "
            "stage the run is in, vertical lines are the gates' switches.",
            _drawn(lambda: overlap_over_training(run)[0].figure),
        )
    ]


def _drawn(draw: Callable[[], Figure]) -> str:
    settings: dict[Any, Any] = {"svg.hashsalt": "support-overlap", "svg.fonttype": "path", "savefig.transparent": True}
    with mpl.rc_context(settings), plt.ioff():
        figure = draw()
        try:
            return data_uri(figure)
        finally:
            plt.close(figure)


def data_uri(figure: Figure) -> str:
    """A figure as SVG, or as PNG where that would be large."""
    vector = io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None}, bbox_inches="tight")
    kind, drawn = "svg+xml", vector.getvalue()
    if len(drawn) > LARGEST_SVG:
        pixels = io.BytesIO()
        figure.savefig(pixels, format="png", dpi=180, bbox_inches="tight")
        kind, drawn = "png", pixels.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(drawn).decode('ascii')}"
