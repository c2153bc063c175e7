"""Words that a stage mended and broke, and words in which two runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from overlap.errors import UserError

from ..formatting import count, plural, with_interval
from ..printed_table import PrintedTable
from ..run.load import Run
from ..stages.aligned_words import Checkpoint, changed_words, checkpoints_with_transcripts
from ..stages.error_rates import cluster_of
from ..stats.error_rates import error_rate

HEADING = ("compared", "mended %", "broken %", "inserted words", "utterances that differ", "n words / utterances")
Pair = tuple[str, Checkpoint, Checkpoint]
"""What is compared, in words, and the two checkpoints."""


def mended_words(run: Run) -> PrintedTable | None:
    """Return how many words of the references each stage mended and broke in the student's transcripts.

    Args:
        run: A run, finished or not.

    Returns:
        One row a stage, with intervals over speakers or utterances; None where fewer than two checkpoints have
        transcripts.
    """
    return _table(stage_pairs(run))


def mended_between(first: str, run: Run, second: str, other: Run) -> PrintedTable | None:
    """Return in how many words of the references two runs differ after each stage that both have.

    Args:
        first: Name of the first run.
        run: The first run.
        second: Name of the second.
        other: The second run; a word is mended where it is right there and wrong in the first.

    Returns:
        One row a stage; None where the runs have no checkpoint with transcripts of the same utterances in common.
    """
    return _table(run_pairs(first, run, second, other))


def between(runs: Mapping[str, Run]) -> list[tuple[str, PrintedTable]]:
    """Return the words in which each further run differs from the first, by its name."""
    first, *others = runs
    found = [(name, mended_between(first, runs[first], name, runs[name])) for name in others]
    return [(name, table) for name, table in found if table is not None]


def stage_pairs(run: Run) -> list[Pair]:
    """Return each two successive checkpoints of a run, named by the stage between them."""
    found = checkpoints_with_transcripts(run)
    return [
        (f"{two.stage}: {one.label}, step {count(one.step)} → {count(two.step)}", one, two)
        for one, two in pairwise(found)
    ]


def run_pairs(first: str, run: Run, second: str, other: Run) -> list[Pair]:
    """Return the checkpoints of two runs at the start and after each stage of the same name, of its last visit."""
    ends = [{one.stage: one for one in checkpoints_with_transcripts(side)} for side in (run, other)]
    shared = [(one, ends[1][stage]) for stage, one in ends[0].items() if stage in ends[1]]
    return [(f"{one.label}: {first} → {second}", one, two) for one, two in shared]


def comparable(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, pd.DataFrame, bool]]:
    """Yield pairs of the same utterances, references and normalizer, with their `changed_words`; skip others."""
    for pair in pairs:
        try:
            frame, exact = changed_words(pair[1].transcripts, pair[2].transcripts)
        except UserError:
            continue
        yield pair, frame, exact


def _table(pairs: Sequence[Pair]) -> PrintedTable | None:
    rows, exact, units = [], True, set()
    for (label, one, two), frame, is_exact in comparable(pairs):
        by = cluster_of(one.transcripts, two.transcripts)
        exact, place = exact and is_exact, {"compared": label, "first.step": one.step, "second.step": two.step}
        units.add(f"{by or 'utterance'}s")
        rows.append(place | _numbers(frame, by))
    if not rows:
        return None
    notes = [
        "Mended: wrong before, right after; broken: the reverse; as shares of the references' words. "
        "[ ]: 95 % bootstrap intervals over " + " or ".join(sorted(units)) + "."
    ]
    notes += [] if exact else [NOT_NORMALIZED]
    return PrintedTable(pd.DataFrame(rows), list(HEADING), [_cells(row) for row in rows], notes)


NOT_NORMALIZED = (
    "Words are compared ignoring case and punctuation, without the normalizer of the error rates, because this run did "
    "not record its normalized texts."
)


def _numbers(frame: pd.DataFrame, by: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("mended", "broke"):
        share = error_rate(frame.assign(**{"words.errors": frame[name], "words.total": frame["n"]}), by=by)
        found |= {name: share.value, f"{name}.low": share.low, f"{name}.high": share.high}
        found[f"n_{name}"] = int(np.sum(frame[name].to_numpy()))
    found |= {name: int(np.sum(frame[name].to_numpy())) for name in ("inserted.first", "inserted.second")}
    differ = (frame["mended"] > 0) | (frame["broke"] > 0) | (frame["inserted.first"] != frame["inserted.second"])
    return found | {
        "n_differ": int(np.sum(differ.to_numpy())),
        "n_words": int(np.sum(frame["n"].to_numpy())),
        "n_utterances": len(frame),
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    shares = [
        f"{with_interval(row[name], row[f'{name}.low'], row[f'{name}.high'], 1, 100)} ({count(row[f'n_{name}'])} "
        f"{plural('word', row[f'n_{name}'])})"
        for name in ("mended", "broke")
    ]
    inserted = f"{count(row['inserted.first'])} → {count(row['inserted.second'])}"
    return [
        row["compared"],
        *shares,
        inserted,
        count(row["n_differ"]),
        f"{count(row['n_words'])} / {count(row['n_utterances'])}",
    ]
