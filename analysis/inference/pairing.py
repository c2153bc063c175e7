"""Which error rates are comparable: of one kind, under one normalizer, on one evaluation set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..formatting import count
from ..run.load import Run, normalizer_of
from ..stages.error_rates import UNITS, student_evaluations, transcripts_of


@dataclass(frozen=True, eq=False)
class Rated:
    """One evaluation of a run's student on its main set.

    Attributes:
        run: Name of the run.
        rate: `wer` or `mer`.
        row: Of `inference.evaluated`.
        transcripts: One row for each utterance; empty if they were not kept.
    """

    run: str
    rate: str
    row: Mapping[str, Any]
    transcripts: pd.DataFrame

    @property
    def step(self) -> int:
        """Training steps that the run had taken."""
        return int(self.row["step"])


def last_rated(name: str, run: Run, step: int | None = None) -> Rated | None:
    """Return the last evaluation of a run's student; None if there is none.

    Args:
        name: Of the run.
        run: Finished or not.
        step: Take the last at this step, if there is one.
    """
    rows = student_evaluations(run)
    if rows.empty:
        return None
    there = rows.loc[rows["step"] == step]
    row = {str(key): value for key, value in (there if len(there) else rows).iloc[-1].items()}
    return Rated(name, run.error_rate, row, transcripts_of(run, row))


def why_not_comparable(one: Rated, two: Rated) -> str:
    """Return why two error rates are not comparable, in words; empty if they are."""
    return (
        _differ("error rate", one, two, one.rate.upper(), two.rate.upper())
        or _differ("normalizer", one, two, normalizer_of(one.row), normalizer_of(two.row))
        or _describe_set_difference(one, two)
    )


def why_runs_not_comparable(runs: Mapping[str, Run]) -> str:
    """Return why the last error rates of runs are not comparable, in words; empty if they are."""
    found = [one for name, run in runs.items() if (one := last_rated(name, run)) is not None]
    return next((reason for other in found[1:] if (reason := why_not_comparable(found[0], other))), "")


def paired_with(own: Rated, run: Run, other: str, against: Run, *, control: bool) -> Rated | str:
    """Return the evaluation of another run that can be paired with one of this run by utterance.

    Args:
        own: Of this run.
        run: This run.
        other: Name of the other.
        against: The other run. Its evaluation at the same step is used if there is one, otherwise its last.
        control: True if the other run shows what the same steps give without OPD.

    Returns:
        The evaluation, or why there is none, in words.
    """
    beside = last_rated(other, against, own.step)
    if beside is None:
        return f"{other} was not evaluated"
    began = on_policy_from(run)
    if control and began is not None and beside.step <= began:
        return (
            f"{other} was last evaluated at step {count(beside.step)}, and on-policy training of {own.run} began at "
            f"step {count(began)}: it took none of those steps"
        )
    reason = why_not_comparable(own, beside)
    for one in (own, beside):
        if not reason and one.transcripts.empty:
            reason = f"no transcripts of {one.run} were kept"
    return reason or beside


def on_policy_from(run: Run) -> int | None:
    """Return training steps before the first step of OPD; None if a run took none."""
    return next((visit.first_step for visit in run.visits if visit.kind == "opd" and visit.steps), None)


def _differ(what: str, one: Rated, two: Rated, first: Any, second: Any) -> str:
    return "" if first == second else f"{what} {first or 'unknown'} in {one.run}, {second or 'unknown'} in {two.run}"


def _describe_set_difference(one: Rated, two: Rated) -> str:
    """Return how the utterances or their references differ, in words; by their counts if transcripts are missing."""
    columns = ["reference", f"{UNITS[one.rate]}.total"]
    if one.transcripts.empty or two.transcripts.empty:
        sizes = [f"{count(side.row['n_utterances'])} utterances" for side in (one, two)]
        words = [f"{count(side.row[f'{side.rate}.total'])} {UNITS[side.rate]}" for side in (one, two)]
        return _differ("evaluation set of", one, two, *(f"{n} in {m}" for n, m in zip(words, sizes, strict=True)))
    first, second = (side.transcripts.set_index("id")[columns].sort_index() for side in (one, two))
    if not first.index.equals(second.index):
        shared = first.index.isin(second.index).sum()
        sizes = _differ("evaluation set of", one, two, *(f"{count(len(rows))} utterances" for rows in (first, second)))
        return f"{sizes or f'evaluation sets of {one.run} and {two.run} differ'} ({count(shared)} of them in both)"
    changed = first.index[(first.to_numpy(dtype=str) != second.to_numpy(dtype=str)).any(1)]
    return f"the reference of {changed[0]!r} is not the same in {one.run} and {two.run}" if len(changed) else ""
