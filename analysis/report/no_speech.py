"""What both models write where nobody speaks, at the start of a run and at the end of each stage, as a table."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import numpy as np
import pandas as pd

from overlap.definitions.no_speech_statistics import NO_SPEECH_STATISTICS
from overlap.estimates.estimate import Estimate

from ..formatting import count
from ..printed_table import PrintedTable
from ..run.load import Run
from ..run.no_speech import KEYS

SHOWN = 2
"""Invented transcripts that a row names."""
_LONGEST = 40
_DECIMALS = {"invented_words": (2, 1.0), "clips_with_words": (1, 100.0), "unfinished_clips": (1, 100.0)}


def no_speech_table(run: Run) -> PrintedTable | None:
    """Return the readings of clips without speech, with the transcripts that are invented most often.

    The student's are those of a visit's first and last probe, the teacher's those of the first.

    Args:
        run: A run, finished or not.

    Returns:
        Its frame has one row for each probe, model, kind of clip and statistic. None for a run without such clips.
    """
    readings = run.no_speech
    if readings.empty:
        return None
    readings = readings.loc[_shown(readings)]
    heading = ["step", "stage", "model", "audio", "words/min [95 %]", "with words % [95 %]", "never ends % [95 %]"]
    heading += ["n clips", "most frequent, times"]
    rows = []
    for key, group in readings.groupby(list(KEYS), sort=False):
        about: dict[str, Any] = dict(zip(KEYS, cast(tuple[Any, ...], key), strict=True))
        found = {row["statistic"]: Estimate.from_dict(row) for row in group.to_dict("records")}
        numbers = [found[name].shown(*_DECIMALS[name]) for name in NO_SPEECH_STATISTICS]
        clips = run.no_speech_clips
        there = clips.loc[(clips[list(KEYS)] == pd.Series(about)).all(axis=1)]
        n_clips = count(found["invented_words"].n_groups)
        named = [count(about["step"]), about["stage"], about["model"], about["kind"]]
        rows.append([*named, *numbers, n_clips, _most_frequent(there)])
    normalizers = ", ".join(sorted(set(run.no_speech_clips["normalizer"])))
    notes = [
        "Clips without speech: every word is invented. The teacher's are read once. Words after the normalizer "
        f"{normalizers}. [ ]: 95 %, bootstrap over clips; where all clips are alike, of words as a Poisson "
        "count, which holds if words come singly.",
    ]
    return PrintedTable(readings.reset_index(drop=True), heading, rows, notes, left=4)


def _shown(readings: pd.DataFrame) -> np.ndarray:
    """Return which rows are shown, [rows] bool."""
    steps, by_visit = readings["step"].to_numpy(), readings.groupby("visit")["step"]
    first = by_visit.transform("min").to_numpy() == steps
    last = by_visit.transform("max").to_numpy() == steps
    begins = (readings["visit"] == readings["visit"].min()).to_numpy() & first
    student = (readings["model"] == "student").to_numpy()
    return np.where(student, first | last, begins)


def _most_frequent(clips: pd.DataFrame) -> str:
    """Return the transcripts with words that occur most often, with their numbers."""
    texts = Counter(" ".join(str(text).split()) for text in clips.loc[clips["words"] > 0, "text"])
    ranked = sorted(texts.items(), key=lambda item: (-item[1], item[0]))
    named = [
        f"“{text if len(text) <= _LONGEST else f'{text[: _LONGEST - 1]}…'}” {count(times)}"
        for text, times in ranked[:SHOWN]
    ]
    more = f", and {count(len(ranked) - SHOWN)} others" if len(ranked) > SHOWN else ""
    return ", ".join(named) + more or "none"
