"""Sums of every probe by utterance, from which its averages, their intervals and paired changes follow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums

from ..files import first_line, write_parquet
from .run_directory import SUMS, damaged

_NAME = re.compile(r"step-(\d+)-visit-(\d+)")
_KIND = np.float32
"""Of the sums in files; a change between two probes is not known to more digits."""


def as_kept(sums: GroupSums) -> GroupSums:
    """Sums as a file has them, so that what is computed from them does not depend on whether a run was resumed."""
    with np.errstate(over="ignore"):
        return GroupSums(sums.names, sums.keys, sums.sums.astype(_KIND).astype(np.float64), sums.counts, sums.undefined)


def write_sums(
    run: Path,
    name: str,
    place: Mapping[str, Any],
    sums: Mapping[str, GroupSums],
    speakers: Mapping[str, str | None],
) -> None:
    """Write the sums of a probe.

    Args:
        run: The run directory.
        name: Of the probe's file.
        place: Step, visit and stage.
        sums: By states, as from `as_kept`.
        speakers: Of each utterance, None where it names none.
    """
    parts = []
    for states, one in sums.items():
        columns = {"id" if name == "key" else name: values for name, values in one.to_columns().items()}
        parts.append(pd.DataFrame({**place, "states": states, **columns}))
    texts = dict.fromkeys(("stage", "states", "id", "statistic", "speaker"), "category")
    kinds = {"sum": _KIND, "count": np.int32, "undefined": np.int32}
    frame = pd.concat(parts, ignore_index=True)
    frame = frame.assign(speaker=[speakers[name] for name in frame["id"].tolist()]).astype({**texts, **kinds})
    write_parquet(run / SUMS / f"{name}.parquet", frame)


def last_sums(run: Path, visit: int, before: int) -> tuple[int, dict[str, GroupSums]] | None:
    """The sums of the last probe of a visit before a step.

    Args:
        run: The run directory.
        visit: Number of the visit.
        before: The step.

    Returns:
        The probe's step, and its sums by states; None if the visit has no probe before.

    Raises:
        RunDirectoryError: The file is damaged; names it.
    """
    found = {}
    for path in (run / SUMS).glob("*.parquet"):
        if (name := _NAME.fullmatch(path.stem)) and int(name[2]) == visit and int(name[1]) < before:
            found[int(name[1])] = path
    if not found:
        return None
    path = found[step := max(found)]
    try:
        frame = pd.read_parquet(path)
        groups = frame.rename(columns={"id": "key"}).groupby("states", observed=True, sort=False)
        return step, {str(states): GroupSums.from_columns(_arrays(rows)) for states, rows in groups}
    except (OSError, ValueError, KeyError, UserError) as error:
        raise damaged(path, first_line(error)) from error


def _arrays(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: rows[name].to_numpy() for name in ("key", "statistic", "sum", "count", "undefined")}
