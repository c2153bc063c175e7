"""Progress displays: a live rich display in a terminal, tqdm bars in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .observer import Observer

SHOWN = ("union_size", "intersection_size", "top1_agreement", "total_variation")


class TerminalProgress(Observer):
    """Bars for the stage and for work between steps, the last probe's figures, and a line for each decision."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        columns = TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._bars = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self.console)
        self._stage_bar, self._offset = self._bars.add_task("starting", total=None, note=""), 0
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

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """Start the stage's bar anew."""
        self._bars.reset(self._stage_bar, description=f"{name} ({kind})", total=steps, note="")
        self._offset = step

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
        table = Table(
            title=f"probe at step {rows[0]['step']} (mean [95 % interval])" if rows else None, title_justify="left"
        )
        for column in ("states", *SHOWN, "positions", "utterances"):
            table.add_column(column, justify="left" if column == "states" else "right")
        for states in dict.fromkeys(row["states"] for row in rows):
            mine = {row["statistic"]: row for row in rows if row["states"] == states}
            cells = [f"{mine[s]['value']:.3f} [{mine[s]['low']:.3f}, {mine[s]['high']:.3f}]" for s in SHOWN]
            first = mine[SHOWN[0]]
            table.add_row(states, *cells, str(first["n_positions"]), str(first["n_groups"]))
        self._probe = table
        self._live.update(self._view())

    def decision(self, row: Mapping[str, Any]) -> None:
        """Print everything but `stay`."""
        if row["decision"] != "stay":
            colour = {"advance": "green", "end": "bold", "stop": "yellow"}.get(row["decision"], "red")
            self.console.print(
                f"[{colour}]step {row['step']} · {row['stage']} · {row['decision']}[/]: {row['reason']}",
                highlight=False,
            )

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Print the error rate."""
        wer = row["wer"]
        self.console.print(
            f"step {row['step']} · {row['stage']} · {row['model']} WER on {row['set']} {wer['value']:.3f} "
            f"[{wer['low']:.3f}, {wer['high']:.3f}] ({wer['errors']}/{wer['total']} words, {row['n_utterances']} utterances)",
            highlight=False,
        )

    def _view(self) -> Group:
        return Group(*([self._probe] if self._probe else []), self._bars)


class NotebookProgress(Observer):
    """One tqdm bar a stage, and a line for each decision and evaluation."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._tqdm, self._bar = tqdm, None

    def stage(self, name: str, kind: str, step: int, steps: int) -> None:
        """Start a bar for the stage."""
        if self._bar is not None:
            self._bar.close()
        self._bar = self._tqdm(total=steps, desc=f"{name} ({kind})", unit="step")

    def step(self, row: Mapping[str, Any]) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(row["stage_step"] - self._bar.n)
            self._bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)

    def decision(self, row: Mapping[str, Any]) -> None:
        """Write everything but `stay` above the bar."""
        if row["decision"] != "stay":
            self._tqdm.write(f"step {row['step']} · {row['stage']} · {row['decision']}: {row['reason']}")

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Write the error rate above the bar."""
        wer = row["wer"]
        interval = f"[{wer['low']:.3f}, {wer['high']:.3f}]"
        self._tqdm.write(f"step {row['step']} · {row['stage']} · {row['model']} WER {wer['value']:.3f} {interval}")
