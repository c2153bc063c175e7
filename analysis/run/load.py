"""Reads a run directory as tidy data frames, also while the run is still being written."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.errors import UserError

from .doubled import ONCE, check_once
from .files import read_log, read_parquet
from .kinds import Integer, Record, required
from .no_speech import no_speech_readings
from .per_probe import read_per_probe
from .probe_output import read_probe, rows_of_probe
from .probe_sums import TEXTS
from .reading_records import CalibrationReading, SignalReading, WindowReading
from .records import (
    BegunVisit,
    Decision,
    Evaluation,
    Metric,
    NoSpeech,
    Probe,
    ProbeGroup,
    ProbeSum,
    Rate,
    TokenRule,
    Transcript,
)
from .schema import read_resolved
from .traces import positions, read_traces
from .visits import Visit, check_known, check_places, visits_of

ERROR_RATES = {"wer": "words", "mer": "tokens"}
"""An evaluation has one of these, depending on its normalizer: word or mixed error rate, with the unit that it
counts."""
RATES = (*ERROR_RATES, "cer")
EVALUATED = ("step", "visit", "stage", "set", "model")
"""What names an evaluation."""


@dataclass(frozen=True, eq=False)
class Run:
    """The files of a run as frames.

    Attributes:
        path: The run directory.
        resolved: Recipe, seeds, versions and hashes.
        begun: One row for each visit of a stage, of `visits.jsonl`: when it began, and with which weights.
        metrics: One row for each training step; nested columns are flattened with dots (`overlap.union_size`).
        probes: One row for each probe, kind of states and statistic, with interval and counts.
        decisions: One row for each gate reading, with the levels that it was compared with, and one for the end of the
            run.
        evaluations: One row for each evaluation, with `wer.value`, `wer.low`, `wer.high`, …; `mer.value`, … instead if
            the normalizer counts mixed tokens, as for Mandarin.
        probed: If this is the file of a `distill probe` instead of a training run, its traces. There are then no
            metrics, gates, evaluations or sums by utterance, and a single probe at step 0.
    """

    path: Path
    resolved: dict[str, Any]
    begun: pd.DataFrame
    metrics: pd.DataFrame
    probes: pd.DataFrame
    decisions: pd.DataFrame
    evaluations: pd.DataFrame
    probed: pd.DataFrame | None = None

    def __repr__(self) -> str:
        frames = ("metrics", "probes", "decisions", "evaluations")
        sizes = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in frames)
        return f"Run {str(self.path)!r}, recipe {self.recipe!r}, seed {self.seed}: rows of {sizes}"

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The recipe's stages, in order."""
        return self.resolved["recipe"]["stages"]

    @cached_property
    def visits(self) -> tuple[Visit, ...]:
        """The visits of the run to its stages, in order; the last one may be ongoing."""
        return visits_of(self.begun, self.decisions)

    @property
    def unvisited(self) -> str | None:
        """Why the visits of a run with gate readings are unknown, in words; None where they are known."""
        if self.decisions.empty or not self.begun.empty:
            return None
        return "visits.jsonl is missing or empty, so that the stages of decisions.jsonl are unknown"

    @property
    def ended(self) -> tuple[str, str] | None:
        """How the run ended (`finished`, `stopped` or `aborted`) and why; None while it is running."""
        ends = self.decisions.loc[self.decisions["decision"] == "end", ["outcome", "reason"]]
        return None if ends.empty else (str(ends.iloc[-1, 0]), str(ends.iloc[-1, 1]))

    @property
    def main_set(self) -> str | None:
        """The set of the recipe's `[evaluation]`, or the first if it names none. None without evaluations."""
        if self.evaluations.empty:
            return None
        names = self.evaluations["set"].tolist()
        main = (self.resolved["recipe"].get("evaluation") or {}).get("name")
        return main if main in names else names[0]

    @property
    def main_evaluations(self) -> pd.DataFrame:
        """The evaluations on the main set that measured its error rate."""
        rows = self.evaluations.loc[self.evaluations["set"] == self.main_set]
        total = f"{error_rate_of(rows)}.total"
        return rows.dropna(subset=total) if total in rows else rows

    @property
    def error_rate(self) -> str:
        """Which error rate the evaluations on the main set hold: `wer` or `mer`."""
        return error_rate_of(self.main_evaluations)

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.resolved["recipe"].get("name", self.path.name))

    @property
    def seed(self) -> int | None:
        """The run's seed; None if its files do not contain it."""
        return self.resolved.get("seed")

    @cached_property
    def transcripts(self) -> pd.DataFrame:
        """One row for each utterance of every evaluation, read at first access.

        Columns: `step`, `visit`, `stage`, `set`, `model` of the evaluation; `id`, `reference`, `text`, `seconds`,
        `language`, `speaker`; `words.errors`, `words.total` and their kinds after normalization, and likewise
        `characters`; `normalizer` of the error counts, with its version; where they were recorded, `finished` and
        both texts as their errors are counted, `compared.reference` and `compared.text`. No rows if transcripts were
        not kept.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        evaluations = self.evaluations.drop_duplicates(list(EVALUATED), keep="last").dropna(subset="transcripts")
        frames = []
        units = {name: ERROR_RATES[error_rate_of(rows)] for name, rows in evaluations.groupby("set")}
        for row in evaluations.to_dict("records"):
            unit, path = units[row["set"]], self.path / str(row["transcripts"])
            if path.exists():
                frame = read_parquet(path, required(Transcript) | dict.fromkeys(counted_by(unit), Integer))
                check_once([(path, frame)], ONCE["transcripts"])
                for place, name in enumerate(EVALUATED):
                    frame.insert(place, name, row[name])
                frame["normalizer"] = normalizer_of(row)
                frames.append(frame)
        if not frames:
            counted = counted_by(ERROR_RATES[self.error_rate])
            return pd.DataFrame(columns=[*EVALUATED, *required(Transcript), *counted, "normalizer"])
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def probe_sums(self) -> pd.DataFrame:
        """Sums and counts of every statistic in each utterance of each probe, read at first access.

        Columns: `step`, `visit`, `stage`, `states`, `id`, `statistic`, `sum`, `count`, `undefined`; texts are
        categories. No rows if the run kept none, or for the file of a `distill probe`.
        `analysis.run.probe_sums.group_sums` makes them ready for intervals and for the paired change between two
        probes.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        return self._per_probe("probe_sums", ProbeSum, TEXTS)

    @cached_property
    def no_speech_clips(self) -> pd.DataFrame:
        """One row for each probe, model and clip without speech, with its transcript, read at first access.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        return self._per_probe("no_speech", NoSpeech)

    @cached_property
    def no_speech(self) -> pd.DataFrame:
        """Invented words a minute, share of clips with words and share that never ends, with intervals over clips.

        One row for each probe, `model`, `kind` of clip and `statistic`; no rows if the recipe's `[probe.no_speech]`
        asked for no clips.
        """
        return no_speech_readings(self.no_speech_clips)

    @cached_property
    def signal(self) -> pd.DataFrame:
        """Whether statistics tell right transcripts from wrong ones, one row for each probe, statistic and quantity.

        Columns as in `signal/*.parquet` of RUN_DIRECTORY.md; read at first access. No rows if the probe set has no
        texts, or the run was made before probes compared transcripts with them.
        `analysis.run.against_references.signal_readings` makes one probe's rows ready to use.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        return self._per_probe("signal", SignalReading)

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Whether both models' tokens and words are right as often as their probability says, likewise.

        Columns as in `calibration/*.parquet` of RUN_DIRECTORY.md; one row for each probe, model, unit and quantity, and
        one for each bin. `analysis.run.against_references.calibration_readings` makes one probe's rows ready to use.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        return self._per_probe("calibration", CalibrationReading)

    def _per_probe(self, name: str, record: type[Record], texts: Sequence[str] = ()) -> pd.DataFrame:
        if self.probed is None:
            return read_per_probe(self.path / name, record, self.probes, texts)
        return rows_of_probe(self.path, self.resolved["tables"], name, record)

    @cached_property
    def probe_groups(self) -> pd.DataFrame:
        """Readings of groups of utterances in each probe of a recipe with `probe.groups`, read at first access.

        Columns: those of `probes`, `field` and `group`; the statistic `utterances` is the size of a group. No rows if
        the recipe names no groups.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        return self._per_probe("probe_groups", ProbeGroup)

    @cached_property
    def windows(self) -> pd.DataFrame:
        """Readings by window of recordings that were cut: `window`, and the columns of `probes`.

        No rows but for the file of a `distill probe --long`.

        Raises:
            UserError: The file's metadata are damaged; names the columns.
        """
        return rows_of_probe(self.path, self.resolved.get("tables", {}), "windows", WindowReading)

    @cached_property
    def traces(self) -> pd.DataFrame:
        """One row for each traced utterance and kind of states, with lists of values at its positions.

        Read at first access. Both models' log-probabilities on the union of their supports are in `student_logprobs`
        and `teacher_logprobs`, one list for each position.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        return read_traces(self.path / "traces", self.probes) if self.probed is None else self.probed

    @cached_property
    def token_rules(self) -> pd.DataFrame:
        """What rules for single positions would keep at each probe, one row for each number, read at first access.

        Columns as in `token_rules/*.parquet` of RUN_DIRECTORY.md. No rows if no panel was kept, as with a served
        teacher.

        Raises:
            UserError: A file is damaged; names it and the columns.
        """
        return self._per_probe("token_rules", TokenRule)

    @cached_property
    def positions(self) -> pd.DataFrame:
        """The traces with one row for each position, see `analysis.traces.positions`."""
        return positions(self.traces)


def counted_by(unit: str) -> tuple[str, str]:
    """The columns of transcripts with an error rate's counts."""
    return f"{unit}.errors", f"{unit}.total"


def error_rate_of(evaluations: pd.DataFrame) -> str:
    """Which error rate some evaluations of one set hold: `wer` or `mer`."""
    mixed = [column for column in evaluations if str(column).startswith("mer.")]
    return "mer" if bool(evaluations[mixed].notna().to_numpy().any()) else "wer"


def normalizer_of(evaluation: Mapping[Any, Any]) -> str | None:
    """Name and version of an evaluation's normalizer, such as `basic 1`; None if unknown.

    Args:
        evaluation: A row of `Run.evaluations`.
    """
    name, version = (evaluation.get(key) for key in ("normalizer", "normalizer_version"))
    return f"{name} {version}" if isinstance(name, str) else None


def load(path: str | Path) -> Run:
    """Read a run directory, finished or not, or the trace of a probe.

    Args:
        path: A run directory (`distill train --output`), or a Parquet file that `distill probe --output` wrote.

    Raises:
        FileNotFoundError: No `resolved.json` there, and no such file.
        UserError: No path, or a file is damaged; names it, with line and field if possible. The last line of a log may
            be incomplete while the run continues.
    """
    if not isinstance(path, str | PathLike):
        raise UserError(f"path: expected a run directory, such as load('runs/0'), received a {type(path).__name__}")
    path = Path(path)
    if path.is_file():
        return _probed(path)
    if not (path / "resolved.json").is_file():
        raise FileNotFoundError(
            f"{path} holds no run: resolved.json is missing. Give the --output of `distill train`, "
            "or the file that `distill probe --output` wrote."
        )
    resolved = read_resolved(path)
    logs = [path / f"{name}.jsonl" for name in ("metrics", "decisions", "evaluations")]
    metrics, decisions, evaluations = read_log(logs[0], Metric), read_log(logs[1], Decision), _evaluations(logs[2])
    probes = {file: read_parquet(file, required(Probe)) for file in sorted((path / "probes").glob("*.parquet"))}
    check_once(list(probes.items()), ONCE["probes"])
    # After the others: a trainer at work writes the row of a visit before those that belong to it.
    begun = read_log(path / "visits.jsonl", BegunVisit)
    check_places(path / "visits.jsonl", resolved["recipe"]["stages"], begun)
    if len(begun):
        files = dict(zip(logs, (metrics, decisions, evaluations), strict=True)) | probes
        for file, rows in files.items():
            check_known(file, rows, "visit", begun["visit"].tolist(), "the visits in visits.jsonl")
    return Run(path, resolved, begun, metrics, _in_order(probes.values()), decisions, evaluations)


def _probed(path: Path) -> Run:
    resolved, probes, traces = read_probe(path)
    begun, metrics, decisions, evaluations = (
        pd.DataFrame(columns=list(required(record))) for record in (BegunVisit, Metric, Decision, Evaluation)
    )
    return Run(path, resolved, begun, metrics, probes, decisions, evaluations, traces)


def _in_order(parts: Collection[pd.DataFrame]) -> pd.DataFrame:
    """All probes of a run in the order of the run, from one frame each."""
    filled = [frame for frame in parts if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(required(Probe)))
    return pd.concat(filled, ignore_index=True).sort_values(["visit", "step"], kind="stable", ignore_index=True)


def _evaluations(path: Path) -> pd.DataFrame:
    frame = read_log(path, Evaluation)
    if frame.empty:
        return frame
    if not {*ERROR_RATES} & {str(name).split(".")[0] for name in frame}:
        names = " or ".join(f"`{name}`" for name in ERROR_RATES)
        raise UserError(
            f"{path}: field {names} is missing; add it as RUN_DIRECTORY.md describes, null if it was not measured"
        )
    measured = [rate for rate in RATES if f"{rate}.value" in frame]
    if not {*measured} & {*ERROR_RATES}:
        measured.append("wer")  # which nothing measured: a column of undefined numbers
    fields = [f"{rate}.{field}" for rate in measured for field in (*required(Rate), "low", "high")]
    frame = frame.drop(columns=[rate for rate in RATES if rate in frame])  # those that are null
    return frame.assign(**{name: math.nan for name in fields if name not in frame})
