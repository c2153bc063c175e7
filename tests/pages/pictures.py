"""`python -m tests.pages.pictures` draws the pictures of the pages from the committed run of the demo."""

from collections.abc import Callable
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import distill
from analysis import Run, figures, load
from overlap import sweep
from tests.pages.code import drawing
from tests.pages.regions import ROOT

RUN = ROOT / "notebooks" / "runs" / "demo"
PICTURES = ROOT / "notebooks" / "figures"
WIDTH = 6.5
DPI = {"demo": 110, "dashboard": 60, "termination": 60}
LARGEST = 60_000
"""Bytes of a picture in `analysis/README.md`, at most."""


def swept():
    """The demo's student before training, on its rollouts of the first probe utterances."""
    pair = distill.load_pair("demo:student", "demo:teacher", k=8)
    scored = distill.score(pair, "demo:corpus/probe.jsonl", max_utterances=16)
    return sweep(
        scored.student_logits,
        scored.teacher_logits,
        ks=(1, 2, 4, 8, 16),
        temperatures=(0.5, 1.0, 2.0),
        mask=scored.used,
        blocked=pair.blocked,
        teacher_blocked=pair.teacher_blocked,
    )


def drawn(run: Run) -> dict[str, Callable[[], object]]:
    """Each figure of `analysis.figures`; `demo` is `overlap_over_training`, which the first page shows."""
    of_run = {
        name: partial(getattr(figures, name), run, width=WIDTH)
        for name in drawing()
        if not name.startswith(("dashboard", "overlap_over", "support", "k_", "temperature"))
    }
    return of_run | {
        "demo": lambda: figures.overlap_over_training(run),
        "dashboard": lambda: figures.dashboard(run),
        "support_membership": lambda: figures.support_membership(figures.choose_trace(run), width=WIDTH),
        "k_sweep": lambda: figures.k_sweep(swept(), width=WIDTH),
        "temperature_sweep": lambda: figures.temperature_sweep(swept(), width=WIDTH),
    }


def figure_of(made: object) -> Figure:
    """The figure of what a function returned: a figure, or axes."""
    if isinstance(made, Figure):
        return made
    return np.atleast_1d(np.asarray(made, dtype=object)).ravel()[0].figure


def main(names: list[str] | None = None) -> None:
    """Draw all, or the named."""
    mpl.use("Agg")
    for name, draw in drawn(load(RUN)).items():
        if not names or name in names:
            path = PICTURES / f"{name}.png"
            figure_of(draw()).savefig(path, dpi=DPI.get(name, 80), metadata={"Software": None})
            print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
