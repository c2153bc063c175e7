"""Change of overlap over a stage, paired by utterance, from traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from overlap.definitions import TOKEN_STATISTICS, canonical
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS

from ..formatting import cell, count, decimals, number, p_text, signed
from ..printed_table import PrintedTable
from ..run.checks import want_frame, want_run
from ..run.load import Run
from ..stages.ends import SAME_ROLLOUTS, check_paired, traced_visits
from ..stats.bootstrap import HOW, contrast
from ..stats.effects import paired_effect
from ..stats.multiple_testing import CORRECTIONS, Correction, correction_note, with_corrected
from ..stats.permutation import swap_test

KEY_STATISTICS = (
    "union_size",
    "student_size",
    "teacher_size",
    "intersection_size",
    "top1_agreement",
    "student_mass",
    "teacher_mass",
    "overlap_advantage",
    "entropy_gap",
    "total_variation",
    "forward_kl",
)
"""Statistics shown by default. VUSS is shown with set sizes, because it also falls with smaller sets."""


def overlap_change(
    before: pd.DataFrame,
    after: pd.DataFrame,
    statistics: Sequence[str] = KEY_STATISTICS,
    *,
    same_rollouts: bool = True,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Return differences of mean statistics between two checkpoints, paired by utterance.

    Args:
        before: Positions of the earlier checkpoint (`Run.positions`, chosen by step, stage and states).
        after: Of the later one, on the same utterances.
        statistics: Names.
        same_rollouts: Refuse tokens that differ. With False, each side may be on its own rollouts; the difference then
            mixes what the student learned with a change of its prefixes.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.

    Returns:
        One row for each statistic: means `before` and `after` over positions, `change` with `.low`, `.high` and
        `.standard_error`, `p` (swap test over utterances), `g` (Hedges, of the utterances' means) with ends, `n_groups`
        utterances, and `n_positions` and `n_undefined` on both sides.

    Raises:
        UserError: The utterances or their tokens differ, a name is unknown, or there are no positions.
    """
    for name, frame in (("before", before), ("after", after)):
        want_frame(frame, name, "positions of one checkpoint", "run.positions", ("id", "position"))
    statistics = [canonical(name) for name in statistics]
    known = [name for name in TOKEN_STATISTICS if name in before and name in after]
    unknown = [name for name in statistics if name not in known]
    if unknown:
        there = ", ".join(known)
        raise UserError(f"statistics: {unknown[0]!r} is not in these positions; there are {there}")
    check_paired(before, after, same_rollouts)
    # [G, S, 2]: utterances, statistics, before and after
    all_sums, all_counts, undefined = (
        np.stack(both, -1) for both in zip(*(_sums(frame, statistics) for frame in (before, after)), strict=True)
    )
    settings = {"level": level, "draws": draws, "seed": seed}
    rows = []
    for column, name in enumerate(statistics):
        sums, counts = all_sums[:, column], all_counts[:, column]
        over = contrast(sums, counts, (-1.0, 1.0), **settings)
        with np.errstate(invalid="ignore"):
            means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            total = np.where(counts.sum(0) > 0, sums.sum(0) / np.maximum(counts.sum(0), 1), np.nan)
        effect = paired_effect(means[:, 1] - means[:, 0], level=level)
        rows.append(
            {"statistic": name, "before": total[0], "after": total[1], "change": over.value}
            | {"change.low": over.low, "change.high": over.high, "change.standard_error": over.standard_error}
            # A constant statistic is not tested: a size that is k everywhere does not count among the tests.
            | {"p": swap_test(sums, counts, seed=seed) if over.standard_error > 0 else np.nan}
            | {"g": effect.value, "g.low": effect.low, "g.high": effect.high}
            | {"n_groups": int((counts.sum(1) > 0).sum())}
            | {f"n_positions.{side}": int(counts[:, i].sum()) for i, side in enumerate(("before", "after"))}
            | {f"n_undefined.{side}": int(undefined[:, column, i].sum()) for i, side in enumerate(("before", "after"))}
        )
    return pd.DataFrame(rows)


def stage_changes(
    run: Run,
    states: str = "fixed",
    statistics: Sequence[str] = KEY_STATISTICS,
    *,
    correction: Correction = "holm",
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> PrintedTable:
    """Return the change of overlap over each visit of a stage, on the traced utterances.

    Args:
        run: A run with traces.
        states: `fixed` (the rollouts recorded when Base ended), `teacher` or `reference` are the same throughout;
            `student` compares each checkpoint's rollouts.
        statistics: Names.
        correction: Of all p-values of the table.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.

    Raises:
        UserError: There are not two traces on these states.
    """
    want_run(run)
    statistics = [canonical(name) for name in statistics]
    settings = {"level": level, "draws": draws, "seed": seed}
    parts = []
    for visit, before, after in traced_visits(run, states):
        found = overlap_change(before, after, statistics, same_rollouts=states in SAME_ROLLOUTS, **settings)
        place = {"stage": visit.stage, "visit": visit.number, "first_step": visit.first_step}
        parts.append(found.assign(**place, last_step=visit.last_step)[[*place, "last_step", *found.columns]])
    if not parts:
        kinds = ", ".join(dict.fromkeys(run.positions["states"])) or "none"
        raise UserError(
            f"{run.path}: no stage was traced at both ends on states {states!r} (there are traces on {kinds}); it "
            "takes a stage that has ended, and trace_utterances above 0 in the recipe's [probe]"
        )
    frame = pd.concat(parts, ignore_index=True)
    return _printed(with_corrected(frame, "p", correction), states, correction, level, run)


def _sums(positions: pd.DataFrame, statistics: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `[G, S]` sums, numbers of defined and of undefined positions of every utterance, in the order of their
    ids."""
    names, member = np.unique(positions["id"].to_numpy(dtype=str), return_inverse=True)
    values, used = positions[list(statistics)].to_numpy(dtype=np.float64), positions["used"].to_numpy(dtype=bool)
    defined = ~np.isnan(values) & used[:, None]
    found = np.zeros((3, len(names), len(statistics)))
    for table, part in zip(found, (np.where(defined, values, 0.0), defined, ~defined & used[:, None]), strict=True):
        np.add.at(table, member, part)
    return found[0], found[1], found[2]


def _printed(frame: pd.DataFrame, states: str, correction: Correction, level: float, run: Run) -> PrintedTable:
    heading = ["stage", "steps", "statistic", "before", "after", f"change [{100 * level:g} %]", "p"]
    heading += [f"p {CORRECTIONS[correction]}", "g", "n pos.", "n utt."]
    rows: list[list[str]] = []
    for row in frame.to_dict("records"):
        place = [str(row["stage"]), f"{count(row['first_step'])}–{count(row['last_step'])}"]
        repeated = bool(rows) and row["statistic"] != frame["statistic"].iloc[0]
        rows.append([*(["", ""] if repeated else place), *_cells(row)])
    sampled = max(frame["n_groups"].tolist())
    probed = max(run.probes.loc[run.probes["states"] == states, "n_groups"].tolist(), default=sampled)
    whose = "the same recorded rollouts" if states in SAME_ROLLOUTS else "each checkpoint's rollouts"
    return PrintedTable(
        frame,
        heading,
        rows,
        [
            f"Means over positions on {whose} (states {states!r}) of {count(sampled)} traced utterances, "
            f"of {count(probed)} probed.",
            f"[ ]: {HOW} over utterances, paired; p: swap test; g: Hedges', of the utterances' means.",
            correction_note(frame, "p", correction),
        ],
        left=3,
    )


def _cells(row: dict[Any, Any]) -> list[str]:
    digits = decimals(row["change.standard_error"])
    positions = [count(row[f"n_positions.{side}"]) for side in ("before", "after")]
    return [
        *(row["statistic"], number(row["before"], digits), number(row["after"], digits)),
        cell(row, "change", digits, sign=True),
        *(p_text(row["p"]), p_text(row["p.corrected"]), signed(row["g"], 2)),
        positions[0] if positions[0] == positions[1] else " → ".join(positions),
        count(row["n_groups"]),
    ]
