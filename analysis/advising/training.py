"""Rules on training steps: those whose rollouts were refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..formatting import count, number, plural
from ..run.load import Run
from .advisory import Advisory, Rule, Severity
from .readings import at

REFUSED = "rejection.refused"
TAKEN_ON = "rejection.taken_on"
ROLLOUTS, OFF_POLICY = "rollouts", "off_policy"
"""What a step is taken on whose rollouts are not refused, and one of the off-policy share, which has none to refuse."""
LARGE = 0.1
"""Share of refused steps from which on they are more than single bad batches; ours."""
MOST = 0.5
"""Share from which on the stage trains on something else than its rollouts most of the time."""
WORDS = {"teacher": "the teacher's transcripts", "nothing": "nothing"}


def _refused_steps(run: Run) -> Sequence[Advisory] | None:
    metrics = run.metrics
    if TAKEN_ON not in metrics:
        return None
    judged = metrics.dropna(subset=TAKEN_ON).loc[lambda rows: rows[TAKEN_ON] != OFF_POLICY]
    if judged.empty:
        return None
    found = []
    for visit, rows in judged.groupby("visit", sort=False):
        taken = Counter(map(str, rows[TAKEN_ON]))
        refused = sum(n for what, n in taken.items() if what != ROLLOUTS)
        if not refused:
            continue
        share, n = refused / len(rows), len(rows)
        instead = ", ".join(f"{count(taken[what])} on {WORDS.get(what, what)}" for what in taken if what != ROLLOUTS)
        rollouts = sum(int(np.nansum(rows[name].astype(float))) for name in (REFUSED,) if name in rows)
        said = (
            f"{number(100 * share, 1)} % of the steps with rollouts were refused, {count(refused)} of {count(n)} "
            f"{plural('step', n)} (a count), taken instead: {instead}; {count(rollouts)} rollouts refused"
        )
        running = run.ended is None and visit == metrics["visit"].iloc[-1] and "rejection.in_a_row" in rows
        row = int(rows["rejection.in_a_row"].iloc[-1]) if running else 0
        said += f"; the last {count(row)} in a row" if row > 1 else ""
        severity = Severity.CRITICAL if share >= MOST else Severity.WARNING if share >= LARGE else Severity.NOTE
        advice = (
            "Few single batches are no concern; watch whether their number grows."
            if severity is Severity.NOTE
            else "Rollouts do not end or loop in training: probe now, read the longest rollouts, and lower the "
            "learning rate or return to teacher data before the gate has to."
        )
        where = at(rows["stage"].iloc[-1], rows["step"].iloc[-1])
        found.append(Advisory("refused_steps", severity, "Steps were refused", where, said, advice))
    return found


RULES = (Rule("refused_steps", "refused steps", _refused_steps),)
