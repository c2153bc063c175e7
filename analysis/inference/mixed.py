"""A linear mixed model of errors: recipes are fixed, runs and utterances are samples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from overlap.errors import UserError

from ..formatting import count, decimals, number, p_text, plural, with_interval
from ..printed_table import PrintedTable
from ..run.checks import want_runs
from ..run.runs import Runs
from ..stats.error_rates import NAMES, Unit
from .recipes import recipe_errors

COMPONENTS = {"run": "run (seed)", "cluster": "{}", "both": "recipe × {}", "rest": "rest"}
"""Random effects, and how they are printed, given what a cluster is."""


def mixed_model(
    runs: Runs,
    baseline: str | None = None,
    unit: Unit = "words",
    *,
    test_set: str | None = None,
    by: str | None = None,
    level: float = 0.95,
) -> PrintedTable:
    """Fit errors ~ recipe + (1 | run) + (1 | utterance) + (1 | recipe × utterance) by REML, with statsmodels.

    An utterance's errors are divided by the mean length of the references, so that a recipe's mean is exactly its
    error rate. Intervals and p-values use the normal distribution and are too small with few seeds, unlike
    `over_seeds`. The model adds variance components: the variance due to the seed, the utterance, and their interaction
    with the recipe.

    Args:
        runs: From `load_many`: at least two recipes, one of them with two seeds. Six runs of 200
            utterances take seconds, twelve a minute or two.
        baseline: The recipe that the others are compared with; by default the first.
        unit: `words` or `characters`.
        test_set: Which set, where there are several.
        by: A column whose values are one cluster, such as `speaker`.
        level: Coverage of the intervals.

    Returns:
        One row for each term: `term`, `kind` (`fixed`, or `sd` of a random effect), `value` as a share of the
        reference's words, and for fixed ones `standard_error`, `low`, `high` and `p`.

    Raises:
        UserError: Too few recipes or seeds, or what `recipe_errors` raises.
    """
    want_runs(runs)
    found = recipe_errors(runs, unit, test_set=test_set, by=by)
    names = list(found)
    if len(names) < 2 or max(len(errors.runs) for errors in found.values()) < 2:
        raise UserError("a mixed model needs at least two recipes and two seeds of one of them")
    baseline = names[0] if baseline is None else baseline
    if baseline not in found:
        raise UserError(f"baseline: no recipe is called {baseline!r}; there are {', '.join(found)}")
    names = [baseline, *(name for name in names if name != baseline)]
    totals = found[baseline].totals
    clusters, parts = np.arange(len(totals)), []
    for number_, name in enumerate(names):
        for run, errors in zip(found[name].runs, found[name].errors, strict=True):
            part = {"recipe": number_, "run": run, "cluster": clusters, "both": clusters * len(names) + number_}
            parts.append(pd.DataFrame(part | {"errors": errors / totals.mean()}))
    data = pd.concat(parts, ignore_index=True)
    from statsmodels.formula.api import mixedlm  # seconds, which only this needs

    model = mixedlm(
        "errors ~ C(recipe)",
        data,
        groups=np.ones(len(data)),
        re_formula="0",
        vc_formula={name: f"0 + C({name})" for name in COMPONENTS if name != "rest"},
    )
    with warnings.catch_warnings():
        # A component estimated as 0 lies on the boundary, which is a valid result. A fit that does not converge is
        # noted below.
        warnings.simplefilter("ignore")
        # The gradient methods that statsmodels tries first stop early if a component is near 0; Powell's does not.
        fit = model.fit(reml=True, method=["powell"])
    terms = ["intercept", *(f"{name} − {baseline}" for name in names[1:])]
    ends = fit.conf_int(alpha=1 - level)[: len(terms)].to_numpy()
    fixed = {"value": fit.fe_params, "standard_error": fit.bse_fe, "p": fit.pvalues[: len(terms)]}
    columns = {name: np.asarray(values, dtype=float) for name, values in fixed.items()}
    rows = pd.DataFrame({"term": terms, "kind": "fixed", **columns, "low": ends[:, 0], "high": ends[:, 1]})
    rows.loc[0, ["term", "p"]] = [baseline, np.nan]  # testing an error rate against 0 is meaningless
    variances = {**dict(zip(model.exog_vc.names, fit.vcomp, strict=True)), "rest": fit.scale}
    spread = [
        {"term": label.format(plural(by or "utterance", 1)), "kind": "sd", "value": float(np.sqrt(variances[name]))}
        for name, label in COMPONENTS.items()
    ]
    frame = pd.concat([rows, pd.DataFrame(spread)], ignore_index=True)
    return _printed(frame, unit, level, (len(data), len(totals), by or "utterance"), bool(fit.converged), runs.running)


def _printed(
    frame: pd.DataFrame, unit: Unit, level: float, counts: tuple[int, int, str], converged: bool, running: Sequence[str]
) -> PrintedTable:
    rows = []
    for row in frame.to_dict("records"):
        digits = decimals(100 * row["standard_error"], 1)
        shown, p = number(100 * row["value"], digits), ""
        if row["kind"] == "fixed":
            sign = "−" in str(row["term"])
            shown = with_interval(row["value"], row["low"], row["high"], digits, 100, sign=sign)
            p = p_text(row["p"])
        rows.append([row["term"], row["kind"], shown, p])
    observations, clusters, cluster = counts
    notes = [
        f"Linear mixed model (REML) of {count(observations)} error counts on {count(clusters)} "
        f"{plural(cluster, clusters)}; percentage points of {unit}.",
        "[ ] and p use the normal distribution; with few seeds they are too small.",
        f"sd: standard deviation of a random effect on one {cluster} in one run, in the same points.",
    ]
    if running:
        notes.append(f"Still running, at their latest evaluation: {', '.join(running)}.")
    if not converged:
        notes.append("The fit did not converge: do not use these numbers. `recipe_differences` needs no fit.")
    return PrintedTable(frame, ["term", "kind", f"{NAMES[unit]} points [{100 * level:g} %]", "p"], rows, notes, left=2)
