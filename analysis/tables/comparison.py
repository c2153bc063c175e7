"""Several runs side by side: their ends, error rates of recipes on test sets, VUSS over on-policy steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from overlap.errors import UserError
from overlap.estimates.table_formatting import html_table

from ..formatting import UNDEFINED, WIDTH, aligned, cell, count, counts, latex, markdown
from ..inference.pairing import why_runs_not_comparable
from ..printed_table import PrintedTable
from ..run.load import ERROR_RATES, Run
from ..run.runs import Runs, recipes_of
from ..run.visits import said
from ..stages.error_rates import OVER, bootstrap_unit_text
from ..stages.table import stage_table
from .paired import paired_table
from .paper import error_rate_table, vuss_table

OVERLAP = {"top1_agreement": "top-1 agreement", "total_variation": "total variation"}
"""Overlap shown of each run at its end, with heading."""


@dataclass(frozen=True, eq=False)
class CompareTable:
    """The ends of runs, and the tables of a paper.

    Attributes:
        frame: One row for each run, at its last step: `run`, `outcome` (`finished`, `aborted`, `stopped` or `running`),
            `ending` in words, `step`, `switches` (pairs of a stage that was left and the step), error rate as a share
            (`wer` or `mer`) and overlap on the student's rollouts with `.low` and `.high` bounds of 95 %
            intervals, counts, and `over`, `n_over`, `stored` of the error rate's interval, as in `StageTable`.
        error_rates: Recipes × test sets, see `paper_tables.error_rate_table`.
        vuss: VUSS over on-policy steps, see `paper_tables.vuss_table`.
        paired: Error rates paired by utterance, against controls if there are any, see `paired.paired_table`.
        unlike: Why the error rates of these runs are not comparable; empty if they are.
    """

    frame: pd.DataFrame
    error_rates: PrintedTable
    vuss: PrintedTable
    paired: PrintedTable
    unlike: str

    def to_text(self) -> str:
        """Return plain text: how each run ended, its stages below, then the other tables."""
        heading, rows = self._flat()
        keep = [i for i, name in enumerate(heading) if name != "stages left at step"]
        table = aligned([[line[i] for i in keep] for line in (heading, *rows)], left=(0, 1))
        runs = []
        for row in self.frame.to_dict("records"):
            stages = "".join(f"{stage} until step {count(step)}, then " for stage, step in row["switches"])
            runs.append(f"{row['run']}: {stages}{row['ending']}")
        wrapped = [textwrap.fill(text, WIDTH, subsequent_indent="  ") for text in (*runs, self._note())]
        return "\n".join([table, "", *wrapped, *("\n" + part.to_text() for part in self._parts())])

    def to_markdown(self) -> str:
        """Return pipe tables, notes below each."""
        first = f"{markdown(*self._flat(), left=2)}\n\n{self._note()}"
        return "\n\n".join([first, *(part.to_markdown() for part in self._parts())])

    def to_latex(self) -> str:
        """Return tables for booktabs (`\\usepackage{booktabs}`), notes below each."""
        first = latex(*self._flat(), left=2, notes=[self._note()])
        return "\n\n".join([first, *(part.to_latex() for part in self._parts())])

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first = html_table(*self._flat(), left=(0, 1), caption=self._note())
        return first + "".join(part._repr_html_() for part in self._parts())

    def _note(self) -> str:
        rates = [rate for rate in ERROR_RATES if rate in self.frame and len(self.frame.dropna(subset=rate))]
        parts = [f"of {' and '.join(map(str.upper, rates))} {bootstrap_unit_text(self.frame)}"] if rates else []
        if len(measured := self.frame["n_groups"].dropna()):
            parts.append(f"of overlap over {counts(measured)} utterances")
        running = "running" in set(self.frame["outcome"])
        latest = ", or at the latest reading and evaluation of a running one" if running else ""
        notes = [f"At the last step of each run{latest}; overlap on the student's rollouts."]
        if parts:
            notes.append(f"[ ]: 95 % bootstrap intervals, {', '.join(parts)}, without the variation between seeds.")
        if self.unlike:
            notes.append(f"These error rates are not comparable: {self.unlike}.")
        if self.paired.frame.empty:
            notes += self.paired.notes
        return " ".join(notes)

    def _parts(self) -> list[PrintedTable]:
        return [part for part in (self.paired, self.error_rates, self.vuss) if len(part.frame)]

    def _flat(self) -> tuple[list[str], list[list[str]]]:
        rates = [rate for rate in ERROR_RATES if rate in self.frame]
        heading = ["run", "outcome", "step", "stages left at step"]
        heading += [f"{rate.upper()} %" for rate in rates] + list(OVERLAP.values())
        heading += [f"n {ERROR_RATES[rate]}" for rate in rates] + ["n pos."]
        rows = []
        for row in self.frame.to_dict("records"):
            cells = [row["run"], row["outcome"], count(row["step"])]
            cells.append(", ".join(f"{stage} {count(step)}" for stage, step in row["switches"]))
            for name in (*rates, *OVERLAP):
                scale, digits = (100, 1) if name in rates else (1, 3)
                cells.append(UNDEFINED if pd.isna(row[name]) else cell(row, name, digits, scale))
            totals = [count(row[f"n_{ERROR_RATES[rate]}"]) for rate in rates]
            rows.append([*cells, *totals, count(row["n_positions"])])
        return heading, rows


def compare(runs: Runs | Mapping[str, Run]) -> CompareTable:
    """Return error rate, overlap and stage switches of several runs, each on its last step, and recipes over their
    seeds.

    Args:
        runs: From `load_many`, or runs by the name they get in the table.

    Raises:
        UserError: No runs, or runs without names.
    """
    if not isinstance(runs, Mapping):
        raise UserError(
            f"expected runs by name, received a {type(runs).__name__}; give load_many(['runs/0', 'runs/1']), or "
            "{'seed 0': load('runs/0')}"
        )
    if not runs:
        raise UserError("nothing to compare: give at least one run, such as compare({'seed 0': load('runs/0')})")
    several = runs if isinstance(runs, Runs) else Runs(runs, recipes_of(runs))
    frame = pd.DataFrame([_summary(name, run) for name, run in several.items()])
    tables = error_rate_table(several), vuss_table(several), paired_table(several)
    return CompareTable(frame, *tables, why_runs_not_comparable(several))


def _summary(name: str, run: Run) -> dict[str, Any]:
    table = stage_table(run).frame
    visits = table[table["model"] == "student"]
    outcome, ending = ("running", "running") if run.ended is None else (run.ended[0], said(*run.ended))
    row: dict[str, Any] = {"run": name, "outcome": outcome, "ending": ending}
    left = [visit for visit in run.visits if not visit.ongoing] if run.ended is None else run.visits[:-1]
    row["switches"] = tuple((visit.stage, visit.last_step) for visit in left)
    rate = run.error_rate
    numbers = [f"{statistic}{end}" for statistic in (rate, *OVERLAP) for end in ("", ".low", ".high")]
    numbers += [f"n_{ERROR_RATES[rate]}", "n_positions", "n_groups", *OVER]
    if run.probed is not None:
        return (
            row
            | {"outcome": "probe", "ending": "probed once", "step": 0}
            | dict.fromkeys(numbers, math.nan)
            | _probe_overlap(run)
        )
    if visits.empty:
        return row | {"step": 0} | dict.fromkeys(numbers, math.nan)
    last = visits.iloc[-1]
    return row | {"step": int(last["last_step"])} | {n: last[n] for n in numbers}


def _probe_overlap(run: Run) -> dict[str, Any]:
    """Return the overlap of a run with one probe."""
    own = run.probes.loc[run.probes["states"] == "student"].set_index("statistic")
    found: dict[str, Any] = {}
    for name in OVERLAP:
        if name in own.index:
            found |= {f"{name}{end}": own.loc[name, end.removeprefix(".") or "value"] for end in ("", ".low", ".high")}
            found |= {column: own.loc[name, column] for column in ("n_positions", "n_groups")}
    return found
