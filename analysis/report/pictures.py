"""Figures as pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures import (
    funnel,
    mass_distribution,
    overlap_over_training,
    position_profile,
    reliability,
    shadow_rules,
    signal_over_training,
    strata,
    termination,
    vuss_decomposition,
    wer_against_overlap,
)
from ..run.load import Run

WIDTH = 5.0
"""Inches of figures that stand side by side."""
LARGEST_SVG = 400_000
"""Size in bytes above which a picture is stored as pixels: densities of many points."""


@dataclass(frozen=True)
class Picture:
    """A figure with its description.

    Attributes:
        title: Above it.
        text: Its description, used as alternative text and caption.
        uri: The picture, as `data:` of SVG or PNG on a transparent ground.
        wide: Whether it takes the page's width; others stand side by side.
    """

    title: str
    text: str
    uri: str
    wide: bool = False


def pictures(run: Run) -> list[Picture]:
    """Return the figures of a run in reading order; figures without data are left out."""
    found = []
    if run.probed is None:
        found.append(
            _picture(
                "Overlap and error rate through the stages",
                "Overlap and error rate over training steps, with 95 % intervals. The background shows the stage, "
                "vertical lines are switches, dashed where a gate fell back.",
                lambda: overlap_over_training(run)[0],
                wide=True,
            )
        )
    found += _against_references(run)  # as wide as the first
    if len(run.probes):
        if run.probed is None:
            found.append(
                _picture(
                    "The end of transcripts through the stages",
                    "Whether the student's transcripts end, at how many ends it finds the end likely, both models' "
                    "probability of the end, ends in 1,000 tokens and repetition, with 95 % intervals. Read it before "
                    "overlap: loops agree.",
                    lambda: termination(run)[0],
                    wide=True,
                )
            )
        found += [
            _picture(
                "VUSS and its parts",
                "The mean union of the two supports before and after each stage: student's only, shared, teacher's "
                "only. VUSS also falls when sets are smaller.",
                lambda: vuss_decomposition(run, ("student",), width=WIDTH)[0],
            ),
            _picture(
                "Position funnel",
                "Positions of the probe set: used, or left out for one of these reasons.",
                lambda: funnel(run, width=WIDTH),
            ),
        ]
    if len(run.evaluations) and len(run.probes):
        found.append(
            _picture(
                f"{run.error_rate.upper()} against overlap",
                "The student's error rate against top-1 agreement, a point per evaluated checkpoint, in order.",
                lambda: wer_against_overlap(run, width=WIDTH),
            )
        )
    found += _of_traces(run) if len(run.traces) else []
    if len(run.token_rules):
        found.append(
            _picture(
                "What rules for single positions would keep",
                "Share of positions that each rule keeps and its mean weight, with 95 % intervals; for every two rules "
                "the Jaccard index of what they keep, and the Spearman correlation of their weights. Training does not "
                "use it.",
                lambda: shadow_rules(run)[0],
                wide=True,
            )
        )
    return found


def _against_references(run: Run) -> list[Picture]:
    found = []
    if len(run.calibration):
        found.append(
            _picture(
                "Calibration of tokens",
                "Bars are mean probabilities of tokens in bins of equal mass, dots the share that is right, with 95 % "
                "intervals: a dot below its bar is overconfidence. Start and end of each stage.",
                lambda: reliability(run)[0],
                wide=True,
            )
        )
    if len(run.signal) and run.probed is None:
        found.append(
            _picture(
                "Signal over training",
                "How well the teacher's mean log-probability and top-1 agreement tell right transcripts from wrong "
                "ones (AUROC), with 95 % intervals; 0.5 is chance, below 0.65 a statistic is of no use.",
                lambda: signal_over_training(run),
                wide=True,
            )
        )
    return found


def _of_traces(run: Run) -> list[Picture]:
    return [
        _picture(
            "Along the utterance",
            "Top-1 agreement from the first to the last token of the traced transcripts, with 95 % intervals.",
            lambda: position_profile(run, relative=True, width=WIDTH),
        ),
        _picture(
            "Teacher's mass on the student's set",
            "Share of traced positions with at most this mass, at the start and after each stage.",
            lambda: mass_distribution(run, width=WIDTH),
        ),
        _picture(
            "By class of token",
            "Top-1 agreement by the class of the student's token, with 95 % intervals.",
            lambda: strata(run, width=WIDTH),
        ),
        *(_by_correctness(run) if bool(run.traces["reference"].notna().to_numpy().any()) else ()),
    ]


def _by_correctness(run: Run) -> list[Picture]:
    return [
        _picture(
            "By correctness of the token",
            "Top-1 agreement by whether the student's token is right, from an alignment of words with the reference, "
            "with 95 % intervals. Agreement where tokens are wrong is agreement in the error.",
            lambda: strata(run, "correctness", width=WIDTH),
        )
    ]


def _picture(title: str, text: str, draw: Callable[[], Axes], *, wide: bool = False) -> Picture:
    return Picture(title, text, _drawn(draw), wide)


def _drawn(draw: Callable[[], Axes]) -> str:
    settings: dict[Any, Any] = {"svg.hashsalt": "support-overlap", "svg.fonttype": "path", "savefig.transparent": True}
    with mpl.rc_context(settings), plt.ioff():
        figure = cast(Figure, draw().figure)
        try:
            return data_uri(figure)
        finally:
            plt.close(figure)


def data_uri(figure: Figure) -> str:
    """Return a figure as SVG, or as PNG if the SVG would be large."""
    vector = io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None}, bbox_inches="tight")
    kind, drawn = "svg+xml", vector.getvalue()
    if len(drawn) > LARGEST_SVG:
        pixels = io.BytesIO()
        figure.savefig(pixels, format="png", dpi=180, bbox_inches="tight")
        kind, drawn = "png", pixels.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(drawn).decode('ascii')}"
