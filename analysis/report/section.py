"""One run's section of a report, independent of HTML and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from overlap.estimates.first_reading import FirstReading

from ..advising import Advisories, advisories
from ..formatting import count, interval, number
from ..inference import stage_changes
from ..inference.overlap_change import KEY_STATISTICS
from ..printed_table import PrintedTable
from ..run.display_text import STATES
from ..run.load import ERROR_RATES, Run, normalizer_of
from ..run.visits import said
from ..stages.ends import traced_visits
from ..stages.error_rates import bootstrap_unit_text, evaluated
from ..stages.probe_reading import probe_reading
from ..stages.table import StageTable, stage_table
from ..tables.mended_words import mended_words
from .against_references import NOT_MEASURED, Part, against_references
from .facts import NO_CONTROLS, stage_facts
from .groups import group_tables
from .headline import NO_READINGS, headline
from .no_speech import no_speech_table
from .outside_teachers_set import outside_table
from .thresholds import NAMES, Thresholds, form_read
from .tokenizers import tokenizer_notes, tokenizer_rows
from .verdict import verdict
from .verdict_types import StageFacts, StageVerdict, groups_of, positions_of

TILES = {
    "top1_agreement": (NAMES["top1_agreement"], 3),
    "union_size": (f"{NAMES['union_size']}, tokens (less is more overlap)", 2),
    "student_mass": (NAMES["student_mass"], 3),
}
"""Overlap seen at a glance: label and decimals."""
OUTSIDE = 4
"""Tokens named at a glance."""


@dataclass(frozen=True)
class Tile:
    """A number to see at a glance."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, eq=False)
class Section:
    """One run.

    Attributes:
        name: Of the run.
        state: Whether it has ended, and how.
        advice: What its records advise, worst first.
        headline: The verdict in a sentence.
        tiles: Numbers at a glance.
        verdicts: One for each visit.
        stages: The table of stages.
        changes: Changes of overlap over each stage on fixed rollouts; None if these were not traced.
        reading: The five numbers to read first, for the trace of a probe; None for a run.
        words: Words that each stage mended and broke; None without transcripts at two of its ends.
        references: Sections on calibration and signal.
        no_references: Why there are none; empty where there are some, or nothing was probed.
        no_speech: What both models write where nobody speaks; None for a run without such clips.
        outside: Tokens outside the teacher's set.
        decisions: One row for each gate reading: step, stage, gate, decision, reason.
        about: Names, hashes and versions.
        recipe: As resolved, in JSON.
        missing: Sentences on missing files with a remedy, and on tokenizers that disagree with their models.
        groups: Overlap and error rates by group of utterances; empty for runs without groups.
    """

    name: str
    state: str
    advice: Advisories
    headline: str
    tiles: tuple[Tile, ...]
    verdicts: tuple[StageVerdict, ...]
    stages: StageTable
    changes: PrintedTable | None
    reading: PrintedTable | None
    words: PrintedTable | None
    references: tuple[Part, ...]
    no_references: str
    no_speech: PrintedTable | None
    outside: PrintedTable
    decisions: tuple[tuple[str, str, str, str, str], ...]
    about: tuple[tuple[str, str], ...]
    recipe: str
    missing: tuple[str, ...]
    groups: tuple[PrintedTable, ...] = ()


def section(name: str, run: Run, thresholds: Thresholds, controls: Mapping[str, Run] = NO_CONTROLS) -> Section:
    """Collect the contents of a report on a run.

    Args:
        name: Of the run.
        run: A run, finished or not, or the trace of a probe.
        thresholds: Of the verdicts.
        controls: Runs without OPD to compare it with, by name.
    """
    changes = _changes(run)
    facts, outside = stage_facts(run, None if changes is None else changes.frame, controls), outside_table(run)
    verdicts = tuple(verdict(one, thresholds) for one in facts)
    reading = None if run.probed is None else probe_reading(run)
    references = against_references(run)
    return Section(
        name=name,
        state=_state(run),
        advice=advisories(run),
        headline=headline(verdicts, run.unvisited or NO_READINGS)
        if reading is None
        else f"{reading.verdict} {reading.advice}".strip(),
        tiles=tuple(_tiles(run, facts, outside)),
        verdicts=verdicts,
        stages=stage_table(run),
        changes=changes,
        reading=None if reading is None else _reading_table(reading),
        words=mended_words(run),
        references=references,
        no_references="" if references or run.probes.empty else NOT_MEASURED,
        no_speech=no_speech_table(run),
        outside=outside,
        decisions=tuple(
            (
                *(count(row["step"]), row["stage"], row["gate"], row["decision"].replace("_", " ")),
                said(row["outcome"], row["reason"]) if row["decision"] == "end" else row["reason"],
            )
            for row in run.decisions.to_dict("records")
        ),
        about=tuple(_about(run)),
        recipe=json.dumps(run.resolved["recipe"], indent=2, ensure_ascii=False),
        missing=tuple(_missing(run)),
        groups=group_tables(run),
    )


def _changes(run: Run) -> PrintedTable | None:
    """Return the changes of the traced statistics; with a served teacher some are not traced."""
    known = [name for name in KEY_STATISTICS if name in run.positions]
    if not run.decisions.empty and known and any(True for _ in traced_visits(run, "fixed")):
        return stage_changes(run, statistics=known)
    return None


def _reading_table(reading: FirstReading) -> PrintedTable:
    """Return the five numbers in reading order."""
    heading, rows = reading.table()
    frame = pd.DataFrame([one.to_dict() for one in reading.numbers])
    note = "Read in order: read a number only if all numbers before it are in order."
    return PrintedTable(frame, heading, rows, [note], left=5)


def _state(run: Run) -> str:
    if run.probed is not None:
        states = " and ".join(f"the {STATES.get(str(n), n)}" for n in dict.fromkeys(run.probed["states"]))
        return f"one probe of {_probed(run)}, on {states}"
    steps = max(run.metrics["step"].tolist(), default=0)
    return f"still running, {count(steps)} steps taken" if run.ended is None else said(*run.ended)


def _probed(run: Run) -> str:
    """Return what was probed: `80 utterances`, or pieces of recordings with a word on intervals."""
    n, recordings = run.resolved["n_utterances"], run.resolved["n_recordings"]
    if recordings in (None, n):
        return groups_of(n, "utterance")
    return f"{groups_of(n, 'piece')} of {groups_of(recordings, 'recording')}, which intervals are over"


def _tiles(run: Run, facts: list[StageFacts], outside: PrintedTable) -> list[Tile]:
    tiles, rate = [], run.error_rate
    rows = evaluated(run)
    students, teachers = (rows.loc[rows["model"] == model] for model in ("student", "teacher"))
    if len(students):
        first, step = students.iloc[0], count(students["step"].iloc[-1])
        was = f"from {number(100 * first[f'{rate}.value'], 1)} % at step {count(first['step'])}"
        tiles.append(_rate(f"{rate.upper()} at step {step}", students.tail(1), rate, f"; {was}"))
    if len(teachers):
        tiles.append(_rate(f"teacher's {rate.upper()}", teachers.tail(1), rate))
    measured = [fact for fact in facts if fact.after]
    if measured:
        first, last = measured[0], measured[-1]
        at = f"at step {count(last.last_step)}"
        for statistic, (label, digits) in TILES.items():
            before = first.before or first.after
            name = form_read(statistic, before, last.after)
            label = NAMES[name] if name != statistic else label
            found, start = last.after.get(name), before.get(name)
            if found is not None:
                was = "" if start is None else f"; from {number(start.value, digits)} at step {count(first.first_step)}"
                over = groups_of(found.n_groups, "utterance")
                detail = (
                    f"{interval(found.low, found.high, digits)}, 95 % over {over}; {positions_of(name, found)}{was}"
                )
                tiles.append(Tile(f"{label} {at}", number(found.value, digits), detail))
    if len(outside.frame):
        tiles.append(_outside(outside))
    return tiles


def _outside(table: PrintedTable) -> Tile:
    """Return the share of tokens outside the teacher's support at the end of the last stage."""
    last = table.frame.to_dict("records")[-1]
    tokens = [f"“{token}”" for token, *_ in last["tokens"][:OUTSIDE]]
    most = f"; most often {', '.join(tokens)}" if tokens else ""
    return Tile(
        f"tokens outside the teacher's {count(last['k'])} best at step {count(last['step'])}",
        f"{number(100 * last['share'], 1)} %",
        f"{interval(100 * last['share.low'], 100 * last['share.high'], 1)}, 95 % over {count(last['n_groups'])} traced "
        f"utterances; {count(last['n_positions'])} positions{most}",
    )


def _rate(label: str, row: pd.DataFrame, rate: str, more: str = "") -> Tile:
    """Return the error rate of one evaluation, a frame of one row."""
    value, low, high, total = (row[f"{rate}.{name}"].iloc[0] for name in ("value", "low", "high", "total"))
    ends = f"{interval(100 * low, 100 * high, 1)}, 95 % {bootstrap_unit_text(row)}; {count(total)} {ERROR_RATES[rate]}"
    return Tile(label, f"{number(100 * value, 1)} %", f"{ends}{more}")


def _about(run: Run) -> list[tuple[str, str]]:
    resolved: dict[str, Any] = run.resolved
    recipe = resolved["recipe"]
    rows = [("recipe", run.recipe), ("recipe's SHA-256", resolved.get("recipe_sha256"))]
    rows += [(side, (recipe.get(side) or {}).get("model")) for side in ("student", "teacher")]
    support = recipe.get("support") or {}
    if run.probed is not None:
        named = (recipe.get("probe") or {}).get("manifest")
        about = [("trace", run.path), *rows[2:], ("manifest", named)]
        about += [("k", support["k"]), ("temperature", support["temperature"])]
        return [(str(name), "not recorded" if value is None else str(value)) for name, value in about]
    rows += [("k", support.get("k")), ("temperature", support.get("temperature")), ("seed", run.seed)]
    rows += [(f"SHA-256 of {path}", digest) for path, digest in resolved.get("manifest_sha256", {}).items()]
    rows += [(f"data set {name}", json.dumps(about)) for name, about in (resolved.get("datasets") or {}).items()]
    rows += tokenizer_rows(run)
    rows += [("Python", resolved.get("python")), *(resolved.get("versions") or {}).items()]
    return [(str(name), "not recorded" if value is None else str(value)) for name, value in rows]


def _missing(run: Run) -> list[str]:
    if run.probed is not None:
        named = "manifest" in (run.resolved["recipe"].get("probe") or {})
        return [] if named else ["The file does not name its models and manifest: probe again to record them."]
    found = tokenizer_notes(run)
    traced = any((run.path / "traces").glob("*.parquet"))
    if run.probes.empty and (traced or len(run.decisions)):
        found.append(
            "No probes: probes/ is missing or empty, although the run was probed: copy it from where the run was made "
            "to see overlap and traces."
        )
    elif run.probes.empty:
        found.append("No probes yet: overlap is measured at the first step of a stage.")
    if run.decisions.empty:
        found.append("No gate has read anything yet.")
    if run.unvisited is not None:
        found.append(f"No stages: {run.unvisited}; copy it from where the run was made.")
    if run.evaluations.empty:
        found.append("No evaluations: give the recipe an [evaluation] with a labeled manifest to see error rates.")
    elif len(rules := sorted({str(normalizer_of(row)) for row in run.main_evaluations.to_dict("records")})) > 1:
        found.append(
            f"Error rates were counted under several normalizers ({', '.join(rules)}) and are not comparable. "
            "Evaluate the checkpoints again with `distill evaluate`."
        )
    elif run.transcripts.empty:
        found.append(
            "No transcripts of the evaluations were kept: error rates have the intervals stored with them, "
            "and are compared without pairing."
        )
    if not traced:
        found.append(_no_traces(run))
    elif run.traces.empty and len(run.probes):
        found.append(
            "No traces: traces/ does not belong to the probes in probes/; copy both again from where the run was made."
        )
    return found


def _no_traces(run: Run) -> str:
    asked = (run.resolved["recipe"].get("probe") or {}).get("trace_utterances")
    if not asked:
        return "No traces: set trace_utterances above 0 in the recipe's [probe] to browse utterances token by token."
    if run.decisions.empty:
        return "No traces yet: they are written with the first probe of a stage."
    return (
        f"No traces: traces/ is missing or empty, but the recipe has trace_utterances = {asked}; copy it from where "
        "the run was made to browse utterances token by token."
    )
