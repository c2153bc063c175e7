"""Whether a statistic carries signal: the verdict on its AUROC."""

import math
from collections.abc import Mapping
from enum import StrEnum

from scipy import optimize, stats

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


def utterances_needed(
    p_values: Mapping[str, float], sizes: Mapping[str, tuple[int, int]], alpha: float = 0.05
) -> dict[str, float]:
    """About how many utterances would let Holm's procedure reject each of several hypotheses.

    AUROCs, shares of right and wrong, and clustering are taken to stay as they are, so that the distance from the
    hypothesis in standard errors grows as √n; the order of p-values then stays too. The r-th smallest of m is rejected
    once it is below α / (m − r + 1) and all before it are rejected. At about half of the samples of that size do so.

    Args:
        p_values: by test, not corrected; NaN where there is none, which does not count as one.
        sizes: utterances and clusters of each.
        alpha: of the family.

    Returns:
        By test at least one more than it has; infinite where no number would do, NaN where there is no test.

    Example:
        >>> utterances_needed({"a": 0.03, "b": 0.06}, {"a": (80, 80), "b": (80, 80)})
        {'a': 86, 'b': 87}
    """
    needed, most = dict.fromkeys(p_values, math.nan), 1.0
    tested = sorted((name for name, p in p_values.items() if not math.isnan(p)), key=p_values.__getitem__)
    for number, name in enumerate(tested):
        n, clusters = sizes[name]
        most = max(most, _times(p_values[name], clusters, alpha / (len(tested) - number)))
        needed[name] = most if math.isinf(most) else max(n + 1, math.ceil(n * most - 1e-9))
    return needed


def _times(p: float, clusters: int, level: float) -> float:
    """How many times as many clusters would bring a p-value of Student's t, over clusters less two, below a level."""
    if p < level:
        return 1.0
    degrees = max(clusters - 2, 1)
    distance = stats.t.isf(p / 2, degrees)
    if distance <= 0:
        return math.inf

    def above(times: float) -> float:
        return float(2 * stats.t.sf(distance * math.sqrt(times), max(clusters * times - 2, degrees)) - level)

    # At today's degrees of freedom the quantile is largest, and so is what is needed.
    most = (stats.t.isf(level / 2, degrees) / distance) ** 2
    return optimize.root_scalar(above, bracket=(1.0, most + 1e-6)).root if above(1.0) > 0 else 1.0


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
