"""Compact rows for the utterance browser: traces token by token, and transcripts of evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jiwer
import numpy as np
import pandas as pd

from ..run.display_text import STATES, plain, shown_token
from ..run.load import ERROR_RATES, EVALUATED, Run, error_rate_of

PLACES = {
    "overlap_ratio": 3,
    "student_mass": 3,
    "teacher_mass": 3,
    "forward_kl": 3,
    "top1_agreement": 0,
    "union_size": 0,
    "student_entropy": 2,
    "teacher_entropy": 2,
    "teacher_rank": 0,
}
"""Statistics of a position that are shown, with decimals; numbers are stored as integers."""

IN_STUDENT, IN_TEACHER = 1, 2


@dataclass(frozen=True, eq=False)
class Group:
    """An entry of the browser's menus: one checkpoint on one kind of states, or one evaluation.

    Attributes:
        step: Training step of the checkpoint.
        stage: Its stage.
        what: States of traces (`student`, …), or `set/model` of an evaluation.
        label: The same in words.
        traced: Whether there are tokens, or only transcripts.
        errors: Unit and normalizer of the errors, in words.
        frame: Rows of `Run.traces` or `Run.transcripts`.
    """

    step: int
    stage: str
    what: str
    label: str
    traced: bool
    errors: str
    frame: pd.DataFrame

    @property
    def n_positions(self) -> int:
        """Tokens of all its utterances."""
        return sum(len(ids) for ids in self.frame["token_ids"]) if self.traced else 0


def groups(run: Run) -> list[Group]:
    """Return all groups of a run that can be browsed, the most useful first: own traces, evaluations, other traces."""
    found = []
    written = "ignoring case and punctuation, without a normalizer"
    unit = ERROR_RATES[run.error_rate] if run.error_rate == "wer" else "characters"
    for key, rows in run.traces.groupby(["step", "visit", "stage", "states"], sort=False):
        step, _, stage, states = cast("tuple[int, int, str, str]", key)
        label, counted = STATES.get(states, states), f"{unit}, {written}"
        rules, counts = _rules(rows), _counted(rows)
        if rules is not None and counts is not None:
            counted = f"{counts}, normalizer {rules}"
        found.append(Group(int(step), stage, states, label, True, counted, rows))
    for key, rows in run.transcripts.groupby(list(EVALUATED), sort=False):
        step, _, stage, name, model = cast("tuple[int, int, str, str, str]", key)
        label = f"evaluation on {name}, {model}"
        rules = _normalizer(run, name)
        counted = f"{_unit(run, name)}, normalizer {rules}"
        found.append(Group(int(step), stage, f"{name}/{model}", label, False, counted, rows))
    order = list(STATES)

    def rank(group: Group) -> tuple[int, int, int]:
        if not group.traced:
            return (1, int(group.frame["model"].iloc[0] == "teacher"), -group.step)
        place = order.index(group.what) if group.what in order else len(order)
        return (0 if place == 0 else 2, place, -group.step)

    return sorted(found, key=rank)


def _rules(traces: pd.DataFrame) -> str | None:
    """Return the normalizer of the error counts of traces; None without counts."""
    names = [] if "normalizer" not in traces else traces["normalizer"].dropna().tolist()
    return str(names[0]) if names else None


def _counted(traces: pd.DataFrame) -> str | None:
    """Return the unit of their errors; None without references."""
    for unit in ERROR_RATES.values():
        column = f"{unit}.errors"
        if column in traces and not all(map(pd.isna, traces[column].tolist())):
            return unit
    return None


def _unit(run: Run, name: str) -> str:
    """Return the unit of an evaluation set's error rate."""
    return ERROR_RATES[error_rate_of(run.evaluations.loc[run.evaluations["set"] == name])]


def _normalizer(run: Run, name: str) -> str:
    last = run.evaluations.loc[run.evaluations["set"] == name].iloc[-1]
    return f"{last['normalizer']} {last['normalizer_version']}"


def packed(run: Run, group: Group, candidates: int) -> dict[str, Any]:
    """Return a group as compact data for JSON.

    Args:
        run: Its run.
        group: One of `groups(run)`.
        candidates: Number of tokens of each model's support that are kept at a position, most probable first.

    Returns:
        `strings` (tokens, once each) and `rows`. A row has `id`, `text`, `ref`, `err` ([errors, total] or null), `sec`,
        and with traces `tok` (indices into strings), `use` (0 or 1), one list for each statistic, named as in `PLACES`
        (null where undefined), `mean` of each over the positions where it is defined, and `top`: a position's
        candidates as flat fours of string index, 10,000 p of student and teacher (null: not in its vocabulary), and 1
        for in the student's set + 2 for in the teacher's.
    """
    if not group.traced:
        return {"strings": [], "rows": [_transcript(run, row) for row in group.frame.to_dict("records")]}
    strings: dict[str, int] = {}
    rows = []
    for row in group.frame.to_dict("records"):
        made = _about(row) | {"err": _errors(row, run.error_rate), "fin": int(bool(row["finished"]))}
        made["tok"] = [
            strings.setdefault(shown_token(spelled, token), len(strings))
            for spelled, token in zip(row["token_bytes"], row["tokens"], strict=True)
        ]
        used = np.asarray(row["used"], dtype=bool)
        made["use"] = used.astype(int).tolist()
        means = {}
        for name, places in PLACES.items():
            if name in row:
                values = np.where(used, np.asarray(row[name], dtype=np.float64), np.nan)
                made[name] = _scaled(values, places)
                means[name] = _mean(values)
        made["mean"] = means
        made["top"] = [_candidates(at, candidates, strings) for at in _unions(row)]
        rows.append(made)
    return {"strings": list(strings), "rows": rows}


def _about(row: dict[Any, Any]) -> dict[str, Any]:
    reference = row.get("reference")
    return {"id": str(row["id"]), "text": row.get("text"), "ref": reference if isinstance(reference, str) else None}


def _transcript(run: Run, row: dict[Any, Any]) -> dict[str, Any]:
    unit = _unit(run, row["set"])
    errors, total = row[f"{unit}.errors"], row[f"{unit}.total"]
    made = _about(row) | {"err": None if math.isnan(errors) else [int(errors), int(total)]}
    return made | {"sec": None if row["seconds"] is None else _rounded(row["seconds"], 1)}


def _errors(row: dict[Any, Any], rate: str) -> list[int] | None:
    """Return errors of a traced transcript against its reference, as the run counted them under its normalizer.

    Traces of `distill probe` and of runs without an evaluation have no normalizer: case and punctuation are ignored.
    """
    for unit in ERROR_RATES.values():
        errors, total = (row.get(f"{unit}.{name}", math.nan) for name in ("errors", "total"))
        if not (pd.isna(errors) or pd.isna(total)):
            return [int(errors), int(total)] if total else None
    reference, text = row.get("reference"), row.get("text")
    if not isinstance(reference, str) or not isinstance(text, str):
        return None
    reference, text = plain(reference), plain(text)
    if not reference:
        return None
    count = jiwer.process_words if rate == "wer" else jiwer.process_characters
    found = count(reference, text)
    return [
        found.substitutions + found.deletions + found.insertions,
        found.hits + found.substitutions + found.deletions,
    ]


@dataclass(frozen=True)
class _Union:
    """Both models' scores on the union of their supports at a position."""

    tokens: Sequence[str]
    student: Sequence[float]
    teacher: Sequence[float]
    in_student: Sequence[bool]
    in_teacher: Sequence[bool]


def _unions(row: dict[Any, Any]) -> Iterator[_Union]:
    names = ("union_bytes", "union_tokens", "student_logprobs", "teacher_logprobs", "in_student", "in_teacher")
    if any(name not in row for name in names):
        return
    for spelled, tokens, student, teacher, in_student, in_teacher in zip(*(row[name] for name in names), strict=True):
        # Lists, because a union is too short for arrays to be faster.
        p, q = ([-math.inf if math.isnan(x) else x for x in np.asarray(s, float).tolist()] for s in (student, teacher))
        yield _Union(list(map(shown_token, spelled, tokens)), p, q, list(in_student), list(in_teacher))


def _candidates(at: _Union, most: int, strings: dict[str, int]) -> list[int | None]:
    keep: set[int] = set()
    for scores, members in ((at.student, at.in_student), (at.teacher, at.in_teacher)):
        inside = [i for i, member in enumerate(members) if member]
        keep.update(sorted(inside, key=scores.__getitem__, reverse=True)[:most])
    flat: list[int | None] = []
    for i in sorted(sorted(keep), key=lambda i: -max(at.student[i], at.teacher[i])):
        flags = IN_STUDENT * int(at.in_student[i]) + IN_TEACHER * int(at.in_teacher[i])
        token = strings.setdefault(at.tokens[i], len(strings))
        flat += [token, _ten_thousandths(at.student[i]), _ten_thousandths(at.teacher[i]), flags]
    return flat


def _ten_thousandths(logprob: float) -> int | None:
    """Return a probability in 1/10,000; None for a token that a model lacks."""
    return round(10_000 * math.exp(logprob)) if math.isfinite(logprob) else None


def _scaled(values: np.ndarray, places: int) -> list[int | None]:
    return [None if math.isnan(v) else round(v * 10**places) for v in values.tolist()]


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return _rounded(float(defined.mean()), 4) if len(defined) else None


def _rounded(value: float, places: int) -> float | None:
    return None if math.isnan(value) else round(float(value), places)
