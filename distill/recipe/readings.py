"""What gates can read of a probe, by the kind of teacher.

A served teacher shows its best tokens alone. Statistics that these do not decide are known between two ends, the lower
and the upper one over all teachers that agree with the lists, and each end is a reading of its own: `forward_kl.lower`,
`forward_kl.upper`. A gate reads the end that leaves no doubt: `at_least` the lower one, `at_most` the upper.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import overlap
from overlap.definitions import Ranges
from overlap.definitions.names import OWN

from .gates import CollapseGate, GateConfig, PlateauGate, ThresholdGate, leaves
from .toml import in_toml

UNDECIDED = tuple(name for name in overlap.BOUNDED_STATISTICS if name not in overlap.DECIDED_BY_TOP_K)
"""Statistics of which the best tokens of a served teacher give bounds alone."""

OWN_STATISTICS = ("student_size", "teacher_size", "student_entropy", "student_logprob")
"""Statistics that a served teacher's best tokens decide, or in which it has no part, beside `DECIDED_BY_TOP_K`."""

_HIGHEST_RATE = 2.0

ENDS = ("lower", "upper")

_ERROR_RATES = ("wer", "cer", "error_rate", "word_error_rate", "character_error_rate")


def statistics_of(*, served: bool) -> tuple[str, ...]:
    """Names of the statistics of one kind of states."""
    if not served:
        return (*overlap.TOKEN_STATISTICS, *overlap.SEQUENCE_STATISTICS)
    ends = (f"{name}.{end}" for name in UNDECIDED for end in ENDS)
    return (*overlap.DECIDED_BY_TOP_K, *OWN_STATISTICS, *ends, *overlap.SEQUENCE_STATISTICS)


def evaluation_reading(name: str) -> str:
    """What gates call the error rate of an evaluation set.

    >>> evaluation_reading("dev")
    'own.dev.error_rate'
    """
    return f"{OWN}{name}.error_rate"


def doubtful_readings(gate: GateConfig) -> list[str]:
    """What is wrong with each reading of an undecided statistic that is not the end that leaves no doubt; in words."""
    found = []
    for leaf in leaves(gate):
        for name, wanted in _wanted_ends(leaf):
            parts = name.split(".")
            end = parts.pop() if parts[-1] in ENDS else None
            if parts[-1] in UNDECIDED and end not in wanted:
                base = ".".join(parts)
                remedy = f"here read {wanted[0]!r} of it: {base}.{wanted[0]}" if wanted else "give one limit, not two"
                found.append(f"the best tokens of a served teacher give only bounds of {base}; {remedy}")
    return found


def out_of_reach(gate: GateConfig, ranges: Ranges) -> list[str]:
    """Which levels lie beyond the range of their statistic, so that no reading, or every one, is past them; in words.

    Args:
        gate: As a recipe has it.
        ranges: What is known of the pair: the size of the top-k sets at least.
    """
    found = []
    for leaf in leaves(gate):
        if isinstance(leaf, ThresholdGate):
            least, most = _limits(leaf.statistic, ranges)
            for key, level in (("at_least", leaf.at_least), ("at_most", leaf.at_most)):
                if level is not None and (level > most if key == "at_least" else level < least):
                    between = f"{leaf.statistic} lies between {least:g} and {most:g}"
                    found.append(f"{key} = {level:g}: {between}, so no reading meets it")
        elif isinstance(leaf, CollapseGate):
            for name, (low, high) in leaf.limits.items():
                least, most = _limits(name, ranges)
                written = in_toml(["off" if end is None else end for end in (low, high)])
                between = f"limits.{name} = {written}: {name} lies between {least:g} and {most:g}"
                if (low is not None and low > most) or (high is not None and high < least):
                    found.append(f"{between}, so every reading is out")
    return found


def range_of(reading: str, k: int) -> tuple[float, float]:
    """Least and largest value of what a gate reads, infinite where there is none.

    Args:
        reading: Its name, such as `fixed.union_size`.
        k: Size of the top-k sets.
    """
    return _limits(reading, Ranges(k))


def _limits(reading: str, ranges: Ranges) -> tuple[float, float]:
    return (0.0, math.inf) if reading.startswith(OWN) else ranges.limits(reading)


def no_such_statistic(name: str, evaluations: Sequence[str], readings: Sequence[str]) -> str:
    """What to write instead of a name that gates cannot read, in words.

    Args:
        name: As the recipe has it.
        evaluations: Names of its evaluation sets.
        readings: What its gates can read.
    """
    rates = [evaluation_reading(one) for one in evaluations]
    if name.rpartition(".")[2].lower() in _ERROR_RATES or name.startswith(OWN):
        if not rates:
            return f"an error rate is named {evaluation_reading('NAME')}, of an [evaluation] with that name; add one"
        if len(rates) > 1 and (near := difflib.get_close_matches(name, rates, n=1)):
            return f'did you mean "{near[0]}"?'
        return f"write {' or '.join(rates)} for the error rate on an evaluation set"
    near = difflib.get_close_matches(name, readings, n=1)
    return f'did you mean "{near[0]}"?' if near else "names are those of overlap.measure, as union_size"


def percentages(gate: GateConfig) -> list[str]:
    """Which levels of error rates are above any that a gate waits for, as where percent were meant; in words.

    Args:
        gate: As a recipe has it.
    """
    found = []
    for leaf in leaves(gate):
        if isinstance(leaf, ThresholdGate):
            levels = {"at_least": leaf.at_least, "at_most": leaf.at_most, "release": leaf.release}
        elif isinstance(leaf, PlateauGate):
            levels = {"min_delta": leaf.min_delta}
        else:
            continue
        found += [
            f"{key} = {level:g} of {leaf.statistic}: an error rate is a proportion, so that this is {level:.0%}; write "
            f"{level / 100:g} for {level:g} %"
            for key, level in levels.items()
            if leaf.statistic.startswith(OWN) and level is not None and level > _HIGHEST_RATE
        ]
    return found


def _wanted_ends(leaf: GateConfig) -> list[tuple[str, tuple[str, ...]]]:
    """Each statistic of a gate and the ends of it that leave no doubt."""
    if isinstance(leaf, ThresholdGate):
        return [(leaf.statistic, ("lower",) if leaf.at_least is not None else ("upper",))]
    if isinstance(leaf, PlateauGate):
        return [(leaf.statistic, ("lower",) if leaf.mode == "max" else ("upper",))]
    if isinstance(leaf, CollapseGate):
        # Out of its limits is what certainly is: the upper end below the lowest, or the lower end above the highest.
        sides = {(True, False): ("upper",), (False, True): ("lower",)}
        return [(name, sides.get((low is not None, high is not None), ())) for name, (low, high) in leaf.limits.items()]
    return []
