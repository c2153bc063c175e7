"""From a run directory to tidy data frames. Works on a run that is still being written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

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
    """

    path: Path
    resolved: dict[str, Any]
    metrics: pd.DataFrame
    probes: pd.DataFrame
    decisions: pd.DataFrame
    evaluations: pd.DataFrame

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The recipe's stages, in order."""
        return self.resolved["recipe"]["stages"]

    @property
    def error_rate(self) -> str:
        """Which error rate the evaluations hold: `wer` or `mer`."""
        return "mer" if "mer.value" in self.evaluations else "wer"


def load(path: str | Path) -> Run:
    """Read a run directory, finished or not.

    Args:
        path: What `distill train --output` was given.

    Raises:
        FileNotFoundError: No `resolved.json` there.
        ValueError: A file is damaged; names it, and the line and field where it has them. The last line of a log may be
            half written: the run is going on.
    """
    path = Path(path)
    resolved = path / "resolved.json"
    if not resolved.is_file():
        raise FileNotFoundError(f"{path} holds no run: resolved.json is missing. Give the --output of `distill train`.")
    return Run(
        path,
        _object(resolved.read_bytes(), str(resolved), ("recipe",)),
        _log(path / "metrics.jsonl", METRIC_COLUMNS),
        _probes(path / "probes.parquet"),
        _log(path / "decisions.jsonl", DECISION_COLUMNS),
        _evaluations(path / "evaluations.jsonl"),
    )


def _probes(path: Path) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=list(PROBE_COLUMNS))
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error}); restore it, or resume the run") from error
    missing = [column for column in PROBE_COLUMNS if column not in frame]
    if missing:
        raise ValueError(f"{path}: columns {missing} are missing; it was not written by `distill train`")
    return frame


def _evaluations(path: Path) -> pd.DataFrame:
    frame = _log(path, EVALUATION_COLUMNS)
    if len(frame) and not any(f"{name}.value" in frame for name in ERROR_RATES):
        names = " or ".join(f"`{name}`" for name in ERROR_RATES)
        raise ValueError(f"{path}: field {names} is missing; it was not written by `distill train`")
    return frame


def _log(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=list(required))
    rows = [
        _object(line, f"{path}, line {number}", required)
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1)
        if line.endswith(b"\n")  # without its end, it is being written right now
    ]
    if not rows:
        return pd.DataFrame(columns=list(required))
    frame = pd.json_normalize(rows)
    # JSON has no NaN: a column of nothing but nulls is one of undefined numbers.
    return frame.astype(dict.fromkeys(frame.columns[frame.isna().all()], "float64"))


def _object(text: bytes, where: str, required: tuple[str, ...]) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}); restore it from a copy, or delete it") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected a JSON object, found {type(row).__name__}")
    missing = [name for name in required if name not in row]
    if missing:
        raise ValueError(f"{where}: fields {missing} are missing; it was not written by `distill train`")
    return row
