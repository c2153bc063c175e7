"""Comparison of runs by utterance: those with OPD against controls without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ..formatting import cell, count, number, p_text, plural
from ..inference.pairing import last_rated, on_policy_from, paired_with
from ..printed_table import PrintedTable
from ..run.load import Run
from ..run.runs import Runs
from ..stages.error_rates import UNITS, cluster_of
from ..stats.error_rates import error_rate_difference
from ..stats.multiple_testing import correction_note, with_corrected

COLUMNS = ("run", "step", "against", "step.against", "rate", "rate.against", "change", "change.low", "change.high")
COUNTS = ("p", "n_utterances", "n_over", "over", "error_rate", "control")


def controls_of(runs: Runs, name: str) -> dict[str, Run]:
    """Return the runs that are controls for a run with OPD: those without OPD, with the same seed if there are any.

    Args:
        runs: Several runs.
        name: One of them.
    """
    if on_policy_from(runs[name]) is None:
        return {}
    found = {other: run for other, run in runs.items() if run.probed is None and on_policy_from(run) is None}
    same = {other: run for other, run in found.items() if run.seed is not None and run.seed == runs[name].seed}
    return same or found


def paired_table(runs: Runs) -> PrintedTable:
    """Return error rates of runs at their ends, paired by utterance: against controls, or against the first run if
    there are none.

    Returns:
        Its frame has one row for each pair that was evaluated on the same utterances under the same normalizer: `run`,
        `step` and `rate` (a share), the same of the run that it is compared with (`against`), `change` with ends of the
        95 % interval, `p` of the swap test and `p.corrected` over the table, counts, and whether the other is a
        `control`. There are no rows if no pair is comparable; notes give the reason for each such pair.
    """
    pairs = [(name, other, True) for name in runs for other in controls_of(runs, name)]
    if not pairs and len(runs) > 1:
        first, *others = runs
        pairs = [(name, first, False) for name in others]
    found = [_pair(runs, *pair) for pair in pairs]
    rows = [row for row in found if not isinstance(row, str)]
    left_out = [
        f"Not paired: {name} against {other} ({reason})."
        for (name, other, _), reason in zip(pairs, found, strict=True)
        if isinstance(reason, str)
    ]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *COUNTS])
    if frame.empty:
        return PrintedTable(frame.assign(**{"p.corrected": []}), [], [], left_out)
    return _printed(with_corrected(frame, "p", "holm"), left_out)


def _pair(runs: Runs, name: str, other: str, control: bool) -> Mapping[str, object] | str:
    """Return a row, or the reason why there is none."""
    last = last_rated(name, runs[name])
    if last is None:
        return f"{name} was not evaluated"
    beside = paired_with(last, runs[name], other, runs[other], control=control)
    if isinstance(beside, str):
        return beside
    one, two = beside.transcripts, last.transcripts
    found = error_rate_difference(one, two, UNITS[last.rate], by=(by := cluster_of(one, two)))
    change = found.difference
    return dict(
        zip(
            (*COLUMNS, *COUNTS),
            (
                *(name, last.step, other, beside.step, found.second.value, found.first.value),
                *(change.value, change.low, change.high, found.p_value, found.n_utterances, change.n_groups),
                *(by or "utterance", last.rate, control),
            ),
            strict=True,
        )
    )


def _printed(frame: pd.DataFrame, left_out: Sequence[str]) -> PrintedTable:
    rate = str(frame["error_rate"].iloc[0]).upper()
    control = bool(frame["control"].iloc[0])
    heading = ["run", "step", "control (no OPD)" if control else "against", "step", f"{rate} %", "against %"]
    heading += ["points [95 %]", "p", "p Holm", "n utt.", "over"]
    rows = [
        [
            *(str(row["run"]), count(row["step"]), str(row["against"]), count(row["step.against"])),
            *(number(100 * row[name], 1) for name in ("rate", "rate.against")),
            cell(row, "change", 1, 100, sign=True),
            *(p_text(row["p"]), p_text(row["p.corrected"]), count(row["n_utterances"])),
            f"{count(row['n_over'])} {plural(str(row['over']), int(row['n_over']))}",
        ]
        for row in frame.to_dict("records")
    ]
    notes = [
        f"{rate} at each run's last evaluation; of the other run at the same step, if it was evaluated there. Paired "
        "by utterance: below 0 the run makes fewer errors. Intervals and p (swap test) are of these runs and do not "
        "include the variation between seeds.",
        correction_note(frame, "p", "holm"),
        *left_out,
    ]
    return PrintedTable(frame, heading, rows, notes, left=1, title="Paired comparison")
