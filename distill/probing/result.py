"""Result of a probe, for notebooks, terminals and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import overlap
from overlap.bounds import BoundsSummary
from overlap.estimates.first_reading import FirstReading
from overlap.estimates.group_readings import GroupReadings
from overlap.vocab.coverage import Coverage
from overlap.weights import ShadowPanel

from ..files import write_rows
from .probe import StateProbe
from .round_trip import RoundTrip


@dataclass(frozen=True)
class ProbeResult:
    """Support overlap of a pair at the states of the student's rollouts.

    Attributes:
        sources: Names of student, teacher and manifest, and the teacher's server, if any.
        probed: What was measured.
        round_trip: The check whether the teacher's own transcripts are encoded to the same tokens again.
        references: Texts of the manifest by utterance id, None where it has none.
        cached: With a server's cache: number of cached responses, and of all.
        groups: Readings by language or another field, one for each field that was asked for.
    """

    sources: Mapping[str, str]
    probed: StateProbe
    round_trip: RoundTrip
    references: Mapping[str, str | None] = field(repr=False)
    cached: tuple[int, int] | None = None
    groups: tuple[GroupReadings, ...] = ()

    @property
    def summary(self) -> overlap.OverlapSummary:
        """Every statistic with its 95 % interval: `result.summary["top1_agreement"]`."""
        return self.probed.estimates

    @property
    def readings(self) -> Mapping[str, overlap.Estimate]:
        """What a gate reads: `summary`, forms such as `top1_agreement.without_repeats`, and a server's bounds."""
        return self.probed.readings

    @property
    def funnel(self) -> overlap.Funnel:
        """Position funnel."""
        return self.probed.funnel

    @property
    def first_reading(self) -> FirstReading:
        """The five numbers to read first, with a verdict."""
        return self.probed.first_reading

    @property
    def coverage(self) -> Coverage | None:
        """Coverage of the map between two vocabularies; None if there is only one."""
        return self.probed.coverage

    @property
    def bounds(self) -> BoundsSummary | None:
        """Lower and upper bounds of the statistics with a served teacher; else None."""
        return self.probed.bounds

    @property
    def panel(self) -> ShadowPanel | None:
        """What rules that weight single positions would keep, with a local teacher; else None."""
        return self.probed.panel

    @property
    def traces(self) -> list[dict[str, Any]]:
        """Both models' view of every position, one row per utterance, with the columns of `distill.probing.trace`."""
        return self.probed.traces

    @property
    def transcripts(self) -> list[dict[str, str | None]]:
        """One row for each utterance: `id`, `reference`, `student`, and `teacher` for the first 32."""
        read_back = self.round_trip.texts
        return [
            {"id": id_, "reference": self.references[id_], "student": text, "teacher": read_back.get(id_)}
            for id_, text in self.probed.texts.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a tree that JSON can hold."""
        tree = {**self.sources, "summary": self.summary.to_dict(), "funnel": self.funnel.to_dict()}
        tree["first_reading"] = self.first_reading.to_dict()
        tree["teacher_round_trip"] = self.round_trip.to_dict()
        if self.coverage:
            sides = {"student": self.coverage.student, "teacher": self.coverage.teacher}
            tree["vocabulary"] = {name: {"ids": side.ids, "mapped": side.mapped} for name, side in sides.items()}
        if self.bounds:
            tree["bounds"] = self.bounds.to_summary().to_dict()
        if self.panel:
            tree["shadow_panel"] = self.panel.to_dict()
        if self.groups:
            tree["groups"] = {one.field: one.to_dict() for one in self.groups}
        return tree

    def write(self, path: str | Path) -> None:
        """Write the traces there, as Parquet, which `distill report` and `analysis.load` open.

        Raises:
            WriteError: The disk is full.
        """
        write_rows(Path(path), self.traces, {"probe": {**self.sources, **self.probed.about}})

    @property
    def _source_line(self) -> str:
        named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.sources.items())
        return f"{named}: {len(self.references):,} utterances, on the student's rollouts"

    def __str__(self) -> str:
        tables = filter(None, (self.summary, *self.groups, self.bounds, self.funnel, self.coverage))
        parts = [*map(str, tables), f"teacher: {self.round_trip.line}", self._source_line, str(self.first_reading)]
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        """Return the five numbers first, with the full table folded."""
        lines = "".join(f"<p>{escape(line)}</p>" for line in (self._source_line, f"teacher: {self.round_trip.line}"))
        tables = (self.summary, *self.groups, self.bounds, self.coverage, self.panel)
        folded = "".join(table._repr_html_() for table in tables if table is not None)
        first = self.first_reading._repr_html_() + self.funnel._repr_html_()
        return f"{lines}{first}<details><summary>every statistic</summary>{folded}</details>"
