"""Whether a statistic carries signal: the verdict on its AUROC."""

import math
from collections.abc import Mapping
from enum import StrEnum

from overlap.estimates.estimate import Estimate

CHANCE = 0.5
"""AUROC of a statistic that says nothing about errors."""
USEFUL = 0.65
"""AUROC below which a statistic is of no use; after arXiv 2607.13399, where 0.73 to 0.75 is reported where it works."""


class Verdict(StrEnum):
    """What the interval of an AUROC says."""

    CARRIES_SIGNAL = "carries signal"
    NO_USEFUL_SIGNAL = "no useful signal"
    UNDECIDED = "undecided"
    UNDEFINED = "undefined"


def verdict_of(auroc: Estimate, p_chance: float, p_useful: float) -> Verdict:
    """The verdict on one of several statistics.

    *No useful signal* where the share is below `USEFUL` and differs from it, *carries signal* where it is above
    `CHANCE` and differs from that, else *undecided*. A p-value is below 1 − level exactly where the interval leaves the
    level out, so for one statistic these are: upper end below 0.65, lower end above 0.5. Where both hold, as for
    [0.53, 0.62], there is certainly some signal and certainly too little of it: *no useful signal*.

    Args:
        auroc: the estimate.
        p_chance: p-value of `CHANCE`, corrected for the number of statistics.
        p_useful: p-value of `USEFUL`, likewise.
    """
    if math.isnan(auroc.value):
        return Verdict.UNDEFINED
    if auroc.value < USEFUL and p_useful < 1 - auroc.level:
        return Verdict.NO_USEFUL_SIGNAL
    if auroc.value > CHANCE and p_chance < 1 - auroc.level:
        return Verdict.CARRIES_SIGNAL
    return Verdict.UNDECIDED


def utterances_needed(auroc: Estimate, n: int) -> int | None:
    """About how many utterances would decide, if value, shares of right and wrong, and clustering stay as they are.

    The ends of an interval come closer as 1 / √n. The lower end passes 0.5 with n ((A − low) / (A − 0.5))² utterances
    if A > 0.5, the upper end 0.65 with n ((high − A) / (0.65 − A))² if A < 0.65; the smaller of the two counts. Not
    corrected for the number of statistics.

    Args:
        auroc: A with its interval.
        n: utterances that it is over.

    Returns:
        At least n + 1; None without an interval.

    Example:
        >>> utterances_needed(Estimate(0.7, 0.12, 0.45, 0.87, 40, 40), 40)
        63
    """
    if math.isnan(auroc.low):
        return None
    factors = []
    if auroc.value > CHANCE:
        factors.append((auroc.value - auroc.low) / (auroc.value - CHANCE))
    if auroc.value < USEFUL:
        factors.append((auroc.high - auroc.value) / (USEFUL - auroc.value))
    return max(n + 1, math.ceil(n * min(factors) ** 2 - 1e-9))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values that bound the chance of any false positive (Holm 1979); NaN where there is no test.

    Written out because this package does without statsmodels, whose own takes a tenth of a second to collect garbage.

    Args:
        p_values: by test; NaN where there is none, which does not count as one.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted, most = dict(p_values), 0.0
    tested = sorted((name for name, p in p_values.items() if not math.isnan(p)), key=p_values.__getitem__)
    for number, name in enumerate(tested):
        most = max(most, min(1.0, (len(tested) - number) * p_values[name]))
        adjusted[name] = most
    return adjusted
