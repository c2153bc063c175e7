"""Which statistic at the start of a stage predicts its gain in error rate? One row for each visit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from overlap.definitions import TOKEN_STATISTICS, canonical
from overlap.errors import UserError

from ..formatting import count, p_text, plural, signed, with_interval
from ..printed_table import PrintedTable
from ..run.checks import want_frame, want_runs
from ..run.load import normalizer_of
from ..run.runs import Runs
from ..stages.ends import rows_at_start
from ..stages.error_rates import student_evaluations
from ..stages.table import stage_table
from ..stats.multiple_testing import CORRECTIONS, Correction, correction_note, strongest_first, with_corrected

Outcome = Literal["gain", "recovery", "wer.after"]
OUTCOMES = {
    "gain": "fall in WER over the stage",
    "recovery": "gap recovery, (WER before − after) / (WER before − teacher's)",
    "wer.after": "WER where the stage ends",
}
PLACE = ("run", "recipe", "seed", "visit", "stage", "kind", "first_step", "last_step")
MEASURED = ("normalizer", "wer.before", "wer.after", "wer.teacher", "gain", "recovery")


def stage_gains(runs: Runs, states: str = "student") -> pd.DataFrame:
    """Return the gain of every visit of a stage, with the overlap at its start.

    Args:
        runs: From `load_many`.
        states: On whose transcripts the statistics were probed.

    Returns:
        One row for each visit: `run`, `recipe`, `seed`, `visit`, `stage`, `kind` (`sft`, `td`, `opd`), `first_step`,
        `last_step`; `normalizer` of the run's evaluations, `wer.before`, `wer.after` and `wer.teacher` as shares (of
        the mixed error rate if a run has that), `gain` = before − after, `recovery` = gain / (before − teacher's), NaN
        where the student was no worse than the teacher; then every statistic that was probed at the first step. The
        first weights of a visit after a fall back are not evaluated; its gain is NaN.

    Raises:
        UserError: No run was probed on these states, but some on others.
    """
    want_runs(runs)
    probed = list(dict.fromkeys(kind for run in runs.values() for kind in run.probes["states"]))
    if probed and states not in probed:
        raise UserError(f"states: no run was probed on {states!r}; there are {', '.join(probed)}")
    rows: list[dict[str, Any]] = []
    for name, run in runs.items():
        table = stage_table(run).frame
        rate = run.error_rate
        teachers = table.loc[table["model"] == "teacher", rate]
        teacher = float(teachers.iloc[0]) if len(teachers) else np.nan
        tested, probes = student_evaluations(run), run.probes.loc[run.probes["states"] == states]
        rules = sorted({str(normalizer_of(row)) for row in run.main_evaluations.to_dict("records")})
        students = table.loc[table["model"] == "student"].to_dict("records")
        for visit, left in zip(run.visits, students, strict=True):
            evaluations = rows_at_start(tested, visit)
            before = float(evaluations[f"{rate}.value"].iloc[-1]) if len(evaluations) else np.nan
            at_start = rows_at_start(probes, visit)
            measured = at_start.loc[at_start["statistic"].isin(TOKEN_STATISTICS)].set_index("statistic")["value"]
            gain, gap = before - left[rate], before - teacher
            rows.append(
                {"run": name, "recipe": runs.recipes[name], "seed": run.seed, "kind": visit.kind}
                | {key: left[key] for key in ("visit", "stage", "first_step", "last_step")}
                | {"normalizer": ", ".join(rules) or None}
                | {"wer.before": before, "wer.after": left[rate], "wer.teacher": teacher, "gain": gain}
                | {"recovery": gain / gap if gap > 0 else np.nan}
                | {str(statistic): value for statistic, value in measured.items()}
            )
    frame = pd.DataFrame(rows, columns=None if rows else [*PLACE, *MEASURED])
    frame = frame.astype(dict.fromkeys(("visit", "first_step", "last_step"), "int64"))
    return frame.reindex(columns=[*PLACE, *MEASURED, *(name for name in TOKEN_STATISTICS if name in frame)])


def gain_correlations(
    gains: pd.DataFrame,
    outcome: Outcome = "gain",
    *,
    kind: str | None = "opd",
    statistics: Sequence[str] | None = None,
    per: Literal["run", "recipe"] = "run",
    correction: Correction = "bh",
    level: float = 0.95,
    draws: int = 9999,
    seed: int = 0,
) -> PrintedTable:
    """Return Spearman's correlation of each statistic at a stage's start with the stage's gain.

    A gain contains the WER before: a stage that begins badly has most to gain, so every sign of a bad start correlates
    with it. Look at `wer.after` as well. Runs of one recipe begin the stage with similar overlap and are not
    independent trials; p-values over runs are too small if recipes differ in more than overlap. `per="recipe"` averages
    over seeds first.

    Args:
        gains: From `stage_gains`.
        outcome: `gain` (fall in WER), `recovery` (gap recovery) or `wer.after`.
        kind: Kind of the stages: `sft`, `td` or `opd`; None for all.
        statistics: Names; without them, all.
        per: The unit of a row.
        correction: Of the p-values.
        level: Coverage of the intervals (Bonett & Wright 2000).
        draws: Number of permutations; if there are no more than this, all are used.
        seed: Of the permutations.

    Returns:
        One row for each statistic, the strongest first: `rho`, `low`, `high`, `p` (permutation), `p.corrected`, `n`,
        `n_recipes`, `n_undefined`. NaN if a statistic is constant.

    Raises:
        UserError: Unknown names, error rates under several normalizers, or fewer than four rows.
    """
    example = "stage_gains(load_many(['runs/0', 'runs/1']))"
    if outcome not in OUTCOMES:
        raise UserError(f"outcome: expected one of {', '.join(OUTCOMES)}, received {outcome!r}")
    want_frame(gains, "gains", "gains of stages", example, ("recipe", "kind", outcome))
    statistics = None if statistics is None else [canonical(name) for name in statistics]
    rows = gains if kind is None else gains.loc[gains["kind"] == kind]
    there = [name for name in TOKEN_STATISTICS if name in gains]
    names = there if statistics is None else list(statistics)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise UserError(f"statistics: {unknown[0]!r} was not probed; there are {', '.join(there)}")
    kinds = list(dict.fromkeys(gains["kind"]))
    if kind is not None and kind not in kinds:
        raise UserError(f"kind: no visit is of a stage of kind {kind!r}; there are {', '.join(kinds)}")
    rules = sorted(set(rows["normalizer"].dropna())) if "normalizer" in rows else []
    if len(rules) > 1:
        raise UserError(
            f"gains: error rates were counted under {' and under '.join(rules)}, which are not comparable; take the "
            f'rows of one, such as gains.query("normalizer == {rules[0]!r}")'
        )
    if per == "recipe":
        rows = pd.DataFrame(rows.groupby(["recipe", "stage"], as_index=False, sort=False)[[outcome, *names]].mean())
    if len(rows) < 4:
        what = "visit" if per == "run" else "mean over the seeds of a recipe"
        raise UserError(
            f"a correlation needs at least four rows, found {len(rows)} (a {what} each, {kind or 'all'} stages); load "
            "more runs, of recipes that begin the stage with different overlap"
        )
    gained, recipes = rows[outcome].to_numpy(dtype=np.float64), rows["recipe"].to_numpy(dtype=str)
    found = []
    for name in names:
        measured = rows[name].to_numpy(dtype=np.float64)
        both = ~np.isnan(measured) & ~np.isnan(gained)
        rho, p = _spearman(measured[both], gained[both], draws, seed)
        low, high = _ends(rho, int(both.sum()), level)
        found.append(
            {"statistic": name, "rho": rho, "low": low, "high": high, "p": p, "n": int(both.sum())}
            | {"n_recipes": len(set(recipes[both])), "n_undefined": int((~both).sum())}
        )
    frame = strongest_first(with_corrected(pd.DataFrame(found), "p", correction), "rho")
    return _printed(frame, outcome, kind, per, correction, level)


def _spearman(x: np.ndarray, y: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    if len(x) < 4 or len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return np.nan, np.nan
    a, b = (ranks - ranks.mean() for ranks in (stats.rankdata(x), stats.rankdata(y)))
    size = np.sqrt((a**2).sum() * (b**2).sum())
    found = stats.permutation_test(
        (a,),
        lambda drawn, axis: (drawn * b).sum(axis) / size,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=draws,
        rng=np.random.default_rng(seed),
    )
    return float(found.statistic), float(found.pvalue)


def _ends(rho: float, n: int, level: float) -> tuple[float, float]:
    """Return Fisher's z with the standard error that Bonett & Wright (Psychometrika 65, 2000) give for ranks."""
    if np.isnan(rho) or n < 5 or abs(rho) >= 1:
        return np.nan, np.nan
    reach = stats.norm.ppf((1 + level) / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return float(np.tanh(np.arctanh(rho) - reach)), float(np.tanh(np.arctanh(rho) + reach))


def _printed(
    frame: pd.DataFrame, outcome: Outcome, kind: str | None, per: str, correction: Correction, level: float
) -> PrintedTable:
    unit = "visits" if per == "run" else "means"
    heading = ["statistic at the start", f"ρ [{100 * level:g} %]", "p", f"p {CORRECTIONS[correction]}", f"n {unit}"]
    rows = []
    for row in frame.to_dict("records"):
        rho = signed(row["rho"], 2)
        if not np.isnan(row["low"]):
            rho = with_interval(row["rho"], row["low"], row["high"], 2, sign=True)
        p = [p_text(row[name]) for name in ("p", "p.corrected")]
        rows.append([row["statistic"], rho, *p, count(row["n"])])
    recipes = max(frame["n_recipes"].tolist())
    notes = [
        f"Spearman's ρ with the {OUTCOMES[outcome]}; {kind or 'all'} stages; p by permutation.",
        "A gain contains the WER before: a stage that begins badly has most to gain."
        if outcome == "gain"
        else "A constant statistic has no ρ.",
        f"Visits of {count(recipes)} {plural('recipe', recipes)}: runs of one recipe begin alike, so there are fewer "
        "independent trials than visits; see per='recipe'."
        if per == "run"
        else "Means over the seeds of each recipe and stage.",
        correction_note(frame, "p", correction),
    ]
    return PrintedTable(frame, heading, rows, notes)
