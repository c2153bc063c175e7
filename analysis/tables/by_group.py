"""Overlap and error rates of a run by group of utterances, such as every language, accent or speaker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from overlap.definitions.group_names import LEAST
from overlap.errors import UserError

from ..formatting import cell, count, number, p_text, plural
from ..printed_table import PrintedTable
from ..run.checks import want_run
from ..run.load import Run
from ..run.probe_output import STAGE
from ..run.visits import Visit
from ..stages.ends import rows_at_end, rows_at_start
from ..stages.error_rates import UNITS, cluster_of, transcripts_of
from ..stats.error_rates import error_rate, error_rate_difference
from ..stats.multiple_testing import correction_note, with_corrected

SIZE = "utterances"
"""Statistic with the number of utterances of a group."""
SHOWN = {
    "end_of_text": ("ended", 3),
    "top1_agreement.without_repeats": ("top-1 agreement without repeats", 3),
    "total_variation.without_repeats": ("total variation without repeats", 3),
    "student_mass": ("student mass", 3),
    "teacher_mass": ("teacher mass", 3),
}
"""Statistics of the table: heading and decimals; the end of text first, because without it the others mean little."""
STATISTICS = tuple(f"{name}{end}" for name in SHOWN for end in ("", ".low", ".high"))
"""Columns of the frame with these."""
COLUMN = "groups."
"""Prefix of the columns of transcripts with a field's values."""
PLACE = ("field", "group", "stage", "visit", "step")
RATES = ("step.before", "n_utterances", "total", "rate", "rate.low", "rate.high", "rate.before")
CHANGE = ("change", "change.low", "change.high", "p", "n_over", "over")


def overlap_by_group(run: Run) -> PrintedTable:
    """Return overlap on the student's rollouts at the end of each stage, by group of the probe's utterances.

    Returns:
        Its frame has one row for each field, visit and group of at least 20 utterances: `field`, `group`, `stage`,
        `visit`, `step`, `n_utterances`, and statistics with the ends of their 95 % intervals over the group's
        utterances, NaN where they were not measured. No rows for a run without `probe.groups`.

    Raises:
        UserError: No run, or a file is damaged.
    """
    want_run(run)
    mine = run.probe_groups.loc[run.probe_groups["states"] == "student"]
    rows, last = [], mine.head(0)
    ends = [(visit.stage, visit.number, rows_at_end(run, mine, visit)) for visit in run.visits if len(mine)]
    for stage, visited, at_end in ends if run.probed is None else [(STAGE, 0, mine)]:
        last = at_end if len(at_end) else last
        for key, part in at_end.groupby(["field", "group"], sort=False):
            measured = part.set_index("statistic")
            if len(measured) > 1:
                field, group = key if isinstance(key, tuple) else (key, "")
                place = dict(zip(PLACE, (field, group, stage, visited, part["step"].iloc[0]), strict=True))
                rows.append(place | {"n_utterances": int(measured.loc[SIZE, "n_groups"])} | shown_statistics(measured))
    frame = pd.DataFrame(rows, columns=[*PLACE, "n_utterances", *STATISTICS])
    shown = {name: about for name, about in SHOWN.items() if not frame[[name]].isna().to_numpy().all()}
    heading = ["field", "group", "after", "step", "n utt.", *(f"{label} [95 %]" for label, _ in shown.values())]
    printed = [
        [row["field"], row["group"], row["stage"], count(row["step"]), count(row["n_utterances"])]
        + [cell(row, name, digits) for name, (_, digits) in shown.items()]
        for row in frame.to_dict("records")
    ]
    when = " at the end of each stage" if run.probed is None else ""
    notes = [f"Student's rollouts{when}. [ ]: studentized bootstrap over the group's utterances."]
    sizes: dict[str, dict[str | None, int]] = {}
    for row in last.loc[last["statistic"] == SIZE].to_dict("records"):
        group = row["group"] if isinstance(row["group"], str) else None
        sizes.setdefault(str(row["field"]), {})[group] = int(row["n_groups"])
    notes += _left_out(sizes.items())
    return PrintedTable(frame, heading, printed, notes if rows else [], left=3, title="Overlap by group")


def error_rates_by_group(run: Run) -> PrintedTable:
    """Return error rates at the end of each stage by group of the evaluation's utterances, with the paired change.

    Groups are the values of the fields of `probe.groups`; of `language` also without that, if two are large enough.

    Returns:
        Its frame has one row for each field, visit and group of at least 20 utterances: `field`, `group`, `stage`,
        `visit`, `step`, counts, `rate` (a share) with the ends of its 95 % interval, `rate.before` at the start of the
        visit, the paired `change` with ends, `p` of the swap test and `p.corrected` by Holm over the table. Intervals
        are over `n_over` speakers where a group names ten or more, else over utterances (`over`). No rows if no
        transcripts were kept.

    Raises:
        UserError: No run, or a file is damaged.
    """
    want_run(run)
    rows, reasons, last = [], [], pd.DataFrame()
    for visit in run.visits:
        before, after, steps = _ends(run, visit)
        if after.empty:
            continue
        last = after
        for field in fields_of(after):
            for group, ids in _members(after, field).items():
                if len(ids) >= LEAST:
                    one, two = (part.loc[part["id"].isin(ids)] for part in (before, after))
                    row, why = _row(run, one, two, steps)
                    place = dict(zip(PLACE, (field, group, visit.stage, visit.number, steps[1]), strict=True))
                    rows.append(place | row)
                    reasons += [f"Not paired: {visit.stage}, {field} {group} ({why})."] if why else []
    frame = pd.DataFrame(rows, columns=[*PLACE, *RATES, *CHANGE])
    if frame.empty:
        return PrintedTable(frame.assign(**{"p.corrected": []}), [], [])
    small = [(field, _sizes(last, field)) for field in fields_of(last)]
    return _printed(with_corrected(frame, "p", "holm"), run.error_rate, [*reasons, *_left_out(small)])


def fields_of(transcripts: pd.DataFrame) -> list[str]:
    """Return the fields by which the transcripts of an evaluation are grouped.

    Args:
        transcripts: Its rows.
    """
    named = [str(name).removeprefix(COLUMN) for name in transcripts if str(name).startswith(COLUMN)]
    named = [name for name in named if _members(transcripts, name)]
    languages = sum(len(ids) >= LEAST for ids in _members(transcripts, "language").values())
    return named + (["language"] if "language" not in named and languages > 1 else [])


def shown_statistics(measured: pd.DataFrame) -> dict[str, float]:
    """Return the statistics of `SHOWN` that were measured, each with the ends of its interval.

    Args:
        measured: Readings, by statistic.
    """
    return {
        f"{name}{end}": float(measured.loc[name, column])
        for name in SHOWN
        if name in measured.index
        for end, column in (("", "value"), (".low", "low"), (".high", "high"))
    }


def _ends(run: Run, visit: Visit) -> tuple[pd.DataFrame, pd.DataFrame, tuple[int | None, int]]:
    """Return the student's transcripts at both ends of a visit, and the steps of these evaluations."""
    students = run.main_evaluations.loc[run.main_evaluations["model"] == "student"]
    parts, steps = [], []
    for found in (rows_at_start(students, visit), rows_at_end(run, students, visit)):
        row = found.iloc[-1].to_dict() if len(found) else None
        parts.append(run.transcripts.head(0) if row is None else transcripts_of(run, row))
        steps.append(None if row is None else int(row["step"]))
    return parts[0], parts[1], (steps[0], steps[1] or 0)


def _row(
    run: Run, before: pd.DataFrame, after: pd.DataFrame, steps: tuple[int | None, int]
) -> tuple[dict[str, Any], str]:
    """Return a group's numbers, and why they are not paired: empty if they are, or nothing was evaluated before."""
    unit, nan = UNITS[run.error_rate], float("nan")
    why = ""
    if len(before) and steps[0] != steps[1]:
        try:
            by = cluster_of(before, after)
            found = error_rate_difference(before, after, unit, by=by)
            numbers = (steps[0], found.n_utterances, found.total, *_interval(found.second), found.first.value)
            changed = (*_interval(found.difference), found.p_value, found.difference.n_groups, by or "utterance")
            return dict(zip((*RATES, *CHANGE), (*numbers, *changed), strict=True)), ""
        except UserError as error:
            why = str(error)
    rate = error_rate(after, unit, by=(by := cluster_of(after)))
    numbers = (nan, len(after), rate.n_positions, *_interval(rate), nan)
    changed = (nan, nan, nan, nan, rate.n_groups, by or "utterance")
    return dict(zip((*RATES, *CHANGE), (*numbers, *changed), strict=True)), why


def _interval(estimate: Any) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _members(transcripts: pd.DataFrame, field: str) -> dict[str, list[str]]:
    """Return the ids of each group, the largest first."""
    column = f"{COLUMN}{field}" if f"{COLUMN}{field}" in transcripts else field
    found: dict[str, list[str]] = {}
    for id_, value in zip(transcripts["id"].tolist(), transcripts[column].tolist(), strict=True):
        if isinstance(value, str):
            found.setdefault(value, []).append(id_)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def _sizes(transcripts: pd.DataFrame, field: str) -> dict[str | None, int]:
    sizes: dict[str | None, int] = {group: len(ids) for group, ids in _members(transcripts, field).items()}
    return sizes | {None: len(transcripts) - sum(sizes.values())}


def _left_out(sizes: Iterable[tuple[str, Mapping[str | None, int]]]) -> list[str]:
    """Return sentences on groups that are too small for a row, and on utterances in none."""
    found = []
    for field, groups in sizes:
        small = [f"{group} ({count(n)})" for group, n in groups.items() if group is not None and n < LEAST]
        if small:
            found.append(f"Of {field} without a row, fewer than {LEAST} utterances: {', '.join(small)}.")
        if unnamed := groups.get(None):
            found.append(f"{count(unnamed)} {plural('utterance', unnamed)} without {field}.")
    return found


def _printed(frame: pd.DataFrame, rate: str, more: list[str]) -> PrintedTable:
    name = rate.upper()
    heading = ["field", "group", "after", "step", "n utt."]
    heading += [f"{name} % [95 %]", "before %", "points [95 %]", "p", "p Holm", "over"]
    rows = [
        [
            *(row["field"], row["group"], row["stage"], count(row["step"]), count(row["n_utterances"])),
            *(cell(row, "rate", 1, 100), number(100 * row["rate.before"], 1), cell(row, "change", 1, 100, sign=True)),
            *(p_text(row["p"]), p_text(row["p.corrected"])),
            f"{count(row['n_over'])} {plural(str(row['over']), int(row['n_over']))}",
        ]
        for row in frame.to_dict("records")
    ]
    notes = [
        f"{name} at the end of each stage, and its change over the stage, paired by utterance: below 0 the group has "
        "fewer errors than before. Intervals and p (swap test) are over the group's speakers where it names ten or "
        "more, else over its utterances; they do not include the variation between seeds.",
        correction_note(frame, "p", "holm"),
        *more,
    ]
    return PrintedTable(frame, heading, rows, notes, left=3, title=f"{name} by group")
