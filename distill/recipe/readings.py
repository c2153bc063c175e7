"""Statistics that gates can read from a probe, by the kind of teacher.

A server returns only the teacher's best tokens. Statistics that these do not determine have a lower and an upper bound
over all teachers with these top-k log-probabilities. Each bound is a reading of its own: `forward_kl.lower`,
`forward_kl.upper`. A gate must read the conservative one: the lower for `at_least`, the upper for `at_most`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from overlap.definitions import BOUNDED_STATISTICS, DECIDED_BY_TOP_K, SEQUENCE_STATISTICS, TOKEN_STATISTICS, Ranges
from overlap.definitions.names import OWN

from .gates import CollapseGate, GateConfig, PlateauGate, ThresholdGate, leaves
from .toml import in_toml

UNDECIDED = tuple(name for name in BOUNDED_STATISTICS if name not in DECIDED_BY_TOP_K)
"""Statistics for which a served teacher's best tokens give only bounds."""

OWN_STATISTICS = ("student_size", "teacher_size", "student_entropy", "student_logprob")
"""More statistics that are exact with a served teacher, besides `DECIDED_BY_TOP_K`."""

_HIGHEST_RATE = 2.0

ENDS = ("lower", "upper")

_ERROR_RATES = ("wer", "cer", "error_rate", "word_error_rate", "character_error_rate")


def statistics_of(*, served: bool) -> tuple[str, ...]:
    """Names of the statistics of one kind of states."""
    if not served:
        return (*TOKEN_STATISTICS, *SEQUENCE_STATISTICS)
    ends = (f"{name}.{end}" for name in UNDECIDED for end in ENDS)
    return (*DECIDED_BY_TOP_K, *OWN_STATISTICS, *ends, *SEQUENCE_STATISTICS)


def evaluation_reading(name: str) -> str:
    """What gates call the error rate of an evaluation set.

    >>> evaluation_reading("dev")
    'own.dev.error_rate'
    """
    return f"{OWN}{name}.error_rate"


def doubtful_readings(gate: GateConfig) -> list[str]:
    """What is wrong with each reading of a bounded statistic that is not the conservative bound; in words."""
    found = []
    for leaf in leaves(gate):
        for name, wanted in _wanted_ends(leaf):
            parts = name.split(".")
            end = parts.pop() if parts[-1] in ENDS else None
            if parts[-1] in UNDECIDED and end not in wanted:
                base = ".".join(parts)
                remedy = f"read the {wanted[0]} bound here: {base}.{wanted[0]}" if wanted else "give one limit, not two"
                found.append(f"a served teacher's best tokens give only bounds of {base}; {remedy}")
    return found


def out_of_reach(gate: GateConfig, ranges: Ranges) -> list[str]:
    """Levels beyond the range of their statistic, which no reading or every reading passes; in words.

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
                    found.append(f"{key} = {level:g}: {between}, so no reading reaches it")
        elif isinstance(leaf, CollapseGate):
            for name, (low, high) in leaf.limits.items():
                least, most = _limits(name, ranges)
                written = in_toml(["off" if end is None else end for end in (low, high)])
                between = f"limits.{name} = {written}: {name} lies between {least:g} and {most:g}"
                if (low is not None and low > most) or (high is not None and high < least):
                    found.append(f"{between}, so every reading is outside")
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
    """What to write instead of a name that gates cannot read.

    Args:
        name: As the recipe has it.
        evaluations: Names of its evaluation sets.
        readings: What its gates can read.
    """
    rates = [evaluation_reading(one) for one in evaluations]
    if name.rpartition(".")[2].lower() in _ERROR_RATES or name.startswith(OWN):
        if not rates:
            return f"an error rate is named {evaluation_reading('NAME')} after an [evaluation] of that name; add one"
        if len(rates) > 1 and (near := difflib.get_close_matches(name, rates, n=1)):
            return f'did you mean "{near[0]}"?'
        return f"write {' or '.join(rates)} for the error rate on an evaluation set"
    near = difflib.get_close_matches(name, readings, n=1)
    return f'did you mean "{near[0]}"?' if near else "use a name of overlap.measure, such as union_size"


def percentages(gate: GateConfig) -> list[str]:
    """Levels of error rates that are so high that percent were probably meant; in words.

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
            f"{key} = {level:g} of {leaf.statistic}: an error rate is a proportion, so this is {level:.0%}; write "
            f"{level / 100:g} for {level:g} %"
            for key, level in levels.items()
            if leaf.statistic.startswith(OWN) and level is not None and level > _HIGHEST_RATE
        ]
    return found


def _wanted_ends(leaf: GateConfig) -> list[tuple[str, tuple[str, ...]]]:
    """Each statistic of a gate and its conservative ends."""
    if isinstance(leaf, ThresholdGate):
        return [(leaf.statistic, ("lower",) if leaf.at_least is not None else ("upper",))]
    if isinstance(leaf, PlateauGate):
        return [(leaf.statistic, ("lower",) if leaf.mode == "max" else ("upper",))]
    if isinstance(leaf, CollapseGate):
        # Out of its limits is what certainly is: the upper end below the lowest, or the lower end above the highest.
        sides = {(True, False): ("upper",), (False, True): ("lower",)}
        return [(name, sides.get((low is not None, high is not None), ())) for name, (low, high) in leaf.limits.items()]
    return []
