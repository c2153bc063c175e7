"""Result of a probe, for notebooks, terminals and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import overlap
from overlap.bounds import BoundsSummary
from overlap.calibration import CalibrationReadings
from overlap.definitions.names import form_of
from overlap.estimates.first_reading import FirstReading
from overlap.estimates.group_readings import GroupReadings
from overlap.gates import READINESS
from overlap.plain_json import plain
from overlap.signal import SignalReadings
from overlap.vocab.coverage import Coverage
from overlap.weights import ShadowPanel

from ..files import write_rows
from ..run.run_directory import NO_SPEECH, PROBES
from .no_speech import NoSpeechReading
from .probe import StateProbe
from .round_trip import RoundTrip
from .rows import probe_tables
from .windows import WINDOWS, WindowStrata

NO_TEXTS = (
    "signal and calibration: not measured, for the manifest has no texts; give its lines a `text` to see whether the "
    "teacher's word tells right transcripts from wrong ones"
)


@dataclass(frozen=True)
class ProbeResult:
    """Support overlap of a pair at the states of the student's rollouts, and where the teacher's transcripts end.

    Attributes:
        sources: Names of student, teacher and manifest, and the teacher's server, if any.
        probed: What was measured on the student's rollouts.
        at_teacher: The same on the teacher's transcripts; None if they were not probed.
        round_trip: The check whether the teacher's own transcripts are encoded to the same tokens again.
        references: Texts of the manifest by utterance id, None where it has none.
        cached: With a server's cache: number of cached responses, and of all.
        groups: Readings by language or another field, one for each field that was asked for.
        windows: The statistics by window, where long recordings were allowed; else None.
        no_speech: What both models wrote on clips without speech; None without such clips.
    """

    sources: Mapping[str, str]
    probed: StateProbe
    round_trip: RoundTrip
    references: Mapping[str, str | None] = field(repr=False)
    cached: tuple[int, int] | None = None
    groups: tuple[GroupReadings, ...] = ()
    no_speech: NoSpeechReading | None = None
    windows: WindowStrata | None = None
    at_teacher: StateProbe | None = None

    @property
    def summary(self) -> overlap.OverlapSummary:
        """Every statistic with its 95 % interval: `result.summary["top1_agreement"]`."""
        return self.probed.estimates

    @property
    def readings(self) -> Mapping[str, overlap.Estimate]:
        """What a gate reads: `summary`, forms such as `top1_agreement.without_repeats`, a server's bounds, and the same
        on the teacher's transcripts: `teacher.student_end_likely.at_end`."""
        teachers = {} if self.at_teacher is None else self.at_teacher.readings
        return {**self.probed.readings, **{f"teacher.{name}": one for name, one in teachers.items()}}

    @property
    def funnel(self) -> overlap.Funnel:
        """Position funnel."""
        return self.probed.funnel

    @property
    def first_reading(self) -> FirstReading:
        """The five numbers to read first, with a verdict."""
        ends = {} if self.bounds is None else self.bounds.ends()
        return overlap.first_reading({**ends, **self.readings}, self.funnel, self.summary.k or 0)

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
    def signal(self) -> SignalReadings | None:
        """Whether statistics tell right transcripts from wrong ones; None if no utterance has a text. Pieces of
        recordings have none."""
        return None if self.probed.references is None else self.probed.references.signal

    @property
    def calibration(self) -> CalibrationReadings | None:
        """Whether both models' tokens and words are right as often as their probability says; None if no
        utterance has a text. Pieces of recordings have none."""
        return None if self.probed.references is None else self.probed.references.calibration

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
        forms = {name: one for name, one in self.readings.items() if form_of(name)}
        tree["forms"] = plain({name: one.to_dict() for name, one in forms.items()})
        if self.at_teacher is not None:
            tree["teacher_transcripts"] = self.at_teacher.estimates.to_dict()
        if self.bounds:
            tree["bounds"] = self.bounds.to_summary().to_dict()
        if self.panel:
            tree["shadow_panel"] = self.panel.to_dict()
        if self.windows:
            tree["windows"] = self.windows.to_dict()
        if self.no_speech:
            tree["no_speech"] = self.no_speech.to_dict()
        if self.groups:
            tree["groups"] = {one.field: one.to_dict() for one in self.groups}
        against = {"signal": self.signal, "calibration": self.calibration}
        return tree | {name: readings.to_dict() for name, readings in against.items() if readings is not None}

    def write(self, path: str | Path) -> None:
        """Write the result there, as Parquet, which `distill report` and `analysis.load` open.

        Its rows are the traces. All else that the probe measured is in the metadata, in the rows of a run directory's
        folders, and of `windows`.

        Raises:
            WriteError: The disk is full.
        """
        tables = probe_tables(self.probed, self.groups)
        if self.at_teacher is not None:
            tables[PROBES] += probe_tables(self.at_teacher)[PROBES]
        tables[NO_SPEECH] = [] if self.no_speech is None else list(self.no_speech.rows)
        tables[WINDOWS] = [] if self.windows is None else self.windows.rows()
        n_recordings = None if self.windows is None else self.windows.n_recordings
        counts = {"n_utterances": len(self.probed.rollouts), "n_recordings": n_recordings}
        about = {**self.sources, **self.probed.about, **counts, "tables": plain(tables)}
        write_rows(Path(path), self._rows, {"probe": about})

    @property
    def _rows(self) -> list[dict[str, Any]]:
        """The traces, with the recording of each piece if some are pieces."""
        of = self.probed.recordings
        return [{**row, "recording": of.get(row["id"], row["id"])} for row in self.traces] if of else self.traces

    @property
    def _source_line(self) -> str:
        named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.sources.items())
        n = f"{len(self.references):,}"
        if self.windows is None or not self.windows.pieces.n_cut:
            return f"{named}: {n} utterances, on the student's rollouts"
        read = f"{self.windows.n_recordings:,} recordings in {n} pieces"
        return f"{named}: {read}, on the student's rollouts; intervals are over recordings"

    @property
    def _without_reference(self) -> str:
        """What signal and calibration lack, in a sentence; empty if nothing."""
        pieces = None if self.windows is None else self.windows.pieces
        if pieces is None or not pieces.n_without_reference:
            return NO_TEXTS if self.signal is None else self._none_right
        left = f"{pieces.n_without_reference:,} of {pieces.n_with_text:,} recordings with a text were cut"
        if self.signal is None:
            return f"signal and calibration: not measured, for {left}, and pieces have no reference text"
        return f"signal and calibration leave out recordings: {left}, and pieces have no reference text"

    @property
    def _cut_teacher(self) -> str:
        """That many of the teacher's transcripts were cut off, in a sentence; empty where they were not."""
        ended = None if self.at_teacher is None else self.at_teacher.estimates["end_of_text"]
        if ended is None or ended.value >= READINESS.level("end_of_text"):
            return ""
        return (
            f"only {ended.shown(3)} of the teacher's {ended.n_groups:,} transcripts end by themselves: the limit on "
            "length (`--max-new-tokens`) is too low for them, or the teacher itself loops"
        )

    @property
    def _none_right(self) -> str:
        """What may be amiss if no transcript is right, in a sentence; empty if some are."""
        if self.signal is None or any(one.n_right or not one.n_wrong for one in self.signal.values()):
            return ""
        return (
            f"no transcript is right under the normalizer {self.signal.normalizer}: if texts and transcripts differ "
            "only in form, as in numerals, choose another one, such as `--normalizer spoken_digits`"
        )

    def __str__(self) -> str:
        measured = (self.summary, *self.groups, self.bounds, self.funnel, self.coverage)
        tables = filter(None, (*measured, self.windows, self.no_speech))
        parts = [*map(str, tables), f"teacher: {self.round_trip.line}", self._source_line, str(self.first_reading)]
        parts += map(str, filter(None, (self._cut_teacher, self.signal, self.calibration, self._without_reference)))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        """Return the five numbers first, with the full table folded."""
        lines = "".join(f"<p>{escape(line)}</p>" for line in (self._source_line, f"teacher: {self.round_trip.line}"))
        tables = (self.summary, *self.groups, self.bounds, self.coverage, self.panel, self.windows, self.no_speech)
        folded = "".join(table._repr_html_() for table in tables if table is not None)
        first = self.first_reading._repr_html_() + self.funnel._repr_html_()
        against = [table._repr_html_() for table in (self.signal, self.calibration) if table is not None]
        first += "".join(against) + (f"<p>{escape(self._without_reference)}</p>" if self._without_reference else "")
        return f"{lines}{first}<details><summary>every statistic</summary>{folded}</details>"
