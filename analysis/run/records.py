"""Records of a run that say what RUN_DIRECTORY.md does not allow: refused where they are read, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from overlap.errors import UserError

from .columns import ENDS, LEVEL_FIELDS, OPTIONAL, RATE_FIELDS, REMEDY, check_fields, check_objects, check_words
from .columns import optional as or_null

RATES = ("wer", "mer", "cer")


def check_record(row: Mapping[str, Any], file: str, required: Mapping[str, str], where: str) -> None:
    """Refuse a row of a log with a field of another kind, or with a word that it cannot hold.

    Args:
        row: Which has the required fields.
        file: Name of the log.
        required: Its fields with their kinds.
        where: File and line, for the message.

    Raises:
        UserError: Names where it stands, the field, what is expected, and what to do.
    """
    check_fields(row, required, where)
    check_fields(row, or_null(OPTIONAL.get(file, {})), where)
    check_words(row, file, where)
    if file == "decisions.jsonl":
        check_objects(row["levels"], LEVEL_FIELDS, where, "levels")
        for number, level in enumerate(row["levels"]):
            check_words(level, file, where, f"levels[{number}].")
        if row["decision"] == "end" and row["outcome"] is None:
            raise UserError(f"{where}: field `outcome` is null; an `end` says how the run ended; {REMEDY}")
    if file == "evaluations.jsonl":
        for rate in RATES:
            if (measured := row.get(rate)) is not None:
                _check_rate(measured, where, rate)


def _check_rate(measured: Mapping[str, Any], where: str, rate: str) -> None:
    missing = [field for field in RATE_FIELDS if field not in measured]
    if missing:
        raise UserError(
            f"{where}: field `{rate}.{missing[0]}` is missing; a rate has {', '.join(f'`{n}`' for n in RATE_FIELDS)}, "
            f"and is null where it was not measured; {REMEDY}"
        )
    check_fields(measured, RATE_FIELDS | ENDS, where, f"{rate}.")


def check_places(path: Path, stages: Sequence[Mapping[str, Any]], begun: pd.DataFrame) -> None:
    """Refuse visits that contradict the recipe or each other.

    Args:
        path: The run directory.
        stages: Of its recipe.
        begun: Rows of `visits.jsonl`.

    Raises:
        UserError: Names the file, its line, the field, and what to do.
    """
    kinds = {stage["name"]: stage["type"] for stage in stages}
    _check_stages(path / "visits.jsonl", begun, kinds)
    seen: set[int] = set()
    sources = begun["source_visit"].astype(object).where(begun["source_visit"].notna(), None).tolist()
    for line, (row, source) in enumerate(zip(begun.to_dict("records"), sources, strict=True), start=1):
        where, number = f"{path / 'visits.jsonl'}, line {line}", int(row["visit"])
        if row["type"] != kinds[row["stage"]]:
            raise UserError(
                f"{where}: field `type` is `{row['type']}`, but stage {row['stage']!r} of the recipe is "
                f"`{kinds[row['stage']]}`; {REMEDY}"
            )
        if number in seen:
            raise UserError(f"{where}: field `visit` is {number}, as of an earlier line; each visit has one; {REMEDY}")
        if source is not None and int(source) not in seen:
            raise UserError(f"{where}: field `source_visit` is {int(source)}, which is no earlier visit; {REMEDY}")
        seen.add(number)


def _check_stages(path: Path, rows: pd.DataFrame, stages: Mapping[str, Any]) -> None:
    """Refuse rows of a stage that the recipe does not have; see `check_places`."""
    unknown = ~rows["stage"].isin(list(stages)).to_numpy(dtype=bool)
    if unknown.any():
        number = int(unknown.argmax())
        names = ", ".join(repr(name) for name in stages) or "none"
        raise UserError(
            f"{path}, line {number + 1}: field `stage` is {rows['stage'].iloc[number]!r}; the recipe's stages are "
            f"{names}; {REMEDY}"
        )
