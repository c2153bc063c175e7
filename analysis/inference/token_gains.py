"""Which statistic of a position predicts the gain of a stage at the same recorded context?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from scipy.stats import t as student_t

from overlap import Estimate, TokenStatistics, fixed_context_gain
from overlap.definitions import TOKEN_STATISTICS, Ranges, canonical
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS
from overlap.statistics.gain import position_gain_correlations

from ..formatting import cell, count, decimals, number, p_text
from ..printed_table import PrintedTable
from ..stages.ends import check_paired, rollout_keys
from ..stats.bootstrap import contrast
from ..stats.multiple_testing import CORRECTIONS, Correction, correction_note, strongest_first, with_corrected
from ..stats.permutation import swap_test

MATCHED_ON = ("student_entropy", "forward_kl", "position")
CALIPER = 0.1


def token_gains(
    before: pd.DataFrame,
    after: pd.DataFrame,
    outcome: str = "forward_kl",
    *,
    statistics: Sequence[str] | None = None,
    matched_on: Sequence[str] = MATCHED_ON,
    caliper: float = CALIPER,
    correction: Correction = "bh",
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> PrintedTable:
    """Correlate statistics before a stage with the decrease of a divergence over it, position by position.

    There are two measures of each statistic. ρ is Spearman's over all positions
    (`overlap.statistics.gain.position_gain_correlations`). It includes three other effects: a large divergence can fall
    further, late positions differ from early ones, and some utterances are hard. The matched difference removes them:
    within each rollout, positions where the statistic is above the rollout's median are paired one to one with
    positions where it is not. Pairs are as similar as possible in the ranks of entropy, divergence and position
    (optimal assignment); pairs further apart than the caliper in any of them are left out. The value is the mean gain
    of the higher position minus that of the lower. Short rollouts have few similar positions: trace many utterances
    (`trace_utterances` in the recipe's [probe]). Intervals and p-values are over utterances. After the analysis of
    token teachability, arXiv 2605.26844.

    Args:
        before: Positions at the start of the stage (see `stage_ends`), with a column `run` if there are several; an
            utterance in several runs is one cluster.
        after: The same positions at its end.
        outcome: The divergence whose decrease is the gain.
        statistics: Names; without them, all that vary.
        matched_on: Columns to match on; a statistic is not matched on itself.
        caliper: Largest difference within a pair, as a share of all positions by rank.
        correction: Of the p-values, for each of the two measures.
        level: Coverage of the intervals.
        draws: Bootstrap resamples.
        seed: Of the resampling and the tests.

    Returns:
        One row for each statistic, the largest |ρ| first: `rho`, `rho.low`, `rho.high`, `rho.p`, `rho.p.corrected`;
        `matched` (in the outcome's unit) with `.low`, `.high`, `.p`, `.p.corrected`; `imbalance`, the largest
        standardized mean difference that remains between the sides of the pairs (above 0.1 they are not similar);
        `n_positions`, `n_pairs`, `n_groups`, `n_undefined`.

    Raises:
        UserError: The rollouts or the teachers of the two sides differ, or a name is unknown.
    """
    statistics = None if statistics is None else [canonical(name) for name in statistics]
    check_paired(before, after, same_rollouts=True)
    keys = [*rollout_keys(before), "position"]
    old, new = (frame.sort_values(keys).reset_index(drop=True) for frame in (before, after))
    there = [name for name in TOKEN_STATISTICS if name in old and name in new]
    varying = [name for name in there if np.ptp(old[name].dropna().to_numpy(dtype=np.float64)) > 0]
    names = varying if statistics is None else list(statistics)
    unknown = [name for name in (outcome, *names, *matched_on) if name not in (*there, "position")]
    if unknown:
        raise UserError(f"{unknown[0]!r} is not in these positions; there are {', '.join(there)}")
    earlier, later = _statistics(old), _statistics(new)
    utterances = old["id"].to_numpy(dtype=str)
    settings = {"groups": utterances, "level": level, "draws": draws, "seed": seed}
    gain = fixed_context_gain(earlier, later, statistic=outcome, **settings)
    correlations = position_gain_correlations(earlier, gain, statistics=names, **settings)
    rollouts = old.groupby(rollout_keys(old)).ngroup().to_numpy()
    fall = np.asarray(gain.values, dtype=np.float64)
    rows = []
    for name in names:
        found = correlations[name]
        pairs = _matched(old, name, fall, rollouts, [column for column in matched_on if column != name], caliper)
        difference, p = _difference(pairs, utterances, level, draws, seed)
        rows.append(
            {"statistic": name, "rho": found.value, "rho.low": found.low, "rho.high": found.high}
            | {"rho.p": _wald(found.value, found.standard_error, found.n_groups)}
            | {"matched": difference.value, "matched.low": difference.low, "matched.high": difference.high}
            | {"matched.standard_error": difference.standard_error, "matched.p": p, "imbalance": pairs.imbalance}
            | {"n_positions": found.n_positions, "n_pairs": len(pairs.rows), "n_groups": found.n_groups}
            | {"n_undefined": found.n_undefined}
        )
    frame = with_corrected(with_corrected(pd.DataFrame(rows), "rho.p", correction), "matched.p", correction)
    frame = strongest_first(frame, "rho")
    return _printed(frame, outcome, matched_on, caliper, correction, level, (gain.before.value, gain.after.value))


def _statistics(positions: pd.DataFrame) -> TokenStatistics:
    """Return positions as `measure` would have returned them, `[N]`; statistics that were not traced are undefined."""
    mask = torch.from_numpy(positions["used"].to_numpy(dtype=bool, copy=True))
    traced = positions.reindex(columns=list(TOKEN_STATISTICS)).to_numpy(dtype=np.float32)
    columns = {name: torch.from_numpy(traced[:, i].copy()) for i, name in enumerate(TOKEN_STATISTICS)}
    k, temperature = positions["k"].iloc[0], positions["temperature"].iloc[0]
    return TokenStatistics(
        **columns, k=int(k), temperature=float(temperature), top_p=math.nan, mask=mask, ranges=Ranges(int(k))
    )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of similar positions of one rollout that differ in a statistic.

    Attributes:
        rows: `[P, 2]` where the statistic is low and where it is high.
        gain: `[P, 2]` their gains.
        imbalance: Largest mean difference in rank between the two sides, in standard deviations of all positions.
    """

    rows: np.ndarray
    gain: np.ndarray
    imbalance: float


def _matched(
    positions: pd.DataFrame, name: str, gain: np.ndarray, rollouts: np.ndarray, columns: Sequence[str], caliper: float
) -> _Pairs:
    table = positions[[name, *columns]].to_numpy(dtype=np.float64)
    known = np.flatnonzero(~(np.isnan(gain) | np.isnan(table).any(1)))
    score, covariates = table[:, 0], table[:, 1:]
    score, gain, rollouts = score[known], gain[known], rollouts[known]
    ranks = rankdata(covariates[known], axis=0) / max(len(known), 1)
    parts = [np.zeros((0, 2), dtype=np.int64)]
    for rollout in np.unique(rollouts):
        rows = np.flatnonzero(rollouts == rollout)
        above = score[rows] > np.median(score[rows])
        parts.append(_assigned(rows[~above], rows[above], ranks, caliper))
    pairs = np.concatenate(parts)
    return _Pairs(known[pairs], gain[pairs], _imbalance(ranks, pairs))


def _imbalance(ranks: np.ndarray, pairs: np.ndarray) -> float:
    if len(pairs) == 0:
        return math.nan
    spread = np.asarray(ranks.std(0, ddof=1))
    apart = np.asarray(np.abs((ranks[pairs[:, 1]] - ranks[pairs[:, 0]]).mean(0)))
    return float(np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0).max(initial=0.0))


def _assigned(below: np.ndarray, above: np.ndarray, ranks: np.ndarray, caliper: float) -> np.ndarray:
    """Return the closest pairs, as many as fit within the caliper."""
    apart = np.abs(ranks[below][:, None] - ranks[above][None])
    too_far = np.asarray((apart > caliper).any(-1))
    # One pair beyond the caliper costs more than all others together.
    cost = np.where(too_far, ranks.shape[1] * (1.0 + len(below) + len(above)), (apart**2).sum(-1))
    one, two = linear_sum_assignment(cost)
    kept = ~too_far[one, two]
    return np.stack([below[one[kept]], above[two[kept]]], 1)


def _difference(pairs: _Pairs, utterances: np.ndarray, level: float, draws: int, seed: int) -> tuple[Estimate, float]:
    names, member = np.unique(utterances[pairs.rows[:, 0]], return_inverse=True)
    sums, counts = np.zeros((len(names), 2)), np.zeros((len(names), 2))
    np.add.at(sums, member, pairs.gain)
    np.add.at(counts, member, 1.0)
    over = contrast(sums, counts, (-1.0, 1.0), level=level, draws=draws, seed=seed)
    return over, swap_test(sums, counts, seed=seed) if over.standard_error > 0 else math.nan


def _wald(value: float, error: float, groups: int) -> float:
    if not error > 0 or groups < 2:
        return math.nan
    return float(2 * student_t.sf(abs(value) / error, groups - 1))


def _printed(
    frame: pd.DataFrame,
    outcome: str,
    matched_on: Sequence[str],
    caliper: float,
    correction: Correction,
    level: float,
    ends: tuple[float, float],
) -> PrintedTable:
    percent, short = f"[{100 * level:g} %]", CORRECTIONS[correction]
    heading = ["statistic before", f"ρ {percent}", f"p {short}", f"matched difference {percent}", f"p {short}"]
    heading += ["imbalance", "n pos.", "n pairs"]
    rows: list[list[str]] = []
    for row in frame.to_dict("records"):
        digits = decimals(row["matched.standard_error"])
        rows.append(
            [
                row["statistic"],
                _with_ends(row, "rho", 2),
                p_text(row["rho.p.corrected"]),
                _with_ends(row, "matched", digits),
                p_text(row["matched.p.corrected"]),
                number(row["imbalance"], 2),
                *(count(row[f"n_{what}"]) for what in ("positions", "pairs")),
            ]
        )
    unit = TOKEN_STATISTICS[outcome].unit
    notes = [
        f"Gain: fall of {outcome}, from {number(ends[0], 3)} to {number(ends[1], 3)} {unit}, at the same recorded "
        f"contexts of {count(max(frame['n_groups'].tolist()))} utterances. {outcome} correlates with its own gain "
        "even if every change is noise: compare statistics with one another.",
        "Matched: gain where the statistic is above its median minus where it is not, in pairs within a rollout of "
        f"similar {', '.join(matched_on)} (ranks within {caliper:g}). Imbalance above 0.1: not similar enough.",
        "[ ] and p over utterances (ρ: percentiles and t; matched: studentized bootstrap and swap test).",
        f"In each column, {correction_note(frame, 'rho.p', correction)}",
    ]
    return PrintedTable(frame, heading, rows, notes)


def _with_ends(row: dict[Any, Any], name: str, digits: int) -> str:
    if math.isnan(row[name]):
        return number(row[name], digits)
    return cell(row, name, digits, sign=True)
