"""What `analysis` needs of the files of a run: columns with their kinds, and words that a column may hold.

RUN_DIRECTORY.md of the trainer describes the same columns; the tests compare both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from overlap.errors import UserError
from overlap.plain_json import INFINITE

REMEDY = "write it as RUN_DIRECTORY.md says, or restore the file from a copy"

RESOLVED_FIELDS = {
    "schema": "integer",
    "recipe.name": "text",
    "recipe.stages": "list of objects",
    "recipe.support": "object",
}
STAGE_FIELDS = {"name": "text", "type": "text"}
"""Of an object in `recipe.stages`."""
SUPPORT_FIELDS = {"k": "integer", "temperature": "number"}
"""Of `recipe.support`."""
VISIT_COLUMNS = {
    "visit": "integer",
    "stage": "text",
    "type": "text",
    "first_step": "integer",
    "started_from": "text",
    "source_visit": "integer or null",
    "source_step": "integer or null",
}
_PLACE = {"step": "integer", "visit": "integer", "stage": "text"}
METRIC_COLUMNS = {**_PLACE, "stage_step": "integer", "loss": "number or null"}
DECISION_COLUMNS = {
    **_PLACE,
    "stage_step": "integer",
    "gate": "text",
    "decision": "text",
    "outcome": "text or null",
    "reason": "text",
    "levels": "list of objects",
}
LEVEL_FIELDS = {
    "statistic": "text",
    "states": "text or null",
    "side": "text",
    "level": "number or null",
    "bound": "number or null",
    "satisfied": "boolean",
}
"""Of an object in `levels`."""
EVALUATED = ("step", "visit", "stage", "set", "model")
"""What names an evaluation."""
EVALUATION_COLUMNS = {
    **_PLACE,
    "set": "text",
    "model": "text",
    "normalizer": "text",
    "normalizer_version": "text",
    "n_utterances": "integer",
    "transcripts": "text or null",
}
RATE_FIELDS = {"value": "number or null", "errors": "integer", "total": "integer"}
"""Of an error rate that was measured."""
ENDS = {"low": "number or null", "high": "number or null"}
"""Of an error rate with an interval."""
PROBE_COLUMNS = {
    **_PLACE,
    "states": "text",
    "statistic": "text",
    "value": "number",
    "standard_error": "number",
    "low": "number",
    "high": "number",
    "n_positions": "integer",
    "n_groups": "integer",
    "n_undefined": "integer",
}
PROBE_SUM_COLUMNS = {
    **_PLACE,
    "states": "text",
    "id": "text",
    "statistic": "text",
    "sum": "number",
    "count": "integer",
    "undefined": "integer",
}
UTTERANCE_COLUMNS = {
    **_PLACE,
    "id": "text",
    "states": "text",
    "k": "integer",
    "temperature": "number",
    "finished": "boolean",
}
TRACE_COLUMNS = {
    **UTTERANCE_COLUMNS,
    "text": "text",
    "reference": "text or null",
    "token_ids": "list of integers",
    "tokens": "list of texts",
    "token_bytes": "list of bytes or null",
    "used": "list of booleans",
}
TRANSCRIPT_COLUMNS = {
    "id": "text",
    "reference": "text",
    "text": "text",
    "seconds": "number or null",
    "language": "text or null",
    "speaker": "text or null",
    "characters.errors": "integer",
    "characters.total": "integer",
}
"""Beside them `words.errors` and `words.total`, or `tokens.…` where the mixed error rate counts those."""

OPTIONAL = {
    "resolved.json": {
        "seed": "integer",
        "versions.*": "text or null",
        "manifest_sha256.*": "text",
        "background_sha256.*": "text",
        "datasets.*": "object",
    },
    "metrics.jsonl": {
        "overlap.*": "number or null",
        "funnel.*": "integer",
        "seconds.*": "number",
    },
    "evaluations.jsonl": {
        "wer.*": "number or null",
        "mer.*": "number or null",
        "cer.*": "number or null",
        "interval.over": "text",
        "interval.n": "integer",
    },
}
"""By file, columns that may be absent or null and are read where they are there."""
KINDS_OF_STAGE = ("sft", "td", "opd")
WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "resolved.json": {"type": KINDS_OF_STAGE},
    "visits.jsonl": {"type": KINDS_OF_STAGE, "started_from": ("model", "previous", "entry")},
    "decisions.jsonl": {
        "decision": ("stay", "advance", "fall_back", "abort", "stop", "end"),
        "outcome": ("finished", "stopped", "aborted"),
        "side": ("at_least", "at_most", "lowest", "highest", "best"),
    },
    "evaluations.jsonl": {"model": ("student", "teacher")},
}
"""By file, the words that a column of text may hold."""

_A = {
    "text": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
}
_ITEMS = {"integers": "integer", "texts": "text", "booleans": "boolean", "bytes": "bytes", "objects": "object"}


def check_fields(row: Mapping[str, Any], kinds: Mapping[str, str], where: str, before: str = "") -> None:
    """Refuse a JSON object with a field of another kind.

    Args:
        row: The object; it has the fields, those with a star and those of `OPTIONAL` apart.
        kinds: By the name of a field. A field of an object that is one itself has a dot, a star stands for any name.
        where: File and line, for the message.
        before: The name of the object in the row, with a dot.

    Raises:
        UserError: Names where it stands, the field, and what is expected.
    """
    for name, kind in kinds.items():
        parent, _, rest = name.partition(".")
        if rest:
            inner = row.get(parent)
            if inner is None:
                continue
            if not isinstance(inner, Mapping):
                raise _wrong(where, before + parent, "object", inner)
            inside = dict.fromkeys(inner, kind) if rest == "*" else {rest: kind}
            check_fields(inner, inside, where, f"{before}{parent}.")
        elif name in row and not fits(row[name], kind):
            raise _wrong(where, before + name, kind, row[name])


def check_objects(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], where: str, name: str) -> None:
    """Refuse objects in a list that lack a field, or have one of another kind; see `check_fields`."""
    for number, row in enumerate(rows):
        for field in kinds:
            if field not in row:
                raise UserError(f"{where}: field `{name}[{number}].{field}` is missing; {REMEDY}")
        check_fields(row, kinds, where, f"{name}[{number}].")


def check_words(row: Mapping[str, Any], file: str, where: str, before: str = "") -> None:
    """Refuse an object with a word that its field cannot hold, see `WORDS`."""
    for name, words in WORDS.get(file, {}).items():
        value = row.get(name)
        if value is not None and value not in words:
            known = ", ".join(f"`{word}`" for word in words)
            raise UserError(f"{where}: field `{before}{name}` is {_found(value)}; expected one of {known}; {REMEDY}")


def check_column(values: np.ndarray, kind: str, path: str, name: str) -> None:
    """Refuse a column of a table with a value of another kind.

    Args:
        values: A value a row.
        kind: That all must have.
        path: The file.
        name: Of the column.

    Raises:
        UserError: Names file, row from 1, column, and what is expected.
    """
    dtype = values.dtype.kind
    if (kind.startswith("number") and dtype in "iuf") or (kind.startswith("integer") and dtype in "iu"):
        return
    for number, value in enumerate(values.tolist() if dtype != "O" else values, start=1):
        if not fits(value, kind):
            raise _wrong(f"{path}, row {number}", name, kind, value)


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a kind, as columns name them.

    Infinite numbers are the texts of JSON, and NaN is a null as well as a number.

    >>> fits(2.0, "integer"), fits(True, "integer"), fits("inf", "number"), fits(None, "text or null")
    (True, False, True, True)
    >>> fits([b"a", None], "list of bytes or null"), fits(["a"], "list of objects")
    (True, False)
    """
    if kind == "any":
        return True
    if kind.startswith("list of "):
        items = kind.removeprefix("list of ")
        plural, _, null = items.partition(" or ")
        item = _ITEMS[plural] + (f" or {null}" if null else "")
        if not isinstance(value, list | tuple | np.ndarray):
            return False
        if isinstance(value, np.ndarray) and value.dtype.kind in {"integer": "iu", "boolean": "b"}.get(item, ""):
            return True
        return all(fits(one, item) for one in value)
    plain, _, other = kind.partition(" or ")
    if other and fits(value, other):
        return True
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if plain == "null":
        return value is None or (isinstance(value, float) and math.isnan(value))
    if plain == "integer":
        return is_number and math.isfinite(value) and value == int(value)
    if plain == "number":
        return is_number or (isinstance(value, str) and value in INFINITE)
    kinds: dict[str, Any] = {"text": str, "boolean": bool | np.bool_, "object": Mapping, "bytes": bytes}
    return isinstance(value, kinds[plain])


def optional(kinds: Mapping[str, str]) -> dict[str, str]:
    """The kinds, each or null."""
    return {name: kind if kind.endswith(" or null") else f"{kind} or null" for name, kind in kinds.items()}


def _wrong(where: str, name: str, kind: str, value: Any) -> UserError:
    is_list = kind.startswith("list of ") and isinstance(value, list | tuple | np.ndarray)
    found = _misfit(list(value), kind) if is_list else _found(value)
    return UserError(f"{where}: field `{name}` is {found}; expected {_expected(kind)}; {REMEDY}")


def _misfit(values: Sequence[Any], kind: str) -> str:
    """A list, and the first of its items that is of another kind."""
    number = next(number for number, value in enumerate(values) if not fits([value], kind))
    return f"a list with {_found(values[number])} as item {number}"


def _expected(kind: str) -> str:
    if kind.startswith("list of "):
        return f"a {kind}"
    return " or ".join(_A.get(part, part) for part in kind.split(" or "))


def _found(value: Any) -> str:
    if value is None or isinstance(value, bool | np.bool_):
        return {None: "null", True: "true", False: "false"}[None if value is None else bool(value)]
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return "a list"
    return f"{value!r:.40}" if not isinstance(value, np.generic) else f"{value.item()!r:.40}"
