"""Rules on gates: those that never read, that fell back or aborted, and stages that ended before their gate opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from overlap.gates import KINDS, Collapse

from ..formatting import count, number, plural
from ..run.load import Run
from ..run.visits import Visit
from ..stages.gate_readings import gate_readings
from .advisory import Advisory, Rule, Severity
from .readings import at

Found = Sequence[Advisory] | None
SIGNS = {"at_least": "≥", "at_most": "≤"}
"""Of thresholds."""


def _gate_of(run: Run, visit: Visit) -> Mapping[str, Any]:
    """Return the settings of a visit's gate; empty without one, or with one of another trainer."""
    stage = next(stage for stage in run.stages if stage["name"] == visit.stage)
    settings = stage.get("gate") or {}
    return settings if isinstance(settings, Mapping) and settings.get("type") in KINDS else {}


def can_open(settings: Mapping[str, Any]) -> bool:
    """Return whether a gate of a recipe can end its stage; one that only guards against a collapse cannot."""
    members = [*(settings.get("gates") or ()), *filter(None, [settings.get("then"), settings.get("gate")])]
    if members:
        return any(can_open(member) for member in members)
    kind = KINDS.get(str(settings.get("type")))
    return kind is not None and kind is not Collapse


def _gated_visits(run: Run) -> list[tuple[Visit, Mapping[str, Any]]]:
    return [(visit, gate) for visit in run.visits if (gate := _gate_of(run, visit))]


def _never_read(run: Run) -> Found:
    if not (gated := _gated_visits(run)):
        return None
    every = (run.resolved["recipe"].get("probe") or {}).get("every")
    found = []
    for visit, _ in gated:
        if visit.ongoing or visit.gated or not visit.steps:
            continue
        probed = "" if every is None else f", a probe is due every {count(every)}"
        said = f"0 readings in {count(visit.steps)} {plural('step', visit.steps)}{probed}"
        advice = "Nothing guarded this stage. Set `every` in [probe] below the steps of the shortest stage."
        severity = Severity.NOTE if visit.outcome == "stopped" else Severity.WARNING
        where = at(visit.stage, visit.last_step)
        found.append(Advisory("gate_never_read", severity, "A gate never read", where, said, advice))
    return found


def _fell_back(run: Run) -> Found:
    if not (gated := _gated_visits(run)):
        return None
    found = []
    for visit, _ in gated:
        where, said = (
            at(visit.stage, visit.last_step),
            f"After {count(visit.steps)} {plural('step', visit.steps)}: {visit.reason}",
        )
        if visit.decision == "abort" or visit.outcome == "aborted":
            advice = (
                "Read the transcripts of the last probe. Begin again from an earlier checkpoint with a lower learning "
                "rate, or with more teacher data."
            )
            found.append(Advisory("gate_fell_back", Severity.CRITICAL, "A gate aborted the run", where, said, advice))
        elif visit.decision == "fall_back":
            advice = (
                "The stage goes on from earlier weights, and may fail in the same way: find out what it unlearned, "
                "lower its learning rate, or warm up longer."
            )
            found.append(Advisory("gate_fell_back", Severity.WARNING, "A gate fell back", where, said, advice))
    return found


def _exhausted(run: Run) -> Found:
    if not (gated := [(visit, gate) for visit, gate in _gated_visits(run) if can_open(gate)]):
        return None
    found, levels = [], gate_readings(run)
    for visit, _ in gated:
        if not visit.exhausted:
            continue
        said = f"{count(visit.steps)} {plural('step', visit.steps)} were spent{_missed(levels, visit)}"
        went_on = visit.decision == "advance"
        advice = (
            "The next stage began although the gate had not let it: judge it with care, and set `when_exhausted` to "
            '"stop" if it should not begin.'
            if went_on
            else "Give the stage more `steps`, or find out why the number stays where it is; do not lower the level "
            "first."
        )
        where = at(visit.stage, visit.last_step)
        title = "A stage ended with its gate shut"
        found.append(Advisory("gate_shut", Severity.WARNING, title, where, said, advice))
    return found


def _missed(levels: pd.DataFrame, visit: Visit) -> str:
    """Return what kept a gate shut at its last reading, in words: bounds of intervals with their levels."""
    rows = levels.loc[(levels["visit"] == visit.number) & levels["side"].isin(SIGNS)]
    last = rows.loc[rows["step"] == rows["step"].max()]
    missed = last.loc[~last["satisfied"].astype(bool)]
    words = [
        f"{'' if pd.isna(row['group']) else row['group'] + ': '}"
        f"{row['statistic'] if row['states'] in (None, 'student') else '{states}.{statistic}'.format(**row)} "
        f"{number(float(row['bound']), 3)}, needed {SIGNS[row['side']]} {row['level']:g}"
        for row in missed.to_dict("records")
    ]
    return f"; bounds at its last reading, step {count(last['step'].iloc[0])}: {'; '.join(words)}" if words else ""


RULES = (
    Rule("gate_fell_back", "gates that fell back", _fell_back),
    Rule("gate_shut", "gates left shut", _exhausted),
    Rule("gate_never_read", "gates never read", _never_read),
)
