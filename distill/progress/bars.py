"""Progress displays: a live rich display in a terminal, tqdm bars in a notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..recipe.gate_statistics import ENDS
from .observer import Observer

if TYPE_CHECKING:
    from ..data.line_findings import Finding
    from ..teacher_data.summary import TeacherDataSummary

SHOWN = {"union_size": "VUSS", "intersection_size": "|I|", "top1_agreement": "top-1", "total_variation": "TV"}
"""Statistics of the probe table and their headings, short enough for 80 columns."""


class TerminalProgress(Observer):
    """Bars for the stage and for work between steps, the last probe's figures, and a line for each decision."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
        )
        self._stage_bar = self._bars.add_task("", total=None, visible=False, note="")
        self._work_bar = self._bars.add_task("", total=None, visible=False, note="")
        self._probe: Table | None = None
        self._live = Live(self._view(), console=self.console, refresh_per_second=4)

    def __enter__(self) -> TerminalProgress:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.update(self._work_bar, visible=False)
        self._live.__exit__(kind, error, trace)
        if not self.console.is_terminal:
            self.console.line()  # the live display ends without a line break, and the next output would be on its line

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """Reset the stage's bar."""
        self._bars.reset(self._stage_bar, description=f"{name} ({kind})", total=steps, visible=True, note="")

    def step(self, row: Mapping[str, Any]) -> None:
        """Move the stage's bar."""
        note = f"loss {row['loss']:.3f}"
        self._bars.update(self._stage_bar, completed=row["stage_step"], note=note)
        self._bars.update(self._work_bar, visible=False)

    def work(self, what: str, done: int, total: int) -> None:
        """Show work between steps until it is done."""
        self._bars.update(self._work_bar, description=what, completed=done, total=total, visible=done < total)

    def probe(self, rows: list[dict[str, Any]]) -> None:
        """Replace the table of the last probe."""
        self._probe = probe_table(rows)
        self._live.update(self._view())

    def decision(self, row: Mapping[str, Any]) -> None:
        """Print everything but `stay`."""
        if row["decision"] != "stay":
            color = {"advance": "green", "end": "bold", "stop": "yellow"}.get(row["decision"], "red")
            what, why = decision_words(row)
            self.console.print(Text.assemble((what, color), ": ", why))

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Print the error rate."""
        self.console.print(Text(evaluation_line(row)))

    def teacher_data(self, stage: str, summary: TeacherDataSummary) -> None:
        """Print how much was kept, and the reasons of drops."""
        self.console.print(Text(f"{stage}: {summary.line}"))

    def notice(self, text: str) -> None:
        """Print it."""
        self.console.print(Text(text))

    def unusable(self, findings: Sequence[Finding]) -> None:
        """Print the number of dropped lines and of doubtful ones, with the first of each."""
        from ..data.line_findings import words

        self.console.print(Text(words(findings)))

    def _view(self) -> Group:
        return Group(*([self._probe] if self._probe else []), self._bars)


class NotebookProgress(Observer):
    """One tqdm bar for each stage and one for work between steps, and a line for each decision and evaluation."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._tqdm, self._bar, self._work = tqdm, None, None

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """Start a bar for the stage."""
        self.close()
        self._bar = self._tqdm(total=steps, desc=f"{name} ({kind})", unit="step")

    def step(self, row: Mapping[str, Any]) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(row["stage_step"] - self._bar.n)
            self._bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)

    def work(self, what: str, done: int, total: int) -> None:
        """Show work between steps until it is done."""
        if self._work is None and done < total:
            self._work = self._tqdm(total=total, desc=what, leave=False)
        if self._work is not None:
            self._work.update(done - self._work.n)
            if done >= total:
                self._work.close()
                self._work = None

    def decision(self, row: Mapping[str, Any]) -> None:
        """Write everything but `stay` above the bar."""
        if row["decision"] == "end":
            self.close()
        if row["decision"] != "stay":
            self._tqdm.write(": ".join(decision_words(row)))

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Write the error rate above the bar."""
        self._tqdm.write(evaluation_line(row))

    def teacher_data(self, stage: str, summary: TeacherDataSummary) -> None:
        """Write the kept share and the reasons of drops above the bar."""
        self._tqdm.write(f"{stage}: {summary.line}")

    def close(self) -> None:
        """Close the bars; later work begins new ones."""
        for bar in (self._work, self._bar):
            if bar is not None:
                bar.close()
        self._work = self._bar = None

    def notice(self, text: str) -> None:
        """Write it above the bar."""
        self._tqdm.write(text)

    def unusable(self, findings: Sequence[Finding]) -> None:
        """Write the numbers of dropped and doubtful lines above the bar."""
        from ..data.line_findings import words

        self._tqdm.write(words(findings))


def probe_table(rows: list[dict[str, Any]]) -> Table | None:
    """Return one row for each kind of states: statistics with intervals and counts; None without rows."""
    if not rows:
        return None
    table = Table(
        title=f"probe at step {rows[0]['step']}: mean and 95 % interval; n = positions/utterances",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("states")
    for heading in (*SHOWN.values(), "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for states in dict.fromkeys(row["states"] for row in rows):
        mine = {row["statistic"]: row for row in rows if row["states"] == states}
        first = mine[next(iter(SHOWN))]
        table.add_row(states, *(_shown(mine, name) for name in SHOWN), f"{first['n_positions']}/{first['n_groups']}")
    return table


def probe_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the same as lines, one for each kind of states."""
    lines = []
    for states in dict.fromkeys(row["states"] for row in rows):
        mine = {row["statistic"]: row for row in rows if row["states"] == states}
        first = mine[next(iter(SHOWN))]
        figures = (f"{heading} {_shown(mine, name)}" for name, heading in SHOWN.items())
        lines.append(
            f"step {first['step']} · {first['stage']} · probe on states {states!r}: {', '.join(figures)} "
            f"({first['n_positions']:,} positions, {first['n_groups']:,} utterances)"
        )
    return lines


def _shown(rows: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Return a statistic with its interval, or both bounds for a served teacher."""
    if name in rows:
        return _cell(rows[name])
    low, high = (rows[f"{name}.{end}"]["value"] for end in ENDS)
    return f"[{low:.2f}, {high:.2f}]"


def _cell(row: Mapping[str, Any]) -> str:
    """Return value and interval in at most 14 characters: all of these statistics are non-negative, most below 100."""
    numbers = [row[name] for name in ("value", "low", "high")]
    largest = max((number for number in numbers if not math.isnan(number)), default=0.0)
    digits = 2 if largest < 10 else 1 if largest < 100 else 0
    value, low, high = ("nan" if math.isnan(number) else f"{number:.{digits}f}" for number in numbers)
    return f"{value} {low}–{high}"


def decision_words(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the place and kind of a decision, and its reason."""
    # A stage may end although its gate did not open; the reason then says so.
    what = (
        "continued without its gate" if (row["decision"], row["gate"]) == ("advance", "exhausted") else row["decision"]
    )
    why = ": ".join(filter(None, (row.get("outcome"), row["reason"])))
    return f"step {row['step']} · {row['stage']} · {what}", why


def evaluation_line(row: Mapping[str, Any]) -> str:
    """Return the word or mixed error rate with interval and counts; `nan` where it is undefined."""
    from ..evaluation.scoring import UNITS

    name = "mer" if "mer" in row else "wer"
    rate = row[name]
    value, low, high = ("nan" if rate[end] is None else f"{100 * rate[end]:.2f}" for end in ("value", "low", "high"))
    where = f"step {row['step']} · {row['stage']} · {row['model']} on {row['set']}"
    over = row["interval"]
    utterances = "" if over["over"] == "utterances" else f", {row['n_utterances']} utterances"
    return (
        f"{where}: {name.upper()} {value} % [{low}, {high}] over {over['n']} {over['over']} "
        f"({rate['errors']}/{rate['total']} {UNITS[name]}{utterances})"
    )
