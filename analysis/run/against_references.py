"""Signal and calibration of probes of sets with texts: `signal/*.parquet` and `calibration/*.parquet` of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.calibration import CalibrationReadings
from overlap.errors import UserError
from overlap.signal import SignalReadings

from .files import require_columns
from .kinds import Record, required
from .per_probe import read_per_probe
from .reading_records import CalibrationReading, SignalReading
from .records import Place

FILES: Mapping[str, type[Record]] = {"signal": SignalReading, "calibration": CalibrationReading}
"""Folders with the record of their rows."""
_PROBE = ("step", "visit", "states")


def read_against_references(folder: Path, name: str, probes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a folder of `FILES` of a run; none if the run has no such files.

    Args:
        folder: The run directory.
        name: Of the folder.
        probes: The run's probes.

    Raises:
        UserError: A file is damaged; names it and the columns.
    """
    return read_per_probe(folder / name, FILES[name], probes, ())


def of_one_probe(path: Path, name: str, about: Mapping[str, Any], place: Mapping[str, Any]) -> pd.DataFrame:
    """Return the same rows from the metadata of a file that `distill probe --output` wrote; none if it has no texts.

    Args:
        path: The file, for messages.
        name: Of a folder of `FILES`.
        about: The metadata.
        place: Step, visit, stage and states of the probe.

    Raises:
        UserError: The metadata are damaged.
    """
    record = FILES[name]
    rows = [{**place, **row} for row in about.get(name, {}).get("rows", ())]
    if not rows:
        return pd.DataFrame(columns=list(required(record)))
    frame = pd.DataFrame(rows)
    numbers = [
        column for column in ("value", "standard_error", "low", "high", "p_chance", "p_useful") if column in frame
    ]
    frame = frame.astype(dict.fromkeys(numbers, "float64"))
    require_columns(frame, path, required(record), "distill probe --output")
    return frame


def place_of_probe(frame: pd.DataFrame) -> dict[str, Any]:
    """Step, visit, stage and states of the only probe of a file, from its traces."""
    first = frame.iloc[0]
    return {name: first[name] for name in (*required(Place), "states")}


def signal_readings(rows: pd.DataFrame) -> SignalReadings:
    """Return the readings of one probe as `overlap.signal` has them: a mapping from statistic to its signal.

    Args:
        rows: Of `Run.signal`, of one probe and kind of states.

    Raises:
        UserError: They are of several probes, or of none.
    """
    return SignalReadings.from_rows(_of_one(rows))


def calibration_readings(rows: pd.DataFrame) -> CalibrationReadings:
    """Return the readings of one probe as `overlap.calibration` has them: a mapping from model and unit.

    Args:
        rows: Of `Run.calibration`, of one probe and kind of states.

    Raises:
        UserError: They are of several probes, or of none.
    """
    return CalibrationReadings.from_rows(_of_one(rows))


def _of_one(rows: pd.DataFrame) -> list[dict[str, Any]]:
    if rows.empty:
        raise UserError("rows: there are none; choose a step that was probed on a set with texts")
    for name in _PROBE:
        if len(found := rows[name].unique()) > 1:
            raise UserError(
                f"rows: expected those of one probe and kind of states, received several values of {name}; choose one "
                f"of {sorted(map(str, found))}"
            )
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
