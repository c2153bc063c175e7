"""From a run directory to tidy data frames. Works on a run that is still being written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

DECISION_COLUMNS = ("step", "stage", "stage_step", "gate", "decision", "reason")
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


@dataclass(frozen=True)
class Run:
    """The files of a run as frames.

    Attributes:
        path: The run directory.
        resolved: Recipe, seeds, versions and hashes.
        metrics: A row a training step; nested columns are flattened with dots (`overlap.union_size`, `seconds.teacher`).
        probes: A row a probe, kind of states and statistic, with interval and counts.
        decisions: A row a gate reading.
        evaluations: A row an evaluation, with `wer.value`, `wer.low`, `wer.high`, ….
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


def load(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        FileNotFoundError: No `resolved.json` there.
        ValueError: A complete line of a log is not JSON (names file and line).
    """
    path = Path(path)
    if not (path / "resolved.json").is_file():
        raise FileNotFoundError(f"{path} holds no run: resolved.json is missing. Give the --output of `distill train`.")
    probes = path / "probes.parquet"
    return Run(
        path,
        json.loads((path / "resolved.json").read_text(encoding="utf-8")),
        _log(path / "metrics.jsonl"),
        pd.read_parquet(probes) if probes.exists() else pd.DataFrame(columns=list(PROBE_COLUMNS)),
        _log(path / "decisions.jsonl", DECISION_COLUMNS),
        _log(path / "evaluations.jsonl"),
    )


def _log(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):  # being written right now
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
    return pd.json_normalize(rows) if rows else pd.DataFrame(columns=list(columns))
