"""Sampled utterances position by position: `traces/*.parquet` of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from overlap.definitions import TOKEN_STATISTICS
from overlap.errors import UserError

from .doubled import ONCE, check_once
from .files import read_parquet
from .kinds import Number, check_column, fields, required
from .records import Trace, Utterance

LIST_COLUMNS = {"token_ids": "token_id", "tokens": "token", "token_bytes": "bytes", "used": "used"}
"""Columns with lists as long as the transcript, and their names in frames with one row for each position."""


def read_traces(folder: Path, probes: pd.DataFrame) -> pd.DataFrame:
    """Return all traces of a run, one row for each utterance and kind of states.

    Args:
        folder: `traces` of a run directory; it may be absent.
        probes: The run's probes. Files of steps without a probe are left over from before a resumption and are ignored.

    Raises:
        UserError: A file is damaged, or an utterance is traced twice; names the files, and the columns or rows.
    """
    known = set(zip(probes["step"], probes["visit"], strict=True))
    parts = []
    for path in sorted(folder.glob("*.parquet")):
        frame = read_parquet(path, required(Trace))
        check_lengths(frame, path)
        probed = [place in known for place in zip(frame["step"], frame["visit"], strict=True)]
        parts.append((path, frame.loc[np.array(probed, dtype=bool)]))  # an empty list would be one of columns
    check_once(parts, ONCE["traces"])
    filled = [frame for _, frame in parts if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(required(Trace)))
    return pd.concat(filled, ignore_index=True).sort_values(["visit", "step"], kind="stable", ignore_index=True)


def positions(traces: pd.DataFrame) -> pd.DataFrame:
    """Return traces with one row for each position.

    Args:
        traces: From `Run.traces`, or from a file that `distill probe --output` wrote.

    Returns:
        The columns of the utterance (`step`, `visit`, `stage`, `id`, `states`, `k`, `temperature`, `finished`,
        `recording`; those that there are), `position` from 0, `token_id`, `token` as the vocabulary spells it and the
        `bytes` that it stands for (None of control tokens), `used` (False where the position is in another bin of the
        funnel), and each statistic, NaN where it is undefined or the position was not used.
    """
    lengths = traces["token_ids"].map(len).to_numpy(dtype=np.int64)
    rows = np.repeat(np.arange(len(traces)), lengths)
    columns = {name: traces[name].to_numpy()[rows] for name in fields(Utterance) if name in traces}
    columns["position"] = np.arange(len(rows)) - np.repeat(lengths.cumsum() - lengths, lengths)
    columns |= {new: _joined(traces, old) for old, new in LIST_COLUMNS.items()}
    columns |= {name: _joined(traces, name).astype(np.float64) for name in TOKEN_STATISTICS if name in traces}
    return pd.DataFrame(columns)


def units(frame: pd.DataFrame) -> np.ndarray:
    """Return what intervals are over, for each row: the utterance, or the recording that it is a piece of.

    Args:
        frame: Traces or positions.
    """
    return frame["recording" if "recording" in frame else "id"].to_numpy(dtype=str)


def _joined(traces: pd.DataFrame, column: str) -> np.ndarray:
    kind = object if column == "token_bytes" else None  # numpy would truncate bytes at zeros
    return np.concatenate([np.asarray(values, dtype=kind) for values in traces[column]]) if len(traces) else np.zeros(0)


def check_lengths(frame: pd.DataFrame, path: Path) -> None:
    """Refuse traces whose lists are not as long as their transcripts, or whose statistics are no lists of numbers.

    Raises:
        UserError: Names the file, the utterance and the column.
    """
    statistics = [name for name in TOKEN_STATISTICS if name in frame]
    for name in statistics:
        check_column(frame[name].to_numpy(), list[Number], str(path), name)
    for column in (*LIST_COLUMNS, *statistics):
        for utterance, tokens, values in zip(frame["id"], frame["token_ids"], frame[column], strict=True):
            if len(values) != len(tokens):
                raise UserError(
                    f"{path}, utterance {utterance!r}: {column} has {len(values)} values for {len(tokens)} tokens; "
                    "restore the file, or delete it"
                )
