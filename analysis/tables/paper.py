"""The tables of a paper: error rates of recipes on test sets, and VUSS over the on-policy steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from overlap.estimates.funnel import BINS

from ..formatting import count, counts, number, plural, with_interval
from ..inference.recipes import last_transcripts, recipe_errors
from ..printed_table import PrintedTable
from ..run.load import Run, normalizer_of
from ..run.runs import Runs
from ..stages.error_rates import OVER, UNITS, bootstrap_unit_text, cluster_of, evaluated
from ..stats.error_rates import NAMES, Unit
from ..stats.seeds import Side, over_seeds

RATES: dict[str, tuple[str, Unit]] = {rate: (NAMES[unit], unit) for rate, unit in UNITS.items()}
"""Name and unit of each error rate."""
SIZES = ("student_size", "teacher_size", "intersection_size")


def error_rate_table(runs: Runs) -> PrintedTable:
    """Return error rates of each recipe at the end of its runs, one column for each test set and rate, the teacher's
    first.

    With one run of a recipe the interval is that of `inference.evaluated`. With several seeds the value is their mean,
    and the interval is over both seeds and utterances, or seeds and speakers if there are ten or more
    (`inference.over_seeds`). If a run has no transcripts, the smallest and largest of the seeds are shown instead.

    Returns:
        Its frame has one row for each recipe, test set and rate: `recipe`, `model`, `set`, `rate` (`wer` or `mer`,
        `cer`), `value`, `low`, `high`, `min`, `max`, `n_runs`, `n_utterances`, `total` (words, tokens or characters),
        `over` (what the interval is over: `utterances`, `speakers`, `seeds and utterances`, `seeds and speakers`, or
        nothing), `n_over` (utterances or speakers), `stored` (whether it was stored with the evaluation because
        transcripts are missing). Shares, not percentages.
    """
    evaluations = _distinct_sets(runs.joined(lambda run: evaluated(run, all_sets=True)))
    rows = _teachers(evaluations)
    for recipe in dict.fromkeys(runs.recipes[name] for name in runs):
        students = evaluations.loc[(evaluations["recipe"] == recipe) & (evaluations["model"] == "student")]
        for test_set in dict.fromkeys(students["set"]):
            last = students.loc[students["set"] == test_set].drop_duplicates("run", keep="last")
            place = {"recipe": recipe, "model": "student", "set": test_set}
            rows += [place | _rate(Runs(runs.of_recipe(recipe), runs.recipes), recipe, last, rate) for rate in RATES]
    columns = ["recipe", "model", "set", "rate", "value", "low", "high", "min", "max", "n_runs", "n_utterances"]
    frame = pd.DataFrame(rows, columns=[*columns, "total", *OVER])
    cautions = _notes_on_runs(runs, list(runs), "at their last evaluation")
    return _error_rates_printed(frame.loc[frame["total"].notna()], evaluations, cautions)


def vuss_table(runs: Runs) -> PrintedTable:
    """Return VUSS over the steps of on-policy training, as mean (min–max) (arXiv 2605.28139), with the set sizes.

    Means of a step are over the positions of its batch; the mean over steps gives every step the same weight, those of
    all seeds together. The smallest and largest step depend on the batch size as well.

    Returns:
        Its frame has one row for each recipe: `vuss`, `vuss.min`, `vuss.max`, `student_size`, `teacher_size`,
        `intersection_size` in tokens, `k`, `used` (share of rollout positions that were used), `n_steps`, `n_runs`.
        Recipes without on-policy steps are left out.
    """
    metrics, rows, counted = runs.joined(_on_policy_steps), [], []
    for recipe in dict.fromkeys(runs.recipes[name] for name in runs):
        members = runs.of_recipe(recipe)
        steps = metrics.loc[metrics["recipe"] == recipe]
        steps = steps.dropna(subset="overlap.union_size") if "overlap.union_size" in steps else steps.iloc[:0]
        if steps.empty:
            continue
        counted += steps["run"].unique().tolist()
        union = steps["overlap.union_size"].to_numpy(dtype=np.float64)
        bins = steps.reindex(columns=[f"funnel.{name}" for name in BINS]).to_numpy(dtype=np.float64)
        used = steps["funnel.used"].to_numpy(dtype=np.float64) if "funnel.used" in steps else np.full(1, np.nan)
        ks = sorted({run.resolved["recipe"].get("support", {}).get("k", math.nan) for run in members.values()})
        rows.append(
            {"recipe": recipe, "vuss": union.mean(), "vuss.min": union.min(), "vuss.max": union.max()}
            | {name: steps[f"overlap.{name}"].to_numpy(dtype=np.float64).mean() for name in SIZES}
            | {
                "used": used.sum() / np.nansum(bins) if np.isfinite(bins).any() else math.nan,
                "k": ks[0] if len(ks) == 1 else math.nan,
            }
            | {"n_steps": len(steps), "n_runs": steps["run"].nunique()}
        )
    columns = ["recipe", "vuss", "vuss.min", "vuss.max", *SIZES, "used", "k", "n_steps", "n_runs"]
    frame = pd.DataFrame(rows, columns=columns)
    heading = ["recipe", "VUSS mean (min–max)", "mean |S|", "mean |T|", "mean |I|", "k", "used %", "n steps", "n runs"]
    printed = [
        [
            *(row["recipe"], f"{number(row['vuss'], 2)} ({number(row['vuss.min'], 2)}–{number(row['vuss.max'], 2)})"),
            *(number(row[name], 2) for name in SIZES),
            *(count(row["k"]), number(100 * row["used"], 1), count(row["n_steps"]), count(row["n_runs"])),
        ]
        for row in frame.to_dict("records")
    ]
    notes = [
        "Means over the positions of each on-policy training step, in tokens. VUSS = mean |U| falls with more overlap, "
        "but also with smaller |S| or |T|. used: share of rollout positions in the loss.",
        *_notes_on_runs(runs, counted, "over their steps"),
    ]
    return PrintedTable(frame, heading, printed, notes)


def _on_policy_steps(run: Run) -> pd.DataFrame:
    stages = [stage["name"] for stage in run.stages if stage["type"] == "opd"]  # also known without visits.jsonl
    return run.metrics.loc[run.metrics["stage"].isin(stages)]


def _distinct_sets(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Distinguish sets of one name by size or normalizer where these differ; `name` keeps the original name."""
    sets = evaluations["set"].tolist()
    for name, rows in evaluations.groupby("set"):
        columns = [[kind(row) for row in rows.to_dict("records")] for kind in (_size, normalizer_of)]
        differ = [column for column in columns if len(set(column)) > 1]
        for place, *parts in zip(evaluations.index.get_indexer(rows.index), *differ, strict=True):
            sets[place] = f"{name} ({', '.join(map(str, parts))})" if parts else name
    return evaluations.assign(name=evaluations["set"], set=pd.Series(sets, index=evaluations.index, dtype=object))


def _size(row: Mapping[Any, Any]) -> str:
    """Return the size of a test set, in words, in tokens of the mixed error rate, or in characters."""
    totals = {unit: row.get(f"{rate}.total", math.nan) for rate, unit in UNITS.items()}
    return next((f"{count(total)} {unit}" for unit, total in totals.items() if not math.isnan(total)), "not counted")


def _teachers(evaluations: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row for each set and rate; also for each recipe if their teachers differ."""
    rows: list[dict[str, Any]] = []
    teachers = evaluations.loc[evaluations["model"] == "teacher"]
    for test_set in dict.fromkeys(teachers["set"]):
        here = teachers.loc[teachers["set"] == test_set]
        counted = [name for rate in RATES for name in (f"{rate}.errors", f"{rate}.total") if name in here]
        one = len(here.drop_duplicates(counted)) == 1
        for row in (here.head(1) if one else here.drop_duplicates("recipe")).to_dict("records"):
            name = "(teacher)" if one else f"(teacher of {row['recipe']})"
            rows += [
                {"recipe": name, "model": "teacher", "set": test_set, **_measured(row, rate), "n_runs": 1}
                for rate in RATES
            ]
    return rows


def _measured(row: Mapping[Any, Any], rate: str) -> dict[str, Any]:
    value, low, high, total = (float(row.get(f"{rate}.{name}", math.nan)) for name in ("value", "low", "high", "total"))
    return {
        **{"rate": rate, "value": value, "low": low, "high": high, "min": value, "max": value},
        **{"n_utterances": row.get("n_utterances", math.nan), "total": total},
        **{name: row[name] for name in OVER},
    }


def _rate(runs: Runs, recipe: str, last: pd.DataFrame, rate: str) -> dict[str, Any]:
    """Return the mean over seeds, with an interval if possible, from the last evaluations of the recipe's runs."""
    found = [_measured(row, rate) for row in last.to_dict("records")]
    if len(found) == 1:
        return found[0] | {"n_runs": 1}
    values = [one["value"] for one in found]
    result = found[0] | {"value": float(np.mean(values)), "min": min(values), "max": max(values), "n_runs": len(found)}
    nothing = {"low": math.nan, "high": math.nan, "over": "", "n_over": math.nan}
    if math.isnan(result["value"]):  # the runs count another rate
        return result | nothing
    for run in runs.values():
        _ = run.transcripts  # read here, to distinguish a damaged file from a missing one
    test_set = str(last["name"].iloc[0])
    try:
        by = cluster_of(*(last_transcripts(runs, name, test_set) for name in runs))
        errors = recipe_errors(runs, RATES[rate][1], test_set=test_set, by=by)[recipe]
    except ValueError:  # no pairing: transcripts are missing, or of other utterances
        return result | nothing
    over = over_seeds([Side(errors.errors)], errors.totals).estimate
    found = {"over": f"seeds and {by or 'utterance'}s", "n_over": over.n_groups, "stored": False}
    return (
        result | {"low": max(over.low, 0.0), "high": over.high} | found
    )  # a t-interval may extend below 0, but rates do not


def _notes_on_runs(runs: Runs, names: Sequence[str], where: str) -> list[str]:
    """Return notes on means over these runs: which are still running, which are probes, and which are not
    independent."""
    running = [name for name in names if name in runs.running]
    notes = [f"Still running, {where} so far: {', '.join(running)}."] if running else []
    probes = [name for name in names if runs[name].probed is not None]
    notes += [f"Probes, which have no error rates: {', '.join(probes)}."] if probes else []
    for recipe in dict.fromkeys(runs.recipes[name] for name in names):
        seeds = [runs[name].seed for name in names if runs.recipes[name] == recipe]
        if len(set(seeds)) < len(seeds):
            shared = ", ".join(str(seed) for seed in seeds)
            notes.append(f"{recipe}: its runs have seeds {shared}; runs of one seed are not independent.")
    return notes


def _error_rates_printed(frame: pd.DataFrame, evaluations: pd.DataFrame, cautions: list[str]) -> PrintedTable:
    sets = list(dict.fromkeys(frame["set"]))
    measured = set(zip(frame["set"], frame["rate"], strict=True))
    shown = [(name, rate) for name in sets for rate in RATES if (name, rate) in measured]
    titles = [f"{title} % {name}" for name in sets for rate, (title, _) in RATES.items() if (name, rate) in measured]
    heading = ["recipe", *titles, "n runs"]
    by = {(row["recipe"], row["set"], row["rate"]): row for row in frame.to_dict("records")}
    rows = []
    for recipe in dict.fromkeys(frame["recipe"]):
        cells = [_cell(by.get((recipe, name, rate))) for name, rate in shown]
        rows.append([str(recipe), *cells, count(max(frame.loc[frame["recipe"] == recipe, "n_runs"]))])
    notes = [f"{name}: {_about(frame, evaluations, name)}." for name in sets] + cautions
    several = frame["over"].str.startswith("seeds")
    if len(one := frame.loc[~several & (frame["over"] != "")]):
        notes.append(f"[ ] of one run: 95 % bootstrap interval {_bootstrap_units(one)}, for this seed only.")
    if len(many := frame.loc[several]):
        notes.append(f"[ ] of several runs: their mean, 95 % t-interval {_bootstrap_units(many)} at once.")
    if "" in set(frame["over"]):
        notes.append("( ): smallest and largest of the seeds; without transcripts there is no interval of their mean.")
    return PrintedTable(frame, heading, rows, notes)


def _bootstrap_units(frame: pd.DataFrame) -> str:
    """Return bootstrap units of the intervals, for each set if they differ."""
    words = {name: bootstrap_unit_text(rows) for name, rows in frame.groupby("set", sort=False)}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{over} on {name}" for name, over in words.items())


def _cell(row: dict[Any, Any] | None) -> str:
    if row is None or math.isnan(row["value"]):
        return number(math.nan, 1)
    value = number(100 * row["value"], 1)
    if row["over"]:
        found = row["value"], row["low"], row["high"]
        return value if math.isnan(row["low"]) else with_interval(*found, 1, 100)
    return f"{value} ({number(100 * row['min'], 1)}–{number(100 * row['max'], 1)})"


def _about(frame: pd.DataFrame, evaluations: pd.DataFrame, test_set: str) -> str:
    here, rows = frame.loc[frame["set"] == test_set], evaluations.loc[evaluations["set"] == test_set]
    totals = {unit: here.loc[here["rate"] == rate, "total"] for rate, (_, unit) in RATES.items()}
    sizes = [f"{counts(total)} {unit}" for unit, total in totals.items() if len(total)]
    normalizers = sorted({str(normalizer_of(row)) for row in rows.to_dict("records")})
    return (
        f"{', '.join(sizes)} in {counts(here['n_utterances'])} utterances, "
        f"{plural('normalizer', len(normalizers))} {', '.join(normalizers)}"
    )
