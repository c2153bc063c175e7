"""Comparison of recipes: error rates over several seeds and one test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS

from ..formatting import cell, count, number, p_text, plural
from ..printed_table import PrintedTable
from ..run.checks import want_runs
from ..run.runs import Runs
from ..stages.error_rates import transcripts_of
from ..stats.bootstrap import contrast
from ..stats.error_rates import NAMES, Unit, clustered, columns_of, paired
from ..stats.multiple_testing import CORRECTIONS, Correction, correction_note, with_corrected
from ..stats.permutation import swap_test
from ..stats.seeds import OverSeeds, SeedMethod, Side, over_seeds

ONE_SEED = "one seed"
"""Method of an interval over utterances alone."""


@dataclass(frozen=True, eq=False)
class RecipeErrors:
    """Errors of the runs of a recipe at their last evaluation.

    Attributes:
        runs: Names, in the order of the seeds.
        seeds: Their seeds.
        errors: `[S, G]` by run and cluster.
        totals: `[G]` words (or characters) of the references.
    """

    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    errors: np.ndarray
    totals: np.ndarray


def last_transcripts(runs: Runs, name: str, test_set: str | None = None) -> pd.DataFrame:
    """Return the student's transcripts at a run's last evaluation.

    Args:
        runs: Several runs.
        name: One of them.
        test_set: The set; may be omitted if there is only one.

    Raises:
        UserError: There is no such evaluation, or it has no transcripts; the message says how to make them.
    """
    want_runs(runs)
    run = runs[name]
    rows = run.evaluations.loc[run.evaluations["model"] == "student"]
    sets = list(dict.fromkeys(rows["set"]))
    if test_set is None and len(sets) > 1:
        raise UserError(f"run {name!r} was evaluated on {', '.join(sets)}: say which set")
    rows = rows.loc[rows["set"] == (test_set or (sets[0] if sets else None))]
    if rows.empty:
        said = f" on {test_set!r}; it was on {', '.join(sets)}" if sets else ""
        raise UserError(f"run {name!r} was not evaluated{said}")
    last = rows.iloc[-1].to_dict()
    chosen = transcripts_of(run, last)
    if chosen.empty:
        raise UserError(
            f"run {name!r} has no transcripts of its last evaluation, which this needs by utterance; write them: "
            f"`distill evaluate --model {run.path}/checkpoints/step-{last['step']:06d} --manifest … --normalizer "
            f"{last.get('normalizer', '…')} --output '{run.path}/{last['transcripts']}'`"
        )
    return chosen


def recipe_errors(
    runs: Runs, unit: Unit = "words", *, test_set: str | None = None, by: str | None = None
) -> dict[str, RecipeErrors]:
    """Return errors of every run by utterance, as matrices.

    Args:
        runs: Runs that were evaluated on the same utterances.
        unit: `words` or `characters`.
        test_set: Which set.
        by: A column whose values are one cluster, such as `speaker`; without it, utterances.

    Raises:
        UserError: As `last_transcripts`, and if the utterances of two runs differ.
    """
    want_runs(runs)
    first: pd.DataFrame | None = None
    found: dict[str, dict[str, np.ndarray]] = {}
    totals = np.zeros(0)
    for name in sorted(runs, key=lambda name: (runs[name].seed is None, runs[name].seed or 0, name)):
        rows = last_transcripts(runs, name, test_set)
        first = rows if first is None else first
        try:
            one, own = paired(first, rows, by)
            _, errors, lengths = columns_of(one, own, unit)
        except ValueError as error:
            raise UserError(f"run {name!r}: {error}") from error
        x, n = clustered([errors], [lengths], one, by)
        totals = n[:, 0]
        found.setdefault(runs.recipes[name], {})[name] = x[:, 0]
    return {
        recipe: RecipeErrors(
            tuple(found[recipe]),
            tuple(runs[name].seed for name in found[recipe]),
            np.stack(list(found[recipe].values())),
            totals,
        )
        for recipe in dict.fromkeys(runs.recipes[name] for name in runs)
    }


def recipe_differences(
    runs: Runs,
    baseline: str | None = None,
    unit: Unit = "words",
    *,
    test_set: str | None = None,
    by: str | None = None,
    pair_seeds: bool = False,
    method: SeedMethod = "t",
    correction: Correction = "holm",
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> PrintedTable:
    """Return differences in error rate between recipes at the end of their runs, over seeds and utterances.

    Args:
        runs: From `load_many`; of each recipe one run or several seeds.
        baseline: The recipe that the others are compared with; without it, every pair.
        unit: `words` or `characters`.
        test_set: Which set, where there are several.
        by: A column whose values are one cluster, such as `speaker`.
        pair_seeds: Whether the same seed of two recipes belongs together (one Base, one order of the data). This
            removes the effect of the seed on both, but costs degrees of freedom.
        method: See `over_seeds`. If a recipe has only one run, the interval is over utterances only.
        correction: Of the p-values for their number, `holm` or `bh`.
        level: Coverage of the intervals, which are not corrected.
        draws: Resamples.
        seed: Of the resampling.

    Returns:
        One row for each pair: `first`, `second`, both rates, `difference` (second − first) with `.low` and `.high`,
        `p`, `p.corrected`, `df`, numbers of seeds and clusters. Shares, not percentages.

    Raises:
        UserError: Fewer than two recipes, an unknown baseline, or what `recipe_errors` raises.
    """
    want_runs(runs)
    found = recipe_errors(runs, unit, test_set=test_set, by=by)
    if len(found) < 2:
        raise UserError(f"there is one recipe, {next(iter(found))!r}; load runs of at least two")
    if baseline is not None and baseline not in found:
        raise UserError(f"baseline: no recipe is called {baseline!r}; there are {', '.join(found)}")
    pairs = [(baseline, name) for name in found if name != baseline] if baseline else list(combinations(found, 2))
    settings = {"method": method, "level": level, "draws": draws, "seed": seed}
    rows = [
        {"first": one, "second": two}
        | {f"rate.{side}": _rate(found[name]) for side, name in (("first", one), ("second", two))}
        | _row(_difference(found[one], found[two], pair_seeds, settings))
        for one, two in pairs
    ]
    frame = with_corrected(pd.DataFrame(rows), "p", correction)
    return _printed(frame, unit, by, correction, level, pair_seeds, runs.running)


def _rate(found: RecipeErrors) -> float:
    return float(found.errors.mean(0).sum() / found.totals.sum())


def _difference(one: RecipeErrors, two: RecipeErrors, pair_seeds: bool, settings: Mapping[str, Any]) -> OverSeeds:
    totals, sizes = one.totals, (len(one.runs), len(two.runs))
    if min(sizes) < 2:
        sums, counts = np.stack([one.errors.mean(0), two.errors.mean(0)], 1), np.stack([totals, totals], 1)
        over = contrast(sums, counts, (-1.0, 1.0), **{key: settings[key] for key in ("level", "draws", "seed")})
        p = swap_test(sums, counts, seed=settings["seed"])
        return OverSeeds(over, p, np.nan, sizes, ONE_SEED)
    if not pair_seeds:
        return over_seeds([Side(one.errors, -1.0), Side(two.errors)], totals, **settings)
    shared = [s for s in one.seeds if s is not None and s in two.seeds]
    if len(shared) < 2:
        raise UserError(
            f"pair_seeds: {', '.join(one.runs)} and {', '.join(two.runs)} share {len(shared)} "
            f"{plural('seed', len(shared))}; it takes at least two"
        )
    rows = [[side.seeds.index(s) for s in shared] for side in (one, two)]
    return over_seeds([Side(two.errors[rows[1]] - one.errors[rows[0]])], totals, **settings)


def _row(over: OverSeeds) -> dict[str, Any]:
    return {
        "difference": over.estimate.value,
        "difference.low": over.estimate.low,
        "difference.high": over.estimate.high,
        "p": over.p_value,
        "df": over.df,
        "n_seeds.first": over.n_seeds[0],
        "n_seeds.second": over.n_seeds[-1],
        "n_clusters": over.estimate.n_groups,
        "method": over.method,
    }


def _printed(
    frame: pd.DataFrame,
    unit: Unit,
    by: str | None,
    correction: Correction,
    level: float,
    pair_seeds: bool,
    running: Sequence[str],
) -> PrintedTable:
    name, clusters = NAMES[unit], plural(by or "utterance", 2)
    heading = ["first", "second", f"{name} % first", "second", f"second − first [{100 * level:g} %]"]
    heading += ["p", f"p {CORRECTIONS[correction]}", "df", "n seeds", f"n {clusters}"]
    rows = [
        [
            *(row["first"], row["second"]),
            *(number(100 * row[f"rate.{side}"], 1) for side in ("first", "second")),
            cell(row, "difference", 1, 100, sign=True),
            *(p_text(row["p"]), p_text(row["p.corrected"]), number(row["df"], 1)),
            *(f"{row['n_seeds.first']}, {row['n_seeds.second']}", count(row["n_clusters"])),
        ]
        for row in frame.to_dict("records")
    ]
    how = {
        "t": f"t-interval over seeds and {clusters}, for other seeds and other {clusters}.",
        "bootstrap": f"percentile bootstrap that draws seeds and {clusters} independently; no p.",
        ONE_SEED: f"studentized bootstrap over {clusters}; p of the swap test. Other seeds are not included.",
    }
    present = list(dict.fromkeys(frame["method"]))
    notes = [
        f"{name} of each run's last evaluation, mean over seeds; differences in percentage points.",
        *([f"Still running, at their latest evaluation: {', '.join(running)}."] if running else []),
        *(["Runs of one seed are compared with each other."] if pair_seeds else []),
        *(f"[ ]{'' if len(present) == 1 else f' ({method})'}: {how[method]}" for method in present),
        correction_note(frame, "p", correction),
    ]
    return PrintedTable(frame, heading, rows, notes, left=2)
