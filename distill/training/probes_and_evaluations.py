"""Probes on all kinds of states and evaluations, between steps; both are written to the run directory."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

import overlap
from overlap.definitions.names import change_of, changed_by, is_change, states_of
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.paired_change import paired_change
from overlap.plain_json import dumps, number

from ..data.manifest import Utterance
from ..evaluation.evaluation import counted, evaluate
from ..files import write_atomically, write_parquet
from ..models import Transcriber
from ..probing.against_references import is_labeled, speakers_of
from ..probing.groups import readings_by_group
from ..probing.probe import Rollouts, StateProbe, probe
from ..probing.round_trip import round_trip
from ..probing.rows import probe_tables
from ..progress.observer import Observer
from ..recipe import Decoding, Evaluation, Recipe
from ..run.probe_sums import as_kept, last_sums, write_sums
from ..run.provenance import changed_since
from ..run.run_directory import NO_SPEECH, PROBES, SIGNAL, TRACES, RunDirectory, damaged, read_json
from .group_estimates import group_changes, group_estimates
from .no_speech import NoSpeechProbe
from .setup import Setup

FIXED, ROUND_TRIP = "fixed_rollouts.json", "round_trip.json"
_ROLLOUTS = TypeAdapter(dict[str, tuple[list[Annotated[int, Field(ge=0)]], bool]])


@dataclass(frozen=True)
class Place:
    """Progress of a run, as in every row of its logs.

    Attributes:
        step: Training steps so far.
        visit: Number of the visit to a stage.
        stage: Name of the stage.
    """

    step: int
    visit: int
    stage: str

    @property
    def file(self) -> str:
        """Name of the files of this place; names sort by time."""
        return f"step-{self.step:06d}-visit-{self.visit:03d}"


class Monitor:
    """Measures a run at a step and writes the results."""

    def __init__(self, setup: Setup, run: RunDirectory, observer: Observer) -> None:
        self.setup = setup
        self.run = run
        self.observer = observer
        self.decoding = probe_decoding(setup.recipe)
        self._teacher_rollouts: Rollouts | None = None
        self._said_no_texts = False
        self._fixed_rollouts = fixed_rollouts(run.path)
        self._no_speech = NoSpeechProbe(setup, observer)
        self._groups = setup.groups

    def probe(
        self, place: Place, *, record_fixed: bool, trace: bool = False, changes: Collection[str] = ()
    ) -> dict[str, overlap.Estimate]:
        """Probe on every configured kind of states.

        Args:
            place: Progress of the run.
            record_fixed: Record the student's rollouts of this probe as the fixed ones, unless they exist.
            trace: Also write the positions of the first utterances to `traces/`.
            changes: Names of changes to return beside the estimates, such as `fixed.union_size.change`; other names
                are ignored.

        Returns:
            Estimates by name for the gates: plain names for the states `student`, `fixed.union_size` for others.
            Changes are those since the probe before; the first of a visit has none. Those of groups are named
            `language=de/fixed.union_size`.
        """
        config, pair = self.setup.recipe.probe, self.setup.pair
        if config is None or pair is None:
            return {}
        readings: dict[str, overlap.Estimate] = {}
        tables: dict[str, list[dict[str, Any]]] = {}
        probed: dict[str, StateProbe] = {}
        # The teacher's transcripts first: the student's positions past their length are read apart.
        for states in sorted(config.states, key=lambda states: states != "teacher"):
            recorded = {"fixed": self._fixed_rollouts, "teacher": self._teacher_rollouts}.get(states)
            if states == "fixed" and recorded is None:
                continue
            result = probe(
                pair,
                self.setup.source,
                self.setup.probe,
                self.setup.recipe.support,
                self.decoding,
                states=states,
                recorded=recorded,
                teacher_rollouts=self._teacher_rollouts if states != "teacher" else None,
                normalizer=self.setup.recipe.probe_normalizer if states == "student" else None,
                batch_size=config.batch_size,
                traced=config.trace_utterances if trace else 0,
            )
            if states == "student" and record_fixed and self._fixed_rollouts is None:
                self._fixed_rollouts = result.rollouts
                if self.run.writer:
                    write_atomically(self.run.path / FIXED, dumps(result.rollouts, ensure_ascii=True))
            if states == "teacher":
                self._teacher_rollouts = result.rollouts
            probed[states] = result
            prefix = "" if states == "student" else f"{states}."
            readings |= {f"{prefix}{name}": estimate for name, estimate in result.readings.items()}
            found = readings_by_group(result, self._groups)
            readings |= group_estimates(states, found)
            for folder, rows in (probe_tables(result, found) | {TRACES: self._scored(result.traces)}).items():
                tables.setdefault(folder, []).extend(asdict(place) | row for row in rows)
        measured = tables.pop(PROBES, [])
        self.run.append_probes(place.file, measured)
        self.observer.probe(measured)
        tables[NO_SPEECH] = [asdict(place) | row for row in self._no_speech.rows(self.decoding)]
        if not (tables.get(SIGNAL) or self._said_no_texts or is_labeled(self.setup.probe)):
            self._said_no_texts = True
            self.observer.notice("no signal and no calibration: the probe's manifest has no texts to compare with")
        for folder, rows in tables.items():
            if rows and self.run.writer:
                path = self.run.path / folder / f"{place.file}.parquet"
                path.parent.mkdir(exist_ok=True)  # runs of earlier versions lack some of them
                write_parquet(path, pd.DataFrame(rows))
        sums = {states: as_kept(result.sums) for states, result in probed.items()}
        if self.run.writer:
            write_sums(self.run.path, place.file, asdict(place), sums, speakers_of(self.setup.probe))
        return readings | self._changes(place, probed, sums, changes)

    def _changes(
        self, place: Place, probed: Mapping[str, StateProbe], sums: Mapping[str, GroupSums], names: Collection[str]
    ) -> dict[str, overlap.Estimate]:
        """Return changes since the probe before in the same visit, on the same data."""
        names = [name for name in names if is_change(name)]
        before = last_sums(self.run.path, place.visit, place.step) if names else None
        if before is None or changed_since(self.run.path, "probe.manifest", before[0]):
            return {}
        changes: dict[str, overlap.Estimate] = {}
        for name in names:
            states, statistic = states_of(changed_by(name))
            pair = [one[states] for one in (before[1], sums) if states and states in one]
            if states and len(pair) == 2 and all(statistic in one.names for one in pair):
                had, has = (one.chosen({statistic: statistic}) for one in pair)
                ranges = probed[states].ranges
                changes[name] = paired_change(had, has, ranges=ranges)[change_of(statistic)]
                changes.update(group_changes(name, had, has, self._groups, ranges))
        return changes

    def round_trip(self) -> None:
        """Check whether some of the teacher's transcripts are encoded to the same tokens again."""
        setup = self.setup
        if setup.teacher is None:
            return
        config = setup.recipe.probe
        found = round_trip(
            setup.teacher,
            setup.source,
            setup.probe or next(iter(setup.evaluations), ()) or setup.stages[-1],
            self.decoding,
            batch_size=config.batch_size if config else setup.recipe.stages[-1].batch_size,
            progress=lambda done, total: self.observer.work("teacher's tokens", done, total),
        )
        if self.run.writer:
            tree = {"teacher": found.to_dict()}
            write_atomically(self.run.path / ROUND_TRIP, dumps(tree, indent=2) + "\n")
        self.observer.notice(f"teacher {setup.teacher.name!r}: {found.line}")

    def _scored(self, traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return traces with the errors that an evaluation would count in them; unchanged without an evaluation."""
        config = self.setup.recipe.evaluation
        return traces if config is None else counted(traces, config.normalizer)

    def evaluate(
        self, place: Place, recognizer: Transcriber, model: str = "student", due: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the word and character error rates of a model on the evaluation sets, with its transcripts.

        Args:
            place: Progress of the run.
            recognizer: The model.
            model: Its name in files.
            due: Names of the sets; None evaluates all.

        Returns:
            Rows of `evaluations.jsonl`.
        """
        rows = []
        for config, utterances in zip(self.setup.recipe.evaluations, self.setup.evaluations, strict=True):
            if due is None or config.name in due:
                rows.append(self._evaluate(place, recognizer, model, config, utterances))
        return rows

    def _evaluate(
        self,
        place: Place,
        recognizer: Transcriber,
        model: str,
        config: Evaluation,
        utterances: Sequence[Utterance],
    ) -> dict[str, Any]:
        on = f" on {config.name}" if self.setup.recipe.further_evaluations else ""
        result = evaluate(
            recognizer,
            self.setup.source,
            utterances,
            normalizer=config.normalizer,
            decoding=Decoding(max_new_tokens=config.max_new_tokens),
            batch_size=config.batch_size,
            groups=[one.field for one in self._groups],
            progress=lambda done, total: self.observer.work(f"evaluating {model}{on}", done, total),
        )
        file = f"transcripts/{place.file}-{config.name}-{model}.parquet"
        row = {**asdict(place), "set": config.name, "model": model} | result.to_dict() | {"transcripts": file}
        if self.run.writer:
            write_parquet(self.run.path / file, pd.DataFrame(result.rows))
        self.run.append("evaluations", row)
        self.observer.evaluation(row)
        return row


def error_rate_read(row: Mapping[str, Any]) -> overlap.Estimate:
    """Return the error rate of a row of `evaluations.jsonl`, as gates read it."""
    rate = row["mer" if "mer" in row else "wer"]
    value, low, high = (number(rate[end]) for end in ("value", "low", "high"))
    undefined = int(math.isnan(value))
    return overlap.Estimate(value, math.nan, low, high, rate["total"], row["interval"]["n"], undefined)


def fixed_rollouts(run: Path) -> Rollouts | None:
    """Return the recorded rollouts of a run; None before there are any.

    Raises:
        RunDirectoryError: The file holds something else; names it and where.
    """
    path = run / FIXED
    if not path.exists():
        return None
    try:
        return _ROLLOUTS.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from error


def probe_decoding(recipe: Recipe) -> Decoding:
    """Return the decoding of probes: greedy, with the length limit of the on-policy stage."""
    limits = [stage.rollout.limit for stage in recipe.stages if stage.type == "opd"]
    return Decoding(max_new_tokens=max(limits)) if limits else Decoding()
