"""Tokens of the student that are not in the teacher's set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate

from ..formatting import cell, count
from ..printed_table import PrintedTable
from ..run.display_text import shown_token
from ..run.load import Run
from ..run.visits import Visit
from ..stages.ends import rows_at_end

SHOWN = 12
"""Number of tokens named for each stage."""


def outside_table(run: Run) -> PrintedTable:
    """Return tokens of the student's rollouts that are not among the teacher's k best, at the end of each stage.

    Returns:
        Its frame has one row for each visit traced at its end: `stage`, `step`, `share` of positions outside with
        `.low` and `.high` (bootstrap over utterances), `n_positions`, `n_groups`, `k`, and `tokens`, the most frequent
        ones as (token, times outside, times written). No rows without traces.
    """
    rows = []
    for visit, positions in _ends(run):
        used = positions.loc[positions["used"].astype(bool) & positions["teacher_rank"].notna()]
        if used.empty:
            continue
        outside = used["teacher_rank"].to_numpy() > used["k"].to_numpy()
        sums = GroupSums.from_values({"outside": outside}, used["id"].to_numpy(dtype=str))
        over = estimate(sums, limits=(0.0, 1.0))["outside"]
        names = list(map(shown_token, used["bytes"], used["token"]))
        written = Counter(names)
        missing = Counter(name for name, out in zip(names, outside, strict=True) if out)
        ranked = sorted(missing.items(), key=lambda item: (-item[1], item[0]))
        rows.append(
            {"stage": visit.stage, "step": visit.last_step, "share": over.value, "share.low": over.low}
            | {"share.high": over.high, "n_positions": len(used), "n_groups": over.n_groups}
            | {"k": int(used["k"].iloc[0])}
            | {"tokens": tuple((name, times, written[name]) for name, times in ranked)}
        )
    columns = ["stage", "step", "share", "share.low", "share.high", "n_positions", "n_groups", "k", "tokens"]
    frame = pd.DataFrame(rows, columns=columns)
    heading = [
        "after",
        "step",
        "outside % [95 %]",
        "n positions",
        "n utterances",
        "most frequent: token outside/written",
    ]
    printed = []
    for row in frame.to_dict("records"):
        named = [f"“{name}” {count(times)}/{count(all_)}" for name, times, all_ in row["tokens"][:SHOWN]]
        more = len(row["tokens"]) - SHOWN
        frequent = ", ".join(named) + (f", and {more} more" if more > 0 else "") or "none"
        share, counts = cell(row, "share", 1, 100), [count(row[n]) for n in ("n_positions", "n_groups")]
        printed.append([row["stage"], count(row["step"]), share, *counts, frequent])
    notes = [
        "Positions of the traced student transcripts whose token is not among the teacher's k best; ␣ is a space. "
        "[ ]: studentized bootstrap over utterances.",
    ]
    return PrintedTable(frame, heading, printed, notes if len(frame) else [])


def _ends(run: Run) -> Iterator[tuple[Visit, pd.DataFrame]]:
    """Yield visits, and the traced positions of the student's rollouts at their ends."""
    positions = run.positions
    if positions.empty or "teacher_rank" not in positions:
        return
    positions = positions.loc[positions["states"] == "student"]
    for visit in run.visits:
        if len(found := rows_at_end(run, positions, visit)):
            yield visit, found
