"""Reads the file that `distill probe --output` writes as a run with one probe, for figures and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.errors import UserError
from overlap.plain_json import INFINITE, number

from .doubled import check_once
from .files import read_parquet, require_columns
from .kinds import Record, fields, plain, required
from .records import Place, Probe, Trace
from .schema import check_schema
from .traces import check_lengths

STAGE = "probe"
"""Name of the stage in the frames of a run with only one probe, at step 0."""
PLACE = {"step": 0, "visit": 0, "stage": STAGE}
COLUMNS = {name: kind for name, kind in required(Trace).items() if name not in required(Place)}
CONSTANT = ("k", "temperature")
WRITER = "distill probe --output"


def read_probe(path: Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Return the equivalents of `resolved.json`, `Run.probes` and `Run.traces` of a run.

    The first has `tables`, the rows of a run directory's other folders, and the number of utterances probed.

    Args:
        path: A Parquet file with one row for each traced utterance.

    Raises:
        UserError: Not such a file, or damaged; names it and the columns.
    """
    frame = read_parquet(path, {}, WRITER)
    if {*required(Place)} <= {*frame}:
        folder = path.absolute().parent.parent
        known = f", {folder}" if (folder / "resolved.json").is_file() else ""
        raise UserError(f"{path}: a trace of a run; give the run{known}")
    about: Mapping[str, Any] = frame.attrs.get("probe", {})
    if about:
        check_schema(path, about)
    require_columns(frame, path, COLUMNS, WRITER)
    check_lengths(frame, path)
    check_once([(path, frame)], ("states", "id"))
    again = f"make it again with `distill probe --output {path}`"
    if frame.empty:
        raise UserError(f"{path} holds no utterance; {again}")
    for name in CONSTANT:
        if len(set(frame[name])) > 1:
            raise UserError(f"{path}: its rows differ in {name}; keep those of one probe")
    if not isinstance(tables := about.get("tables"), Mapping):
        raise UserError(f"{path}: its metadata have no readings (`tables` of `probe`); {again}")
    frame.attrs.clear()
    k, temperature = int(frame["k"].iloc[0]), float(frame["temperature"].iloc[0])
    recipe: dict[str, Any] = {"name": path.stem, "stages": [], "support": {"k": k, "temperature": temperature}}
    recipe |= {side: {"model": about[side]} for side in ("student", "teacher") if about.get(side)}
    recipe |= {"probe": {"manifest": about["manifest"], "trace_utterances": len(frame)}} if "manifest" in about else {}
    for place, (name, value) in enumerate(PLACE.items()):
        frame.insert(place, name, value)
    counts = {name: about.get(name) for name in ("n_utterances", "n_recordings")}
    resolved = {"recipe": recipe, "tables": tables, **counts}
    return resolved, rows_of_probe(path, tables.get("probes", ()), Probe), frame


def rows_of_probe(path: Path, rows: Sequence[Mapping[str, Any]], record: type[Record]) -> pd.DataFrame:
    """Return rows of a file's metadata as a run has them, in their place.

    Args:
        path: The file, for messages.
        rows: Of one table.
        record: What a row is.

    Raises:
        UserError: The metadata are damaged.
    """
    if not rows:
        return pd.DataFrame(columns=list(required(record)))
    frame = pd.DataFrame([{**PLACE, **row} for row in rows])
    for name, kind in fields(record).items():
        if name in frame and plain(kind) is float:  # JSON has neither NaN nor infinite numbers
            frame[name] = [number(x) if x is None or x in INFINITE else x for x in frame[name].tolist()]
    require_columns(frame, path, required(record), WRITER)
    return frame
