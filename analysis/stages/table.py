"""The stage table of a run: steps, error rate, overlap, and why each stage was left."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import pandas as pd

from overlap.estimates.table_formatting import html_table

from ..formatting import WIDTH, aligned, count, counts, interval, markdown, number
from ..run.load import ERROR_RATES, Run
from ..run.visits import EXHAUSTED, GUARDED
from .endings import ENDING_COLUMNS, ENDINGS, ending_rates, ending_text, endings_note, has_endings
from .ends import rows_at_end
from .error_rates import OVER, bootstrap_unit_text, evaluated

STATISTICS = {
    "union_size": ("VUSS", "= mean |U|", 2, True),
    "student_size": ("mean", "|S|", 2, False),
    "teacher_size": ("mean", "|T|", 2, False),
    "intersection_size": ("mean", "|I|", 2, False),
    "top1_agreement": ("top-1", "agreement", 3, True),
    "total_variation": ("total", "variation", 3, True),
}
"""Statistics shown: the two lines of the heading, decimals, and whether the interval is shown."""

PLACE = ("model", "stage", "visit", "first_step", "last_step", "steps")
COUNTS = ("n_positions", "n_groups", "n_undefined")
WHY = ("decision", "gate", "reason", "gated")


@dataclass(frozen=True, eq=False)
class StageTable:
    """The stages of a run.

    Attributes:
        frame: A row a visit of a stage, after the teacher's if its error rate is known. Error rates are shares (`wer`
            over `n_words`, or `mer` over `n_tokens`, of the evaluation at step `evaluated`), overlap was taken on the
            student's rollouts: both at the end of the visit, or the latest while it is ongoing. Columns ending in
            `.low` and `.high` are bounds of 95 % intervals; those of the error rate are over `n_over` speakers or
            utterances (`over`), and were stored with the evaluation where no transcripts were kept (`stored`). What was
            not measured is NaN. The error rates of finished and unfinished transcripts alone are in `finished` and
            `unfinished` with bounds, over `n_finished` and `n_unfinished` utterances; NaN over 0 where there are none.
        error_rate: `wer` or `mer`.
        notes: Notes on the numbers: sets, counts, k, undefined positions.
    """

    frame: pd.DataFrame
    error_rate: str
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """Return plain text: intervals below their values, reasons and notes below the table."""
        lines = [["stage", f"{self.error_rate.upper()} %", *(top for top, *_ in STATISTICS.values()), "n pos."]]
        lines += [["", "[95 %]", *(bottom for _, bottom, *_ in STATISTICS.values()), "n utt."]]
        reasons = []
        for row in _rows(self.frame):
            cells = self._cells(row)
            steps = "" if row["model"] == "teacher" else f"  {count(row['steps'])} steps"
            lines += [[row["stage"], *(value for value, _ in cells)], [steps, *(below for _, below in cells)]]
            if row["model"] != "teacher":
                where = f"{row['stage']}, steps {count(row['first_step'])} to {count(row['last_step'])}"
                reasons.append(f"{where}, {_why(row)}")
        if not reasons:
            reasons = ["no stage has been measured yet"]
        notes = (*endings_note(self.frame, self.error_rate), *self.notes)
        return "\n".join([aligned(lines, heading=2), "", *map(_wrapped, reasons), "", *map(_wrapped, notes)]).rstrip()

    def to_markdown(self) -> str:
        """Return a pipe table, intervals beside their values; the notes below it."""
        return f"{markdown(*self._flat())}\n\n{' '.join(self.notes)}".rstrip()

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._flat(), left=(0,), caption=" ".join(self.notes))

    def _flat(self) -> tuple[list[str], list[list[str]]]:
        rate = f"{self.error_rate.upper()} % [95 %]"
        apart = has_endings(self.frame)
        heading = ["stage", "steps", rate, *(f"{part} {rate} (n)" for part in ENDINGS if apart)]
        heading += [f"{top} {bottom}" for top, bottom, *_ in STATISTICS.values()]
        rows = []
        for row in _rows(self.frame):
            *cells, (positions, utterances) = self._cells(row)
            text = [f"{value} {below}" if below and value != below else value for value, below in cells]
            counts = f"{positions} / {utterances}" if utterances else positions
            why = "" if row["model"] == "teacher" else _why(row)
            text[1:1] = [ending_text(row, part) for part in ENDINGS if apart]
            rows.append([row["stage"], count(row["steps"]), *text, counts, why])
        return [*heading, "n positions / utterances", "left because"], rows

    def _cells(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        """Return value and interval of each number, then the two counts."""
        value, low, high = (100 * row[f"{self.error_rate}{end}"] for end in ("", ".low", ".high"))
        cells = [(number(value, 1), interval(low, high, 1))]
        for name, (_, _, digits, shown) in STATISTICS.items():
            below = interval(row[f"{name}.low"], row[f"{name}.high"], digits) if shown else ""
            cells.append((number(row[name], digits), below))
        cells = [(value, "" if value == below else below) for value, below in cells]
        positions, utterances = row["n_positions"], row["n_groups"]
        return [*cells, (count(positions), "" if math.isnan(utterances) else count(utterances))]


def stage_table(run: Run) -> StageTable:
    """Return steps, error rate, overlap and the gate's reason of every visit of a stage, and the teacher's error
    rate."""
    evaluations = evaluated(run)
    students, teachers = (evaluations.loc[evaluations["model"] == model] for model in ("student", "teacher"))
    probes = run.probes.loc[run.probes["states"] == "student"]
    rate = run.error_rate
    rows: list[dict[str, Any]] = []
    if len(teachers):
        rows.append({"model": "teacher", "stage": "(teacher)"} | _error_rate(teachers, rate))
    for visit in run.visits:
        rows.append(
            {
                "model": "student",
                "stage": visit.stage,
                "visit": visit.number,
                "first_step": visit.first_step,
                "last_step": visit.last_step,
                "steps": visit.steps,
            }
            | _error_rate(rows_at_end(run, students, visit, latest=True), rate)
            | _overlap(rows_at_end(run, probes, visit))
            | {"decision": visit.decision, "gate": visit.gate, "reason": visit.why, "gated": visit.gated}
        )
    estimates = [f"{name}{end}" for name in (rate, *STATISTICS) for end in ("", ".low", ".high")]
    measured = [*estimates, f"n_{ERROR_RATES[rate]}", "evaluated", *COUNTS, *ENDING_COLUMNS]
    frame = pd.DataFrame(rows, columns=[*PLACE, *measured, *OVER, *WHY]).astype(dict.fromkeys(measured, "float64"))
    return StageTable(frame, rate, _notes(run, frame))


def _error_rate(evaluations: pd.DataFrame, rate: str) -> dict[str, Any]:
    if evaluations.empty:
        return {}
    last = evaluations.iloc[-1]
    found = {rate: "value", f"{rate}.low": "low", f"{rate}.high": "high", f"n_{ERROR_RATES[rate]}": "total"}
    rates = {name: float(last[f"{rate}.{field}"]) for name, field in found.items()}
    return (
        rates
        | ending_rates(last.to_dict(), rate)
        | {
            "evaluated": float(last["step"]),
            **{name: last[name] for name in OVER},
        }
    )


def _overlap(probe: pd.DataFrame) -> dict[str, float]:
    estimates = probe.set_index("statistic")
    found: dict[str, float] = {}
    for name in estimates.index.intersection(list(STATISTICS)):
        estimate = estimates.loc[name]
        found |= {name: estimate["value"], f"{name}.low": estimate["low"], f"{name}.high": estimate["high"]}
    if "union_size" in estimates.index:
        found |= {n: estimates.loc["union_size", n] for n in ("n_positions", "n_groups", "n_undefined")}
    return found


def _notes(run: Run, frame: pd.DataFrame) -> tuple[str, ...]:
    notes, intervals = [], []
    evaluations = evaluated(run)
    if len(evaluations):
        last, rate = evaluations.iloc[-1], run.error_rate
        notes.append(
            f"{rate.upper()}: set {last['set']!r}, {count(last[f'{rate}.total'])} {ERROR_RATES[rate]} in "
            f"{count(last['n_utterances'])} utterances, normalizer {last['normalizer']} {last['normalizer_version']}."
        )
        for row in _rows(frame.loc[(frame["decision"] == "stay") & frame[rate].notna()]):
            notes.append(f"{row['stage']} is ongoing: {rate.upper()} at step {count(row['evaluated'])}.")
        intervals.append(f"of {rate.upper()} {bootstrap_unit_text(frame)}")
    if len(frame.dropna(subset="union_size")):
        support = run.resolved["recipe"]["support"]
        notes.append(
            "Overlap: on the student's rollouts of the probe set (n positions, n utterances), k = "
            f"{support['k']}, temperature {support['temperature']:g}; sizes in tokens. "
            "VUSS falls with more overlap, but also with smaller |S| or |T|."
        )
        for row in _rows(frame.loc[frame["n_undefined"] > 0]):
            notes.append(f"{row['stage']}: undefined at {count(row['n_undefined'])} more positions.")
        intervals.append(f"of overlap over {counts(frame['n_groups'])} utterances")
    if intervals:
        notes.append(f"[ ]: 95 % bootstrap intervals, {', '.join(intervals)}.")
    return tuple(notes)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _why(row: dict[str, Any]) -> str:
    words = {"stay": "not left yet: ", "fall_back": "fell back: ", "advance": "advanced: "}
    if row["decision"] == "advance" and (not row["gated"] or row["gate"] == GUARDED):
        words = {"advance": "left: "}
    elif row["decision"] == "advance" and row["gate"] == EXHAUSTED:
        words = {"advance": "left with its gate shut: "}
    return words.get(row["decision"], "") + row["reason"]  # the reason already contains how the run ended


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ")
