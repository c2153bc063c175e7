"""The two ends of a visit: rows of probes, traces or evaluations of the weights it began with and left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from overlap.errors import UserError

from ..run.checks import want_frame, want_runs
from ..run.load import Run
from ..run.runs import Runs
from ..run.visits import Visit

SAME_ROLLOUTS = ("fixed", "teacher", "reference")
"""States whose transcripts do not change while the student trains."""


def rows_at_end(run: Run, rows: pd.DataFrame, visit: Visit, *, latest: bool = False) -> pd.DataFrame:
    """Return rows of the weights that a visit left behind.

    If they were not measured at its end, rows of the next visit's start are used, which has the same weights. After a
    fall back it has not, and there are no rows.

    Args:
        run: The run.
        rows: Of its probes, traces, positions or evaluations.
        visit: The visit; one that has not ended counts with its gate's last reading.
        latest: For a visit that has not ended, take the last row since it began instead.
    """
    if latest and visit.ongoing:
        return rows.loc[(rows["visit"] == visit.number) & (rows["step"] > visit.first_step)].tail(1)
    found = _rows_at(rows, visit.number, visit.last_step)
    following = next((one for one in run.visits if one.source_visit == visit.number), None)
    if found.empty and following is not None and following.started_from == "previous":
        return _rows_at(rows, following.number, following.first_step)
    return found


def rows_at_start(rows: pd.DataFrame, visit: Visit) -> pd.DataFrame:
    """Return rows of the weights that a visit began with, or of the same weights at the end of the visit before.

    After a fall back, only rows of the visit itself.

    Args:
        rows: Of the run's probes, traces, positions or evaluations.
        visit: The visit.
    """
    found = _rows_at(rows, visit.number, visit.first_step)
    if found.empty and visit.started_from == "previous":
        return _rows_at(rows, visit.source_visit, visit.source_step)
    return found


class StageMoment(NamedTuple):
    """The start of a run, or the end of a visit of a stage.

    Attributes:
        label: Such as `start` or `after base`.
        step: Training steps taken.
        visit: The visit that ended; None for the start.
        rows: Of the frame that the moments are of.
    """

    label: str
    step: int
    visit: Visit | None
    rows: pd.DataFrame


def stage_moments(run: Run, rows: pd.DataFrame, states: str) -> list[StageMoment]:
    """Return rows of a frame at the start of the run and at the end of every visit of a stage, in order.

    A visit that has not ended counts with its gate's last reading. Moments without rows are left out.

    Args:
        run: Whose stages.
        rows: Of its probes, traces, positions or readings against references.
        states: On whose transcripts.
    """
    rows = rows.loc[rows["states"] == states]
    found: list[StageMoment] = []
    if run.visits:
        first = run.visits[0]
        found.append(StageMoment("start", first.first_step, None, rows_at_start(rows, first)))
    elif len(rows):
        step = int(rows["step"].iloc[0])
        found.append(StageMoment("start", step, None, _rows_at(rows, rows["visit"].iloc[0], step)))
    for visit in run.visits:
        if visit.steps:
            label = f"{visit.stage} so far" if visit.ongoing else f"after {visit.stage}"
            found.append(StageMoment(label, visit.last_step, visit, rows_at_end(run, rows, visit)))
    return [moment for moment in found if len(moment.rows)]


def fall_backs_before(run: Run, rows: pd.DataFrame) -> pd.Series:
    """Return the number of fall backs before each row: weights are continuous only between two of them."""
    falls = dict(zip(run.begun["visit"], run.begun["started_from"].isin(("entry", "best_end")).cumsum(), strict=True))
    before = [falls.get(visit, 0) for visit in rows["visit"]]  # without visits.jsonl, fall backs are unknown
    return pd.Series(before, index=rows.index, dtype="int64")


def traced_visits(run: Run, states: str) -> Iterator[tuple[Visit, pd.DataFrame, pd.DataFrame]]:
    """Return each visit that was traced on these states at its start and its end, with its positions at both."""
    positions = run.positions.loc[run.positions["states"] == states]
    for visit in run.visits:
        before, after = rows_at_start(positions, visit), rows_at_end(run, positions, visit)
        if len(before) and len(after) and visit.steps:
            yield visit, before, after


def stage_ends(runs: Runs, stage: str, states: str = "fixed") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return positions at the start and at the end of a stage, of all runs that have it, for `token_gains`.

    Args:
        runs: From `load_many`.
        stage: Its name. If it was visited more than once, the last visit is used.
        states: `fixed`, `teacher` or `reference`.

    Returns:
        Positions before and after, with a column `run`.

    Raises:
        UserError: No run was traced at both ends of such a stage.
    """
    want_runs(runs)
    found = {
        name: ends
        for name, run in runs.items()
        if (ends := [(before, after) for visit, before, after in traced_visits(run, states) if visit.stage == stage])
    }
    if not found:
        raise UserError(
            f"no run has traces on states {states!r} at both ends of a stage {stage!r}; stages are "
            f"{', '.join(dict.fromkeys(visit.stage for run in runs.values() for visit in run.visits)) or 'none'}"
        )
    before, after = (
        pd.concat([ends[-1][side].assign(run=name) for name, ends in found.items()], ignore_index=True)
        for side in (0, 1)
    )
    return before, after


def check_paired(before: pd.DataFrame, after: pd.DataFrame, same_rollouts: bool) -> None:
    """Refuse positions that cannot be compared utterance by utterance.

    Raises:
        UserError: Says which utterance, and what to choose.
    """
    for name, frame in (("before", before), ("after", after)):
        want_frame(frame, name, "positions of one checkpoint", "run.positions", ("id", "position"))
    keys = rollout_keys(before)
    for name, frame in (("before", before), ("after", after)):
        if frame.empty:
            raise UserError(f"{name}: there are no positions; choose a step and states that were traced")
        twice = frame.loc[frame.duplicated([*keys, "position"]), "id"].tolist()
        if twice:
            raise UserError(
                f"{name}: utterance {twice[0]!r} occurs more than once; choose one step, stage and states, such as "
                "positions.query(\"step == 300 and stage == 'on-policy' and states == 'fixed'\")"
            )
    one, two = (_tokens(frame, keys) for frame in (before, after))
    alone = sorted(one.keys() ^ two.keys())
    if alone:
        raise UserError(
            f"{len(alone)} utterances are on one side alone (such as {alone[0][-1]!r}); choose traces of the same ones"
        )
    differing = [key for key, tokens in one.items() if two[key] != tokens]
    if same_rollouts and differing:
        raise UserError(
            f"utterance {differing[0][-1]!r}: the tokens of before and after differ, so these are not the same "
            f"rollouts; take states {', '.join(SAME_ROLLOUTS)}"
        )


def rollout_keys(positions: pd.DataFrame) -> list[str]:
    """Return columns that identify a rollout: an utterance, or run and utterance if there are several runs."""
    return [name for name in ("run", "id") if name in positions]


def _rows_at(rows: pd.DataFrame, visit: int | None, step: int | None) -> pd.DataFrame:
    return rows.loc[(rows["visit"] == visit) & (rows["step"] == step)]


def _tokens(positions: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], list[int]]:
    """Return the tokens of every rollout, in order."""
    found: dict[tuple[str, ...], list[int]] = {}
    ordered = positions.sort_values("position")
    names = ordered[keys].astype(str).itertuples(index=False, name=None)
    for key, token in zip(names, ordered["token_id"].tolist(), strict=True):
        found.setdefault(key, []).append(token)
    return found
