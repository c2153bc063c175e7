"""The facts of a run that its verdicts use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from overlap import Estimate
from overlap.definitions.names import ALL
from overlap.errors import UserError
from overlap.gates import KINDS

from ..advising.readings import level_for
from ..formatting import count
from ..inference.pairing import Rated, paired_with
from ..run.load import ERROR_RATES, Run, normalizer_of
from ..run.visits import NO_GATE, Visit
from ..stages.ends import rows_at_end, rows_at_start
from ..stages.error_rates import UNITS, cluster_of, student_evaluations, transcripts_of
from ..stages.gate_readings import gate_readings
from ..stats.error_rates import NAMES, error_rate_difference
from .thresholds import NAMES as STATISTICS
from .verdict_types import Control, ErrorChange, StageFacts, Worsened

Evaluation = dict[str, Any]
"""A row of `Run.evaluations`."""
NO_CONTROLS: Mapping[str, Run] = MappingProxyType({})


def stage_facts(
    run: Run, changes: pd.DataFrame | None = None, controls: Mapping[str, Run] = NO_CONTROLS
) -> list[StageFacts]:
    """Return facts of each visit of a stage, in order.

    Args:
        run: A run, finished or not.
        changes: Changes of overlap on recorded rollouts, the frame of `inference.stage_changes`.
        controls: Runs without OPD, by name, to compare this run's last on-policy stage with.

    Raises:
        UserError: Transcripts of two evaluations are not of the same utterances, or a file is damaged.
    """
    probes, tested = run.probes, student_evaluations(run)
    teachers = probes.loc[probes["states"] == "teacher"]
    last_opd = max((visit.number for visit in run.visits if visit.kind == "opd"), default=-1)
    facts, ends = [], []
    for visit in run.visits:
        before = _last(rows_at_start(tested, visit))
        if visit.number == 0 and before is not None:
            ends.append((float(before[f"{run.error_rate}.value"]), before, "the run's start"))
        after = _last(rows_at_end(run, tested, visit, latest=True))
        errors = _change(run, before, after, "its start", visit)
        best = min((end for end in ends if not math.isnan(end[0])), key=lambda end: end[0], default=None)
        baseline = None
        if best is not None and before is not None and best[1]["step"] != before["step"]:
            baseline = _change(run, best[1], after, best[2], visit)
        if after is not None and visit.decision != "fall_back":
            ends.append((float(after[f"{run.error_rate}.value"]), after, f"the end of {visit.stage}"))
        own, fixed = (probes.loc[(probes["visit"] == visit.number) & (probes["states"] == s)] for s in STATES)
        beside = _controls(run, after, controls) if visit.number == last_opd else []
        facts.append(
            StageFacts(
                *(visit.stage, visit.kind, visit.first_step, visit.last_step, visit.decision, visit.reason),
                *(_numbers(part, step) for part in (own, fixed) for step in (visit.first_step, visit.last_step)),
                likely=_numbers(teachers.loc[teachers["visit"] == visit.number], visit.last_step).get(LIKELY),
                likely_level=level_for(run, LIKELY).level,
                errors=errors if visit.steps else None,
                baseline=baseline,
                outcome=visit.outcome,
                start_evaluated=before is not None,
                exhausted=visit.exhausted,
                guarded=visit.guarded,
                gated=visit.gated,
                waiting=_waiting_reason(run, visit),
                worsened=_worsened_statistics(changes, visit),
                controls=tuple(one for one in beside if not isinstance(one, str)),
                left_out=tuple(one for one in beside if isinstance(one, str)),
            )
        )
    return facts


STATES = ("student", "fixed")
LIKELY = "student_end_likely.at_end"
"""Read on the teacher's transcripts."""
WORSE = {"total_variation": 1, "forward_kl": 1, "top1_agreement": -1, "student_mass": -1, "teacher_mass": -1}
"""Statistics of which one direction is worse, with that direction."""
CERTAIN = 0.05
"""Corrected p below which a stage counts as having worsened a statistic."""


def _worsened_statistics(changes: pd.DataFrame | None, visit: Visit) -> tuple[Worsened, ...]:
    found = []
    for row in () if changes is None else changes.loc[changes["visit"] == visit.number].to_dict("records"):
        name = str(row["statistic"])
        if WORSE.get(name, 0) * float(row["change"]) > 0 and float(row["p.corrected"]) < CERTAIN:
            value, error, low, high = (float(row[f"change{end}"]) for end in ("", ".standard_error", ".low", ".high"))
            change = Estimate(value, error, low, high, int(row["n_positions.after"]), int(row["n_groups"]))
            found.append(Worsened(STATISTICS[name], change, float(row["p.corrected"])))
    return tuple(found)


def _waiting_reason(run: Run, visit: Visit) -> str:
    """Return the last reason of a gate that reads overlap and has not opened; gates that only count steps are
    ignored."""
    if visit.decision == "advance" and not visit.exhausted:
        return ""
    mine = run.decisions.loc[run.decisions["visit"] == visit.number]
    gates = mine.loc[~mine["gate"].isin(NO_GATE)]
    stage = next(stage for stage in run.stages if stage["name"] == visit.stage)
    levels = gate_readings(run)
    levels = levels.loc[(levels["visit"] == visit.number) & levels["side"].isin(("at_least", "at_most", "best"))]
    if levels.empty and not (gates.empty and _opens_on_statistics(stage.get("gate") or {})):
        return ""
    if gates.empty:
        return "it has not read yet"
    stayed = int((gates["decision"] == "stay").sum())
    last = gates.iloc[-1]
    if last["decision"] != "stay":
        return ""
    times = "" if stayed == 1 else f" {count(stayed)} times, most recently"
    return f"it decided stay{times}: {last['reason']}"


def _opens_on_statistics(settings: Mapping[str, Any]) -> bool:
    """Return whether a gate opens on statistics, by its table of the recipe; False for combinations and where that
    fails."""
    kind = KINDS.get(str(settings.get("type")))
    if kind is None or not dataclasses.is_dataclass(kind):
        return False
    try:
        gate = kind(**{name: value for name, value in settings.items() if name != "type"})
    except (TypeError, UserError):  # written by another trainer
        return False
    return gate.can_advance and bool(gate.statistics)


def _controls(run: Run, after: Evaluation | None, others: Mapping[str, Run]) -> list[Control | str]:
    """Return this run's error rate against those of runs without OPD, or why one of them is not comparable."""
    if after is None:
        return []
    own = Rated("this run", run.error_rate, after, transcripts_of(run, after))
    found: list[Control | str] = []
    for name, other in others.items():
        paired = paired_with(own, run, name, other, control=True)
        if isinstance(paired, str):
            found.append(f"not compared with {name} ({paired})")
        else:
            change = _paired(run, paired.transcripts, own.transcripts, name, "")
            found.append(Control(name, paired.step, own.step, change))
    return found


def _numbers(probes: pd.DataFrame, step: int) -> dict[str, Estimate]:
    """Return statistics of a probe, without the bins of the funnel, which are in the same file."""
    found = {}
    for row in probes.loc[probes["step"] == step].to_dict("records"):
        name = str(row["statistic"]).split(".")[0]  # `forward_kl.lower` is an end of a statistic
        if name in ALL:
            found[str(row["statistic"])] = Estimate.from_dict(row)
    return found


def _last(rows: pd.DataFrame) -> Evaluation | None:
    return None if rows.empty else {str(name): value for name, value in rows.iloc[-1].items()}


def _change(
    run: Run, before: Evaluation | None, after: Evaluation | None, since: str, visit: Visit
) -> ErrorChange | None:
    if before is None or after is None:
        return None
    rate = run.error_rate
    until = f"at step {count(after['step'])}" if visit.ongoing else ""
    if normalizer_of(before) != normalizer_of(after):  # the run was resumed with another version
        return None
    one, two = (transcripts_of(run, row) for row in (before, after))
    if len(one) and len(two):
        return _paired(run, one, two, since, until)
    first, second = (_rate(row, rate) for row in (before, after))
    ends = {"value": second.value - first.value, "low": second.low - first.high, "high": second.high - first.low}
    change, unit = dataclasses.replace(second, **ends), str(after["over"]).removesuffix("s")
    names = NAMES[ERROR_RATES[rate]], first, second, change, since, second.n_positions
    return ErrorChange(*names, paired=False, until=until, unit=unit)


def _paired(run: Run, one: pd.DataFrame, two: pd.DataFrame, since: str, until: str) -> ErrorChange:
    unit = UNITS[run.error_rate]
    found = error_rate_difference(one, two, unit, by=cluster_of(one, two))
    rates = found.first, found.second, found.difference
    return ErrorChange(NAMES[unit], *rates, since, found.total, until=until, unit=found.cluster)


def _rate(evaluation: Evaluation, rate: str) -> Estimate:
    value, low, high = (float(evaluation[f"{rate}.{end}"]) for end in ("value", "low", "high"))
    return Estimate(value, math.nan, low, high, int(evaluation[f"{rate}.total"]), int(evaluation["n_over"]))
