"""Data of the report's view of words: transcripts at each stage aligned with their reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..formatting import count, plural
from ..run.load import Run
from ..stages.aligned_words import COMPARED, Aligned, Checkpoint, align, checkpoints_with_transcripts, counted_texts
from ..tables.mended_words import NOT_NORMALIZED, Pair, comparable, run_pairs, stage_pairs
from .payload import compressed

BUDGET = 1_500_000
"""Bytes of the view in the page."""


@dataclass(frozen=True)
class WordView:
    """The data of the view.

    Attributes:
        data: gzip of JSON, in base64; empty where no two checkpoints can be compared.
        notes: Sentences on the data.
    """

    data: str = ""
    notes: tuple[str, ...] = ()


def word_view(runs: Mapping[str, Run], budget: int = BUDGET) -> WordView:
    """Return transcripts of all runs at their start and after each stage, aligned with the references.

    Compared are the two ends of each stage of a run and, of several runs, the first one with each other after every
    stage that both have. Utterances that differ most come first, and are kept if not all fit.

    Args:
        runs: By name.
        budget: Bytes at most.
    """
    points = {name: checkpoints_with_transcripts(run) for name, run in runs.items()}
    names, several = list(runs), len(runs) > 1
    pairs: list[tuple[str, str, Pair]] = []
    for name, run in runs.items():
        pairs += [
            (name, name, (f"{name}, {what}" if several else what, one, two)) for what, one, two in stage_pairs(run)
        ]
    for other in names[1:]:
        pairs += [(names[0], other, pair) for pair in run_pairs(names[0], runs[names[0]], other, runs[other])]
    comparisons, differences, exact = [], {}, True
    for one, other, pair in pairs:
        for (label, first, second), frame, is_exact in comparable([pair]):
            ends = [[names.index(run), _place(points[run], end)] for run, end in ((one, first), (other, second))]
            comparisons.append({"label": label, "ends": ends, "runs": one != other})
            exact = exact and is_exact
            changed = frame["mended"] + frame["broke"] + (frame["inserted.second"] - frame["inserted.first"]).abs()
            for key, n in zip(frame["id"].astype(str), changed.tolist(), strict=True):
                differences[key] = differences.get(key, 0) + int(n)
    if not comparisons:
        return WordView()
    # Comparisons of runs are what several runs are given for.
    comparisons.sort(key=lambda one: not one["runs"])
    aligned = [[_aligned(point, exact) for point in points[name]] for name in names]
    ids = sorted(differences, key=lambda key: (-differences[key], key))
    about = {
        "runs": [
            {"name": name, "points": [{"label": p.label, "step": p.step} for p in points[name]]} for name in names
        ],
        "comparisons": comparisons,
    }
    n = len(ids)
    while True:
        data = compressed(about | {"rows": [_row(key, aligned) for key in ids[:n]], "n": len(ids)})
        if len(data) <= budget or n <= 1:
            break
        n = max(1, min(n - 1, int(0.95 * n * budget / len(data))))
    notes = () if exact else (NOT_NORMALIZED,)
    if n < len(ids):
        left = len(ids) - n
        notes += (f"The {count(left)} {plural('utterance', left)} that differ least are left out of the words below.",)
    return WordView(data, notes)


def _place(points: Iterable[Checkpoint], end: Checkpoint) -> int:
    return next(i for i, one in enumerate(points) if (one.visit, one.step) == (end.visit, end.step))


def _aligned(point: Checkpoint, exact: bool) -> dict[str, Aligned]:
    """Return the aligned transcripts of a checkpoint by id."""
    written = point.transcripts
    references, texts, _ = counted_texts(written if exact else written.drop(columns=list(COMPARED), errors="ignore"))
    return dict(zip(written["id"].astype(str), align(references, texts), strict=True))


def _row(key: str, aligned: list[list[dict[str, Aligned]]]) -> dict[str, Any]:
    """Return one utterance: its reference, and for each run and checkpoint what was written, 1 for a right word.

    A run whose reference differs is left out, like a checkpoint without the utterance.
    """
    every = [points.get(key) for run in aligned for points in run]
    reference = next(one.reference for one in every if one is not None)

    def packed(one: Aligned | None) -> list[Any] | None:
        if one is None or one.reference != reference:
            return None
        words = [1 if right else text for right, text in zip(one.right, one.written, strict=True)]
        return [words, {str(i): text for i, text in enumerate(one.inserted) if text}]

    return {"id": key, "ref": list(reference), "at": [[packed(points.get(key)) for points in run] for run in aligned]}
