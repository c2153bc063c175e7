"""What the gates of a run read, and the levels they held it against."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from .load import Run
from .visits import visit_numbers
from .wanted import want_run

COLUMNS = ("visit", "step", "stage", "gate", "statistic", "states", "side", "level", "bound", "meets", "decision")
_OF_ONE = re.compile(r"(threshold|plateau)\((.+)\)")


def gate_readings(run: Run) -> pd.DataFrame:
    """Every level that a statistic was held against at a gate reading, in the order of the run.

    Returns:
        A row a reading and level. `visit` is the number of the stay; `statistic` and `states` say what was read on
        whose transcripts; `side` is `at_least` or `at_most` (a threshold), `lowest` or `highest` (a healthy limit,
        beyond which the gate falls back or aborts), or `best` (the mark of a plateau after the reading); `bound` is the
        end of the interval that was compared with `level`, NaN where there was none or, of a plateau, it was not
        written down; `meets` is whether the bound met the threshold or kept within the limit. Gates that count steps
        alone have no rows.

    Raises:
        ValueError: No run.
    """
    want_run(run)
    rows = []
    for visit, record in zip(visit_numbers(run.decisions), run.decisions.to_dict("records"), strict=True):
        place = {"visit": visit} | {name: record[name] for name in ("step", "stage", "gate", "decision")}
        rows += [place | level for level in _levels(str(record["gate"]), _numbers(record))]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _numbers(record: Mapping[Any, Any]) -> dict[str, Any]:
    """The numbers of a reading as the gate gave them, out of columns with dots."""
    found: dict[str, Any] = {}
    for column, value in record.items():
        if str(column).startswith("numbers.statistics."):
            # Names of statistics may hold a dot themselves, as in `fixed.union_size`.
            statistic, _, field = str(column).removeprefix("numbers.statistics.").rpartition(".")
            found.setdefault("statistics", {}).setdefault(statistic, {})[field] = value
        elif str(column).startswith("numbers."):
            found[str(column).removeprefix("numbers.")] = value
    return found


def _levels(gate: str, numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    members = numbers.get("members")
    for member in members if isinstance(members, list) else ():
        yield from _levels(member["gate"], member["numbers"])
    for statistic, found in (numbers.get("statistics") or {}).items():
        low, high = found["limits"] if isinstance(found.get("limits"), list) else (None, None)
        yield from _level(statistic, "lowest", low, found.get("high"))
        yield from _level(statistic, "highest", high, found.get("low"))
    if (match := _OF_ONE.fullmatch(gate)) is not None:
        for side in ("at_least", "at_most"):
            yield from _level(match[2], side, numbers.get(side), numbers.get("bound"))
        yield from _level(match[2], "best", numbers.get("best"), None)


def _level(name: str, side: str, level: float | None, bound: float | None) -> Iterator[dict[str, Any]]:
    if level is None or math.isnan(level):
        return
    states, _, statistic = name.rpartition(".")
    bound = math.nan if bound is None else bound
    meets = bound >= level if side in ("at_least", "lowest") else bound <= level if side != "best" else False
    yield {"statistic": statistic, "states": states or "student", "side": side, "level": level, "bound": bound} | {
        "meets": meets
    }
