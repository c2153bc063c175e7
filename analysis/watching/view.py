"""The view of a run, as lines of text that fit a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from ..advising import advisories
from ..advising.training import TAKEN_ON
from ..formatting import count, interval, number, plural, with_interval
from ..run.load import ERROR_RATES
from ..run.visits import EXHAUSTED, GUARDED, RUN, said
from ..stages.error_rates import with_counts, with_intervals
from ..stages.probe_reading import funnel_of
from .advice import LABEL, Lines, advice_lines
from .plots import bar, columns, sparkline
from .state import RunState

PLOTTED = {"union_size": ("VUSS", 2), "top1_agreement": ("top-1", 3), "total_variation": ("TV", 3)}
"""Statistics of probes, with label and decimals."""
BORDER = "│"
"""Separates stage names in a terminal without colors."""


def picture(state: RunState, width: int, height: int) -> Group:
    """Return the state of a run in at most `height` lines of at most `width` columns.

    If there is too little room, blank lines are left out first, then the lowest lines.
    """
    sections = [
        section
        for section in (
            _head(state, width),
            advice_lines(advisories(state.run), state.run.path, width, height),
            _gate(state, width),
            _plots(state, width),
            _probe(state),
            _evaluations(state, most=max(3, min(10, height - 24))),
            _transcripts(state),
            _seconds(state),
        )
        if section
    ]
    spaced = sum(map(len, sections)) + len(sections) - 1 <= height
    lines: Lines = []
    for section in sections:
        lines += [Text(), *section] if spaced and lines else section
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(width, overflow="ellipsis")
    return Group(*lines[:height])


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as `2 h 5 min`; a dash for NaN."""
    if math.isnan(seconds):
        return number(seconds, 0)
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    if rounded < 86400:
        return f"{rounded // 3600} h {rounded % 3600 // 60} min"
    return f"{rounded // 86400} d {rounded % 86400 // 3600} h"


def _head(state: RunState, width: int) -> Lines:
    stage, stages = state.run.stages[state.stage], state.run.stages
    if state.outcome is not None:
        status, color = said(state.outcome, state.reason), "bold red" if state.aborted else "bold green"
    elif state.interrupted is not None:
        status, color = f"NOT RUNNING: {state.interrupted}, {duration(state.quiet_seconds)} ago", "bold yellow"
    elif state.stalled:
        status, color = f"STALLED: nothing written for {duration(state.quiet_seconds)}", "bold yellow"
    else:
        status, color = f"running, last written {duration(state.quiet_seconds)} ago", "green"
    name = Text.assemble((state.run.recipe, "bold"), f" · {state.run.path}")
    place = Text.assemble(
        (state.stage_name, "bold cyan"), f" ({stage['type']}), stage {state.stage + 1} of {len(stages)}"
    )
    total = state.total_steps
    run_steps = f"run {count(state.step)}" + (f" of {count(total)}" if total else "")
    most = state.stage_steps
    share = state.stage_step / most if most else 0.0
    steps = f" {count(state.stage_step)}{'' if most is None else f' of at most {count(most)}'} · {run_steps} steps"
    progress = Text.assemble((bar(share, max(8, min(40, width - len(steps) - 2))), "cyan"), steps)
    lines = [name, Text(status, color), place, progress]
    if state.interrupted is not None:
        lines.append(Text(f"`distill resume {state.run.path}` continues from its newest checkpoint", "yellow"))
    elif state.stalled:
        hint = f"a long probe or evaluation; if it was interrupted: `distill resume {state.run.path}`"
        lines.append(Text(hint, "yellow"))
    elif state.outcome is None and not math.isnan(state.step_seconds):
        each = f"{number(state.step_seconds, 2)} s a step, without probes"
        left = duration(state.stage_seconds_left)
        lines.append(Text(each if most is None else f"at most {left} left in this stage, at {each}"))
    return lines


def _gate(state: RunState, width: int) -> Lines:
    readings = state.run.decisions[state.run.decisions["gate"] != RUN]
    if not len(readings):
        return []
    last: dict[str, Any] = readings.iloc[-1].to_dict()
    color = {"stay": "", "advance": "green", "stop": "yellow"}.get(last["decision"], "red")
    spent = last["gate"] in (EXHAUSTED, GUARDED)  # the stage was left, or the run ended, although no gate opened
    said, where = str(last["decision"]), f" at step {last['step']}, {last['stage']}"
    said, where = ("steps spent", where) if spent else (said, f"{where}: {last['gate']}")
    lines = [Text.assemble(("gate".ljust(LABEL), "bold"), (said, "bold yellow" if spent else f"bold {color}"), where)]
    rows = textwrap.wrap(str(last["reason"]), max(20, width - LABEL))
    return lines + [Text(" " * LABEL + row) for row in (*rows[:2], *_limits(state, last)[:3])]


def _limits(state: RunState, decision: Mapping[str, Any]) -> list[str]:
    """Return one line for each statistic with healthy limits; the gate's reason names these only if one is crossed."""
    limits: dict[tuple[str, str], dict[str, float]] = {}
    for level in decision["levels"]:
        whole = level.get("group") is None  # probes have no readings of groups, which the reason names
        if level["side"] in ("lowest", "highest") and level["states"] and whole:
            limits.setdefault((level["states"], level["statistic"]), {})[level["side"]] = level["level"]
    probes, lines = state.run.probes, []
    here = probes.loc[(probes["step"] == decision["step"]) & (probes["visit"] == decision["visit"])]
    for (states, statistic), sides in limits.items():
        for row in here.loc[(here["states"] == states) & (here["statistic"] == statistic)].to_dict("records"):
            estimate = with_interval(row["value"], row["low"], row["high"], 3)
            n = f"n = {count(row['n_positions'])}/{count(row['n_groups'])}"
            name = statistic if states == "student" else f"{states}.{statistic}"
            lines.append(f"{name} {estimate}, {_describe_limits(sides.get('lowest'), sides.get('highest'))}, {n}")
    return lines


def _describe_limits(low: float | None, high: float | None) -> str:
    """Return limits in words; None is an open side."""
    if low is None:
        return f"limit at most {high:g}"
    return f"limit at least {low:g}" if high is None else f"limits {low:g} to {high:g}"


def _number_or_nan(row: Mapping[str, Any], column: str) -> float:
    value = row.get(column)
    return float(value) if isinstance(value, Real) else math.nan


def _plots(state: RunState, width: int) -> Lines:
    run = state.run
    series: list[tuple[str, Sequence[float], Sequence[float], int, str]] = []
    for name, (label, digits) in PLOTTED.items():
        for title, steps, values in _statistic(state, name, label):
            series.append((title, steps, values, digits, ""))
    if len(run.metrics):
        series.append(("loss", run.metrics["step"].tolist(), _losses(run.metrics), 3, ""))
    mine = with_counts(run, run.main_evaluations.loc[run.main_evaluations["model"] == "student"])
    rate = run.error_rate
    if len(mine) and f"{rate}.value" in mine:
        percent = (100 * mine[f"{rate}.value"].astype(float)).tolist()
        series.append((rate.upper(), mine["step"].tolist(), percent, 1, " %"))
    shown = [s for s in series if any(not math.isnan(v) for v in s[2])]
    if not shown or not state.step:
        return []
    room = max(10, min(100, width - LABEL - 26))
    lines = [Text.assemble(("stage".ljust(LABEL), "bold"), *_stages(state, room), ("  first → last", "dim"))]
    for title, steps, values, digits, unit in shown:
        known = [v for v in values if not math.isnan(v)]
        first, last = number(known[0], digits), number(known[-1], digits)
        plot = sparkline(columns(steps, values, state.step, room), 10.0 ** (1 - digits))
        lines.append(Text.assemble((title.ljust(LABEL), "bold"), (plot, "cyan"), f"  {first} → {last}{unit}"))
    return lines


def _losses(metrics: pd.DataFrame) -> list[float]:
    """Return the loss of each step; NaN of those on the teacher's transcripts instead of refused rollouts.

    Their loss is a cross-entropy, which is no point of a line of the stage's divergence.
    """
    losses = metrics["loss"].astype(float)
    return (losses.mask(metrics[TAKEN_ON] == "teacher") if TAKEN_ON in metrics else losses).tolist()


def _statistic(state: RunState, name: str, label: str) -> list[tuple[str, list[float], list[float]]]:
    """Return values from probes on the states `student` (both bounds for a served teacher); without probes, from
    steps."""
    probes, metrics = state.run.probes, state.run.metrics
    own = probes[probes["states"] == "student"]
    ends = {name: label, f"{name}.lower": f"{label} ≥", f"{name}.upper": f"{label} ≤"}
    found = []
    for statistic, title in ends.items():
        rows = own[own["statistic"] == statistic]
        if len(rows):
            found.append((title, rows["step"].tolist(), rows["value"].astype(float).tolist()))
    column = f"overlap.{name}"
    if not found and column in metrics:
        found.append((label, metrics["step"].tolist(), metrics[column].astype(float).tolist()))
    return found


def _stages(state: RunState, width: int) -> list[tuple[str, str]]:
    """Return the stages below the plots: their names, cut to their share of the steps."""
    metrics = state.run.metrics
    if not len(metrics):
        return [(" " * width, "")]
    styles = ("black on cyan", "black on bright_black")
    pieces: list[tuple[str, str]] = []
    at = 0
    for _, rows in metrics.groupby("visit", sort=False):
        last: dict[str, Any] = rows.iloc[-1].to_dict()
        size = max(0, min(width, round(last["step"] * width / max(1, state.step))) - at)
        name = BORDER * bool(pieces) + str(last["stage"])
        pieces.append((name[:size].ljust(size), styles[len(pieces) % 2]))
        at += size
    return [*pieces, (" " * (width - at), "")]


def _probe(state: RunState) -> Lines:
    probes = state.run.probes
    if not len(probes):
        return []
    step = probes["step"].iloc[-1]
    last = probes.loc[(probes["step"] == step) & (probes["visit"] == probes["visit"].iloc[-1])]
    lines = []
    for states, rows in last.groupby("states", sort=False):
        funnel = funnel_of(pd.DataFrame(rows))
        if funnel is None or not funnel.total:
            continue
        used, unfinished = funnel["used"], funnel.used_unfinished
        rest = [f"{name} {count(n)}" for name, n in funnel.counts.items() if n and name != "used"]
        words = f"{states}: {count(used)} of {count(funnel.total)} positions used ({100 * funnel.share('used'):.1f} %)"
        title = f"probe {step}" if not lines else ""
        rest += [f"{count(unfinished)} used ones in unfinished transcripts"] if unfinished else []
        words += "" if not rest else f"; {', '.join(rest)}"
        lines.append(Text.assemble((f"{title:<{LABEL}}" + (" " if len(title) >= LABEL else ""), "bold"), words))
    return lines


def _evaluations(state: RunState, most: int) -> Lines:
    evaluations, rate = state.run.main_evaluations, state.run.error_rate
    if f"{rate}.value" not in evaluations:
        return []
    teacher = evaluations[evaluations["model"] == "teacher"].tail(1)
    students = evaluations[evaluations["model"] != "teacher"].tail(most - len(teacher))
    chosen = [*students.index[::-1], *teacher.index]
    counted = with_counts(state.run, evaluations.loc[chosen])
    rows: list[dict[str, Any]] = with_intervals(state.run, counted).to_dict("records")  # pyright: ignore
    lines = []
    for row in rows:
        value, low, high = (100 * _number_or_nan(row, f"{rate}.{end}") for end in ("value", "low", "high"))
        errors, total = (count(_number_or_nan(row, f"{rate}.{what}")) for what in ("errors", "total"))
        n = f"{errors}/{total} {ERROR_RATES[rate]}, {count(_number_or_nan(row, 'n_over'))} {row['over']}"
        words = f"{number(value, 1):>5} % {interval(low, high, 1):<12}  step {row['step']:<4} {row['model']}  "
        # The set's name is below that of the rate.
        title = {0: rate.upper(), 1: str(row["set"])[: LABEL - 1]}.get(len(lines), "")
        lines.append(Text.assemble((title.ljust(LABEL), "bold"), words, (n, "dim")))
    return lines


def _transcripts(state: RunState) -> Lines:
    lines = []
    for stage, what in state.transcripts.items():
        lines.append(Text.assemble(("data".ljust(LABEL), "bold"), f"{stage}: {_describe_transcripts(what)}"))
    return lines


def _describe_transcripts(what: dict[str, Any] | int) -> str:
    if isinstance(what, int):
        return f"the teacher is writing, {count(what)} {plural('transcript', what)} so far"
    dropped = {name: about["n_dropped"] for name, about in what["filters"].items() if about["n_dropped"]}
    why = ", ".join(f"{name} {count(n)}" for name, n in dropped.items()) or "no filter dropped any"
    return f"{count(what['n_kept'])} of {count(what['n'])} transcripts kept ({why})"


def _seconds(state: RunState) -> Lines:
    if not state.phase_seconds:
        return []
    largest = sorted(state.phase_seconds.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{phase} {number(seconds, 2)}" for phase, seconds in largest if seconds >= 0.005)
    words = f"{number(state.step_seconds, 2)} s a step: {parts}"
    return [Text.assemble(("time".ljust(LABEL), "bold"), words)]
