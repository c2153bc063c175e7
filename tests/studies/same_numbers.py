"""Do two runs of one recipe hold the same numbers? To show that a change of names, layout or records moved none.

    python -m tests.studies.same_numbers runs/before runs/after                    # bit by bit
    python -m tests.studies.same_numbers runs/before runs/after --tolerance 1e-6   # relative

Compared are all numbers of metrics, decisions, evaluations, probes and traces, and the weights of the checkpoints that
both runs kept. Durations and sentences are left out. Columns that one run alone has are listed. The exit code is 1 if a
number that both have differs, or one that the first has is missing in the second.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

RENAMED = {
    "normaliser": "normalizer",
    "normaliser_version": "normalizer_version",
    "funnel.thin_support": "funnel.low_support",
    "meets": "satisfied",
}
"""Columns, statistics and keys of older runs, by their names of today."""
DURATIONS = ("seconds", "time", "wall")
PROSE = ("reason",)
"""Sentences: they may say the same numbers in other words."""
TRACE = ["step", "stage", "states", "id"]
"""What names a trace."""
LOGS = ("metrics", "decisions", "evaluations")


def main() -> int:
    """Print what was compared, a line a log and a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="relative, of the largest number of a column")
    given = parser.parse_args()
    same = True
    for name, before, after in logs(given.before, given.after):
        lines, differs = compared(before, after, given.tolerance)
        same &= not differs
        print(f"{name}: {len(before)} rows; " + "; ".join(lines))
    for name, worst in weights(given.before, given.after):
        same &= worst <= given.tolerance
        print(f"{name}: weights differ by at most {worst:.3g}, relative")
    print("the same" if same else "NOT the same")
    return 0 if same else 1


def logs(before: Path, after: Path) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Every log of the first run beside that of the second."""
    for name in LOGS:
        yield name, _lines(before / f"{name}.jsonl"), _lines(after / f"{name}.jsonl")
    yield "probes", _parquet(before, "probes"), _parquet(after, "probes")
    # Files of traces were called by their stage once, and sorted otherwise.
    yield "traces", *(_parquet(run, "traces").sort_values(TRACE, kind="stable") for run in (before, after))


def compared(before: pd.DataFrame, after: pd.DataFrame, tolerance: float) -> tuple[list[str], bool]:
    """What is to be said of one log, and whether anything differs that should not."""
    before, after = (_renamed(frame) for frame in (before, after))
    before = before[[name for name in before if not str(name).startswith(DURATIONS) and name not in PROSE]]
    lines, differs = [], False
    if len(before) != len(after):
        return [f"{len(after)} rows in the second run"], True
    missing, added = [n for n in before if n not in after], [n for n in after if n not in before]
    added = [str(name) for name in added if not str(name).startswith(DURATIONS) and name not in PROSE]
    worst: dict[str, float] = {}
    for name in before:
        if name in after:
            worst[str(name)] = _difference(before[name], after[name])
    moved = {name: value for name, value in worst.items() if value > tolerance}
    lines.append(
        f"{len(worst) - len(moved)} columns alike" + (f" (to {max(worst.values()):.3g})" if any(worst.values()) else "")
    )
    if moved:
        lines.append("differ: " + ", ".join(f"{name} by {value:.3g}" for name, value in moved.items()))
        differs = True
    if missing:
        lines.append(f"missing: {', '.join(map(str, missing))}")
        differs = True
    if added:
        lines.append(f"new: {', '.join(added)}")
    return lines, differs


def weights(before: Path, after: Path) -> Iterator[tuple[str, float]]:
    """The largest relative difference of any tensor, a checkpoint that both kept."""
    for path in sorted((before / "checkpoints").glob("*/model.safetensors")):
        other = after / path.relative_to(before)
        if other.exists():
            old, new = load_file(path), load_file(other)
            alike = set(old) == set(new)
            yield path.parent.name, max(_relative(old[n], new[n]) for n in old) if alike else np.inf


def _renamed(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.rename(columns=RENAMED)
    if "statistic" in frame:
        frame = frame.assign(statistic=frame["statistic"].replace(RENAMED))
    if "levels" in frame:
        levels = frame["levels"].map(lambda rows: [{RENAMED.get(k, k): v for k, v in row.items()} for row in rows])
        frame = frame.assign(levels=levels)
    return frame


def _difference(before: pd.Series, after: pd.Series) -> float:
    values, others = before.tolist(), after.tolist()
    if pd.api.types.is_numeric_dtype(before) and pd.api.types.is_numeric_dtype(after):
        return _relative(np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64))
    return max((_object(value, other) for value, other in zip(values, others, strict=True)), default=0.0)


def _object(value: object, other: object) -> float:
    if isinstance(value, np.ndarray | list) and isinstance(other, np.ndarray | list):
        if any(isinstance(item, np.ndarray | list) for item in value):  # lists of numbers, not all of one length
            alike = len(value) == len(other)
            return max((_object(*pair) for pair in zip(value, other, strict=True)), default=0.0) if alike else np.inf
        first, second = np.asarray(value), np.asarray(other)
        if first.dtype.kind in "fiub" and second.dtype.kind in "fiub":
            return _relative(first.astype(np.float64), second.astype(np.float64))
        return 0.0 if first.shape == second.shape and str(first.tolist()) == str(second.tolist()) else np.inf
    both_undefined = (value is None and other is None) or (value != value and other != other)
    return 0.0 if both_undefined or value == other else np.inf


def _relative(before: np.ndarray, after: np.ndarray) -> float:
    if before.shape != after.shape:
        return np.inf
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    counted = ~((before == after) | (np.isnan(before) & np.isnan(after)))
    if not counted.any():
        return 0.0
    scale = np.abs(before[np.isfinite(before)]).max(initial=0.0)
    gap = np.abs(before - after)[counted].max() / (scale or 1.0)
    return np.inf if np.isnan(gap) else float(gap)


def _lines(path: Path) -> pd.DataFrame:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pd.json_normalize(rows)


def _parquet(run: Path, name: str) -> pd.DataFrame:
    """A table that is one file, or a folder of parts in the order of their names."""
    parts = sorted((run / name).glob("*.parquet")) or [run / f"{name}.parquet"]
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


if __name__ == "__main__":
    sys.exit(main())
