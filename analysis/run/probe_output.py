"""Reads the file that `distill probe --output` writes as a run with one probe, for figures and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.errors import UserError
from overlap.plain_json import INFINITE

from .doubled import ONCE, check_once
from .files import read_parquet, require_columns
from .kinds import REMEDY, Record, fields, plain, required
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
    about: Any = frame.attrs.get("probe", {})
    again = f"make it again with `distill probe --output {path}`"
    if not isinstance(about, Mapping):
        raise UserError(f"{path}: its metadata under `probe` are no object; {again}")
    if about:
        check_schema(path, about)
    require_columns(frame, path, COLUMNS, WRITER)
    check_lengths(frame, path)
    check_once([(path, frame)], ("states", "id"))
    if frame.empty:
        raise UserError(f"{path} holds no utterance; {again}")
    for name in CONSTANT:
        if len(set(frame[name])) > 1:
            raise UserError(f"{path}: its rows differ in {name}; keep those of one probe")
    tables = about.get("tables")
    if not isinstance(tables, Mapping) or not tables.get("probes"):
        raise UserError(f"{path}: its metadata have no readings (`tables.probes` of `probe`); {again}")
    counts = {name: about.get(name) for name in ("n_utterances", "n_recordings")}
    if not isinstance(counts["n_utterances"], int) or not isinstance(counts["n_recordings"] or 0, int):
        raise UserError(f"{path}: n_utterances and n_recordings of its metadata are {counts}; {again}")
    frame.attrs.clear()
    k, temperature = int(frame["k"].iloc[0]), float(frame["temperature"].iloc[0])
    recipe: dict[str, Any] = {"name": path.stem, "stages": [], "support": {"k": k, "temperature": temperature}}
    recipe |= {side: {"model": about[side]} for side in ("student", "teacher") if about.get(side)}
    recipe |= {"probe": {"manifest": about["manifest"], "trace_utterances": len(frame)}} if "manifest" in about else {}
    for place, (name, value) in enumerate(PLACE.items()):
        frame.insert(place, name, value)
    resolved = {"recipe": recipe, "tables": tables, **counts}
    return resolved, rows_of_probe(path, tables, "probes", Probe), frame


def rows_of_probe(path: Path, tables: Mapping[str, Any], name: str, record: type[Record]) -> pd.DataFrame:
    """Return rows of a file's metadata as a run has them, in their place.

    Args:
        path: The file, for messages.
        tables: All tables of the file.
        name: Of one of them; it may be absent.
        record: What a row of it is.

    Raises:
        UserError: The table is damaged, or a row is there twice; names it and what is wrong.
    """
    rows = tables.get(name, [])
    where = f"{path}: table {name!r} of its metadata"
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise UserError(f"{where} is no list of objects; {REMEDY}")
    if not rows:
        return pd.DataFrame(columns=list(required(record)))
    for number, row in enumerate(rows, start=1):
        if missing := [field for field in required(record) if field not in (*row, *PLACE)]:
            raise UserError(f"{where}, row {number}: fields {missing} are missing; {REMEDY}")
    frame = pd.DataFrame([{**row, **PLACE} for row in rows])
    for field, kind in fields(record).items():
        if field in frame and plain(kind) is float:  # JSON has neither NaN nor infinite numbers
            frame[field] = [float(x) if x in INFINITE else x for x in frame[field].tolist()]
            frame[field] = frame[field].where(frame[field].notna(), math.nan).infer_objects()
    require_columns(frame, path, required(record), WRITER)
    check_once([(path, frame)], ONCE[name])
    return frame
