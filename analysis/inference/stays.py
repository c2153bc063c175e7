"""Traced positions at the two ends of every stay in a stage."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..run.load import Run
from ..run.runs import Runs
from ..run.visits import Visit, visits
from ..run.wanted import want_frame, want_runs

SAME_ROLLOUTS = ("fixed", "teacher", "reference")
"""States whose transcripts do not change while the student trains."""


def stays(run: Run, states: str) -> Iterator[tuple[Visit, pd.DataFrame, pd.DataFrame]]:
    """Each stay of a run that was traced on these states at both ends, with the positions there.

    What was not traced when the stay ended is taken from where the next stage began: the same weights, unless the gate
    fell back.
    """
    positions = run.positions.loc[run.positions["states"] == states]
    ways = visits(run)
    for visit, following in zip(ways, [*ways, None][1:], strict=True):
        before = _at(positions, visit.first_step, visit.stage)
        after = _at(positions, visit.last_step, visit.stage)
        if after.empty and following is not None and visit.decision != "fall_back":
            after = _at(positions, visit.last_step, following.stage)
        if len(before) and len(after) and visit.steps:
            yield visit, before, after


def stage_ends(runs: Runs, stage: str, states: str = "fixed") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Positions at the start and at the end of a stage, of all runs that have it, for `token_gains`.

    Args:
        runs: From `load_many`.
        stage: Its name. Of a stage visited more than once, the last stay.
        states: `fixed`, `teacher` or `reference`.

    Returns:
        Positions before and after, with a column `run`.

    Raises:
        ValueError: No run was traced at both ends of such a stage.
    """
    want_runs(runs)
    found = {
        name: ends
        for name, run in runs.items()
        if (ends := [(before, after) for visit, before, after in stays(run, states) if visit.stage == stage])
    }
    if not found:
        raise ValueError(
            f"no run has traces on states {states!r} at both ends of a stage {stage!r}; stages are "
            f"{', '.join(dict.fromkeys(visit.stage for run in runs.values() for visit in visits(run))) or 'none'}"
        )
    before, after = (
        pd.concat([ends[-1][side].assign(run=name) for name, ends in found.items()], ignore_index=True)
        for side in (0, 1)
    )
    return before, after


def check_paired(before: pd.DataFrame, after: pd.DataFrame, same_rollouts: bool) -> None:
    """Refuse positions that cannot be compared utterance by utterance.

    Raises:
        ValueError: Says which utterance, and what to choose.
    """
    for name, frame in (("before", before), ("after", after)):
        want_frame(frame, name, "positions of one checkpoint", "run.positions", ("id", "position"))
    keys = rollout_keys(before)
    for name, frame in (("before", before), ("after", after)):
        if frame.empty:
            raise ValueError(f"{name}: there are no positions; choose a step and states that were traced")
        twice = frame.loc[frame.duplicated([*keys, "position"]), "id"].tolist()
        if twice:
            raise ValueError(
                f"{name}: utterance {twice[0]!r} is there more than once; choose one step, stage and states, such "
                "as positions.query(\"step == 300 and stage == 'on-policy' and states == 'fixed'\")"
            )
    one, two = (_tokens(frame, keys) for frame in (before, after))
    alone = sorted(one.keys() ^ two.keys())
    if alone:
        raise ValueError(
            f"{len(alone)} utterances are on one side alone (such as {alone[0][-1]!r}); choose traces of the same ones"
        )
    differing = [key for key, tokens in one.items() if two[key] != tokens]
    if same_rollouts and differing:
        raise ValueError(
            f"utterance {differing[0][-1]!r}: the tokens of before and after differ, so these are not the same "
            f"rollouts; take states {', '.join(SAME_ROLLOUTS)}"
        )


def rollout_keys(positions: pd.DataFrame) -> list[str]:
    """Columns that name a rollout: an utterance, or an utterance of a run where there are several."""
    return [name for name in ("run", "id") if name in positions]


def _at(positions: pd.DataFrame, step: int, stage: str) -> pd.DataFrame:
    return positions.loc[(positions["step"] == step) & (positions["stage"] == stage)]


def _tokens(positions: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], list[int]]:
    """The tokens of every rollout, in order."""
    found: dict[tuple[str, ...], list[int]] = {}
    ordered = positions.sort_values("position")
    names = ordered[keys].astype(str).itertuples(index=False, name=None)
    for key, token in zip(names, ordered["token_id"].tolist(), strict=True):
        found.setdefault(key, []).append(token)
    return found
