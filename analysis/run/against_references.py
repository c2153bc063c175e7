"""Signal and calibration of probes of sets with texts: `signal/*.parquet` and `calibration/*.parquet` of a run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from overlap.calibration import CalibrationReadings
from overlap.errors import UserError
from overlap.signal import SignalReadings

_PROBE = ("step", "visit", "states")


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
