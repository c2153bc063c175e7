"""From a run directory to tidy data frames. Works on a run that is still being written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from .files import read_log, read_object, read_parquet
from .probed import read_probe
from .traces import positions, read_traces

METRIC_COLUMNS = ("step", "stage", "stage_step", "loss")
DECISION_COLUMNS = ("step", "stage", "stage_step", "gate", "decision", "reason")
EVALUATION_COLUMNS = ("step", "stage", "set", "model")
ERROR_RATES = {"wer": "words", "mer": "tokens"}
"""What an evaluation holds one of, by its normaliser: word or mixed error rate, and what each counts."""

PROBE_COLUMNS = (
    "step",
    "stage",
    "states",
    "statistic",
    "value",
    "standard_error",
    "low",
    "high",
    "n_positions",
    "n_groups",
    "n_undefined",
)
EVALUATED = ("step", "stage", "set", "model")
"""What names an evaluation."""
TRANSCRIPT_COLUMNS = (
    "id",
    "reference",
    "text",
    "seconds",
    "language",
    "speaker",
    "characters.errors",
    "characters.total",
)
"""Beside them `words.errors` and `words.total`, or `tokens.…` where the mixed error rate counts those."""


@dataclass(frozen=True, eq=False)
class Run:
    """The files of a run as frames.

    Attributes:
        path: The run directory.
        resolved: Recipe, seeds, versions and hashes.
        metrics: A row a training step; nested columns are flattened with dots (`overlap.union_size`).
        probes: A row a probe, kind of states and statistic, with interval and counts.
        decisions: A row a gate reading, and one where the run ended.
        evaluations: A row an evaluation, with `wer.value`, `wer.low`, `wer.high`, …; `mer.value`, … instead where the
            normaliser counts mixed tokens, as for Mandarin.
        probed: Of the file of one `distill probe` its traces, where this is no run of training: there are no metrics,
            gates or evaluations then, and one probe, of step 0.
    """

    path: Path
    resolved: dict[str, Any]
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

    @property
    def main_set(self) -> str | None:
        """The set of `[evaluation]`, which is shown where one is; in older runs the first. None without evaluations."""
        if self.evaluations.empty:
            return None
        names = self.evaluations["set"].tolist()
        main = (self.resolved["recipe"].get("evaluation") or {}).get("name")
        return main if main in names else names[0]

    @property
    def main_evaluations(self) -> pd.DataFrame:
        """The evaluations on the main set."""
        return self.evaluations.loc[self.evaluations["set"] == self.main_set]

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
        """What the run was seeded with; None where its files do not say."""
        return self.resolved.get("seed")

    @cached_property
    def transcripts(self) -> pd.DataFrame:
        """A row an utterance of every evaluation, read when first asked for.

        Columns: `step`, `stage`, `set`, `model` of the evaluation; `id`, `reference`, `text`, `seconds`, `language`,
        `speaker`; `words.errors`, `words.total` and their kinds after normalisation, and likewise `characters`;
        `normaliser`, what errors were counted under, with its version. No rows where the run was made before
        transcripts were kept.

        Raises:
            ValueError: A file is damaged; names it and the columns.
        """
        # Names, sets and stages may hold hyphens: the evaluation says what its file is called, not the other way round.
        evaluations = self.evaluations.drop_duplicates(list(EVALUATED), keep="last")
        frames = []
        units = {name: ERROR_RATES[error_rate_of(rows)] for name, rows in evaluations.groupby("set")}
        for evaluation in evaluations.to_dict("records"):
            step, stage, name, model = (evaluation[place] for place in EVALUATED)
            columns = (*TRANSCRIPT_COLUMNS, f"{units[name]}.errors", f"{units[name]}.total")
            path = self.path / "transcripts" / f"step-{step:06d}-{stage}-{name}-{model}.parquet"
            if path.exists():
                frame = read_parquet(path, columns)
                for place, value in enumerate((step, stage, name, model)):
                    frame.insert(place, EVALUATED[place], value)
                frame["normaliser"] = normaliser_of(evaluation)
                frames.append(frame)
        if not frames:
            unit = ERROR_RATES[self.error_rate]
            counted = (f"{unit}.errors", f"{unit}.total")
            return pd.DataFrame(columns=[*EVALUATED, *TRANSCRIPT_COLUMNS, *counted, "normaliser"])
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def traces(self) -> pd.DataFrame:
        """A row a sampled utterance and kind of states, with lists of what was seen at each of its positions.

        Read when first asked for. Both models' log-probabilities on the union of their top-k sets are in
        `student_logprobs` and `teacher_logprobs`, a list a position.

        Raises:
            ValueError: A file is damaged; names it and the columns.
        """
        return read_traces(self.path / "traces", self.probes) if self.probed is None else self.probed

    @cached_property
    def positions(self) -> pd.DataFrame:
        """The traces with a row a position, see `analysis.traces.positions`."""
        return positions(self.traces)


def error_rate_of(evaluations: pd.DataFrame) -> str:
    """Which error rate some evaluations of one set hold: `wer` or `mer`."""
    mixed = [column for column in evaluations if str(column).startswith("mer.")]
    return "mer" if bool(evaluations[mixed].notna().to_numpy().any()) else "wer"


def normaliser_of(evaluation: Mapping[Any, Any]) -> str | None:
    """Name and version of what an evaluation's errors were counted under, such as `basic 1`; None if it does not say.

    Args:
        evaluation: A row of `Run.evaluations`.
    """
    name, version = (evaluation.get(key) for key in ("normaliser", "normaliser_version"))
    return f"{name} {version}" if isinstance(name, str) else None


def load(path: str | Path) -> Run:
    """Read a run directory, finished or not, or the trace of a probe.

    Args:
        path: What `distill train --output` was given, or the Parquet file that `distill probe --output` was.

    Raises:
        FileNotFoundError: No `resolved.json` there, and no such file.
        ValueError: No path, or a file is damaged; names it, and the line and field where it has them. The last line of
            a log may be half written: the run is going on.
    """
    if not isinstance(path, str | PathLike):
        raise ValueError(f"path: expected a run directory, such as load('runs/0'), received a {type(path).__name__}")
    path = Path(path)
    if path.is_file():
        return _probed(path)
    resolved = path / "resolved.json"
    if not resolved.is_file():
        raise FileNotFoundError(
            f"{path} holds no run: resolved.json is missing. Give the --output of `distill train`, "
            "or the file that `distill probe --output` wrote."
        )
    probes = path / "probes.parquet"
    tree = read_object(resolved.read_bytes(), str(resolved), ("recipe",))
    if not isinstance(tree["recipe"], dict) or not isinstance(tree["recipe"].get("stages"), list):
        raise ValueError(f"{resolved}: field `recipe.stages` is missing; it was not written by `distill train`")
    return Run(
        path,
        tree,
        read_log(path / "metrics.jsonl", METRIC_COLUMNS),
        read_parquet(probes, PROBE_COLUMNS) if probes.exists() else pd.DataFrame(columns=list(PROBE_COLUMNS)),
        read_log(path / "decisions.jsonl", DECISION_COLUMNS),
        _evaluations(path / "evaluations.jsonl"),
    )


def _probed(path: Path) -> Run:
    resolved, probes, traces = read_probe(path)
    metrics, decisions, evaluations = (
        pd.DataFrame(columns=list(names)) for names in (METRIC_COLUMNS, DECISION_COLUMNS, EVALUATION_COLUMNS)
    )
    return Run(path, resolved, metrics, probes, decisions, evaluations, traces)


def _evaluations(path: Path) -> pd.DataFrame:
    frame = read_log(path, EVALUATION_COLUMNS)
    if len(frame) and not any(f"{name}.value" in frame for name in ERROR_RATES):
        names = " or ".join(f"`{name}`" for name in ERROR_RATES)
        raise ValueError(f"{path}: field {names} is missing; it was not written by `distill train`")
    return frame
