"""Statistics that gates can read from a probe, by the kind of teacher, and levels of gates that make no sense for them.

A server returns only top-k log-probabilities. Statistics that these do not determine have a lower and an upper bound
over all teachers with these top-k log-probabilities. Each bound is a reading of its own: `forward_kl.lower`,
`forward_kl.upper`. A gate must read the conservative one: the lower for `at_least`, the upper for `at_most`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

from overlap.definitions import (
    BOUNDED_STATISTICS,
    DECIDED_BY_TOP_K,
    PROBE_STATISTICS,
    SEQUENCE_STATISTICS,
    TOKEN_STATISTICS,
    Ranges,
)
from overlap.definitions.forms import FORMS, PAST_TEACHER
from overlap.definitions.names import OWN, change_of, changed_by, form_of, is_change, states_of, statistic_of
from overlap.gates import Amount
from overlap.gates.reader import Reader

from .readers import leaves
from .toml import in_toml

UNDECIDED = tuple(name for name in BOUNDED_STATISTICS if name not in DECIDED_BY_TOP_K)
"""Statistics for which top-k log-probabilities give only bounds."""

OWN_STATISTICS = (
    "student_size",
    "teacher_size",
    "student_entropy",
    "student_logprob",
    "student_end_mass",
    "student_end_likely",
)
"""More statistics that are exact with a served teacher, besides `DECIDED_BY_TOP_K`."""

CHANGED_STATES = ("student", "fixed")
"""States on which gates can read the change since the probe before."""

_OF_TRANSCRIPT_OR_TEACHER = (
    *SEQUENCE_STATISTICS,
    *PROBE_STATISTICS,
    "teacher_size",
    "teacher_entropy",
    "teacher_logprob",
    "teacher_rank",
    "teacher_end_mass",
    "teacher_mapped_mass",
)
"""Statistics that never change on recorded transcripts, because nothing of the student is in them."""

_HIGHEST_RATE = 2.0
_ONE_LIMIT = "give one limit, not two"

ENDS = ("lower", "upper")
_CONSERVATIVE = {"low": "lower", "high": "upper"}
"""The bound of a statistic that a gate must read if it decides on this bound of the interval."""

_ERROR_RATES = ("wer", "cer", "error_rate", "word_error_rate", "character_error_rate")


def readings_of(states: str, *, served: bool) -> tuple[str, ...]:
    """Names of the statistics of one kind of states, and of their changes since the probe before.

    Args:
        states: Whose transcripts.
        served: Whether the teacher is behind a server.
    """
    names = statistics_of(served=served)
    return (*names, *(change_of(name) for name in names if not _why_no_change(states, name, served=served)))


def _why_no_change(states: str | None, statistic: str, *, served: bool) -> str:
    """Why gates can read no change of a statistic that they can read; empty if they can."""
    if states not in CHANGED_STATES:
        return f"gates read changes on the states {in_toml(CHANGED_STATES)} alone"
    if served and statistic_of(statistic) in UNDECIDED:
        return "bounds of a statistic say nothing certain of its change"
    if states == "fixed" and statistic_of(statistic) in _OF_TRANSCRIPT_OR_TEACHER:
        return "on recorded transcripts it is always 0; read it on the student's own"
    return ""


def statistics_of(*, served: bool) -> tuple[str, ...]:
    """Names of the statistics of one kind of states."""
    known = TOKEN_STATISTICS if not served else (*DECIDED_BY_TOP_K, *OWN_STATISTICS)
    forms = [f"{name}.{form}" for form, names in FORMS.items() for name in names if name in known]
    if not served:
        return (*known, *forms, *SEQUENCE_STATISTICS, *PROBE_STATISTICS)
    formed = (f"{name}.{form}" for form, names in FORMS.items() for name in names if name in UNDECIDED)
    ends = (f"{name}.{end}" for name in (*UNDECIDED, *formed) for end in ENDS)
    return (*known, *forms, *ends, *SEQUENCE_STATISTICS, *PROBE_STATISTICS)


def evaluation_reading(name: str) -> str:
    """Return what gates call the error rate of an evaluation set.

    >>> evaluation_reading("dev")
    'own.dev.error_rate'
    """
    return f"{OWN}{name}.error_rate"


def doubtful_readings(reader: Reader) -> list[str]:
    """Return what is wrong with each reading of a bounded statistic that is not the conservative bound; in words."""
    found = []
    for criterion in reader.criteria:
        wanted = [_CONSERVATIVE[end] for end in criterion.ends]
        if is_change(criterion.statistic):  # is refused as an unknown name
            continue
        parts = criterion.statistic.split(".")
        end = parts.pop() if parts[-1] in ENDS else None
        if statistic_of(criterion.statistic) in UNDECIDED and [end] != wanted:
            base = ".".join(parts)
            remedy = f"read the {wanted[0]} bound here: {base}.{wanted[0]}" if len(wanted) == 1 else _ONE_LIMIT
            found.append(f"a served teacher's top-k log-probabilities give only bounds of {base}; {remedy}")
    return found


def out_of_reach(reader: Reader, ranges: Ranges) -> list[str]:
    """Return levels beyond the range of their statistic, which no reading or every reading passes; in words.

    Args:
        reader: Of a stage.
        ranges: What is known of the pair: the size of the supports at least.
    """
    found = []
    for leaf in leaves(reader):
        for criterion in leaf.criteria:
            least, most = _limits(criterion.statistic, ranges)
            for amount in criterion.amounts:
                above, below = amount.value > most, amount.value < least
                setting = f"{'.'.join(amount.key)} = {_written(leaf, amount)}"
                between = f"{setting}: {criterion.statistic} lies between {least:g} and {most:g}"
                if (amount.side == "at_least" and above) or (amount.side == "at_most" and below):
                    found.append(f"{between}, so no reading reaches it")
                elif (amount.side == "lowest" and above) or (amount.side == "highest" and below):
                    found.append(f"{between}, so every reading is outside")
    return found


def _written(reader: Reader, amount: Amount) -> str:
    """Return the value of the setting that an amount is in, as the file has it: a number, or both sides of a range."""
    value: Any = reader.parameters()
    for key in amount.key:
        value = value[key]
    return in_toml(["off" if end is None else end for end in value]) if isinstance(value, list) else f"{value:g}"


def range_of(reading: str, k: int) -> tuple[float, float]:
    """Return the least and largest value of what a gate reads, infinite where there is none.

    Args:
        reading: Its name, such as `fixed.union_size`.
        k: Size of the supports.
    """
    return _limits(reading, Ranges(k))


def _limits(reading: str, ranges: Ranges) -> tuple[float, float]:
    return (0.0, math.inf) if reading.startswith(OWN) else ranges.limits(reading)


def no_such_statistic(name: str, evaluations: Sequence[str], readings: Sequence[str], *, served: bool) -> str:
    """Return what to write instead of a name that gates cannot read.

    Args:
        name: As the recipe has it.
        evaluations: Names of its evaluation sets.
        readings: What its gates can read.
        served: Whether the teacher is behind a server.
    """
    if is_change(name):
        states, statistic = states_of(changed_by(name))
        if states is None:
            return f'there are no changes of error rates; use type = "plateau" for {changed_by(name)}'
        if why := _why_no_change(states, statistic, served=served):
            return why
    if name == "funnel.used":
        return 'write "used"'
    states, statistic = states_of(name)
    probed = {states_of(one)[0] for one in readings}
    if form_of(name) == PAST_TEACHER and states == "teacher":
        return 'positions past the teacher\'s transcript are in the transcripts of others; remove "teacher."'
    if form_of(name) == PAST_TEACHER and "teacher" not in probed:
        return 'where the teacher\'s transcript ends is known if it is probed; add "teacher" to probe.states'
    if states not in (None, *probed) and statistic in readings_of(states, served=served):
        return f"add {in_toml(states)} to probe.states"
    rates = [evaluation_reading(one) for one in evaluations]
    if name.rpartition(".")[2].lower() in _ERROR_RATES or name.startswith(OWN):
        if not rates:
            return f"an error rate is named {evaluation_reading('NAME')} after an [evaluation] of that name; add one"
        if len(rates) > 1 and (near := difflib.get_close_matches(name, rates, n=1)):
            return f'did you mean "{near[0]}"?'
        return f"write {' or '.join(rates)} for the error rate on an evaluation set"
    near = difflib.get_close_matches(name, readings, n=1)
    return f'did you mean "{near[0]}"?' if near else "use a name of overlap.measure, such as union_size"


def percentages(reader: Reader) -> list[str]:
    """Return levels of error rates that are so high that percent were probably meant; in words.

    Healthy limits are not refused: `without_effect` warns of them.

    Args:
        reader: Of a stage.
    """
    return [
        f"{'.'.join(amount.key)} = {amount.value:g} of {criterion.statistic}: an error rate is a proportion, so this "
        f"is {amount.value:.0%}; write {amount.value / 100:g} for {amount.value:g} %"
        for criterion in reader.criteria
        for amount in criterion.amounts
        if criterion.statistic.startswith(OWN)
        and amount.side not in ("lowest", "highest")
        and amount.value > _HIGHEST_RATE
    ]
