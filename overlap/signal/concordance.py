"""How well a value tells right utterances from wrong ones: the area under the ROC curve, with its interval."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

from overlap.estimates.bootstrap import check
from overlap.estimates.estimate import Estimate


@dataclass(frozen=True, eq=False)
class Concordance:
    """The share of pairs of a right and a wrong utterance in which the right one has the greater value; ties count ½.

    This is the area under the ROC curve (AUROC). With strata only pairs within a stratum count, each pair once.

    Attributes:
        value: the share; NaN without a pair.
        n_right: right utterances.
        n_wrong: wrong ones.
        n_compared: utterances that are in a pair.
        n_clusters: clusters that have such an utterance.
        pairs: ``[B]`` right × wrong of each stratum that has both.
        spare: ``[B]`` (right + wrong) / 2 − 1 of these strata.
        inflation: variance between clusters over the variance that `variance` gives at the value, at least 1.
    """

    value: float
    n_right: int
    n_wrong: int
    n_compared: int
    n_clusters: int
    pairs: np.ndarray
    spare: np.ndarray
    inflation: float

    @classmethod
    def from_values(
        cls, values: np.ndarray, right: np.ndarray, clusters: np.ndarray, strata: np.ndarray
    ) -> "Concordance":
        """Compare all pairs within strata.

        Args:
            values: ``[N]`` defined numbers, the greater the better.
            right: ``[N]`` bool.
            clusters: ``[N]`` integers from 0: units that are independent of each other, such as speakers.
            strata: ``[N]`` integers from 0.
        """
        won, pairs = _comparisons(values, right, strata)
        total = pairs[right].sum()
        value = float(won[right].sum() / total) if total else np.nan
        sizes = np.stack([np.bincount(strata[side], minlength=strata.max(initial=0) + 1) for side in (right, ~right)])
        m, n = sizes[:, sizes.min(0) > 0].astype(np.float64)
        there = pairs > 0
        plain = cls(
            value=value,
            n_right=int(right.sum()),
            n_wrong=int((~right).sum()),
            n_compared=int(there.sum()),
            n_clusters=len(np.unique(clusters[there])),
            pairs=m * n,
            spare=(m + n) / 2 - 1,
            inflation=1.0,
        )
        if not total:
            return plain
        # A pair moves the share through both of its members. Where both are of one cluster it moves it once, by halves.
        own = np.unique(np.stack([strata, clusters]), axis=1, return_inverse=True)[1].ravel()
        won_own, pairs_own = _comparisons(values, right, own)
        moved = (won - won_own / 2 - value * (pairs - pairs_own / 2)) / total
        for side in (right, ~right):
            several = len(np.unique(clusters[there & side]))
            moved[side] *= np.sqrt(several / max(several - 1, 1))
        between, expected = np.square(np.bincount(clusters, moved)).sum(), plain.variance(value)
        return replace(plain, inflation=max(1.0, float(between / expected)) if expected > 0 else 1.0)

    def variance(self, value: float) -> float:
        """Variance of the share if it were `value`, for independent utterances.

        That of Hanley & McNeil (1982) in the form of Newcombe (2006, method 5), whose group sizes are both the mean;
        over strata it adds up by the squared share of the pairs.
        """
        each = value * (1 - value) * (1 + self.spare * ((1 - value) / (2 - value) + value / (1 + value))) / self.pairs
        return float((np.square(self.pairs) * each).sum() / self.pairs.sum() ** 2)

    @property
    def _degrees(self) -> int:
        return max(self.n_clusters - 2, 1)

    def p_value(self, against: float) -> float:
        """Two-sided p-value of the share being `against`; below 1 − level if and only if the interval leaves it out.

        Args:
            against: between 0 and 1, both excluded.
        """
        if self.n_clusters < 2:
            return np.nan
        distance = abs(self.value - against) / np.sqrt(self.inflation * self.variance(against))
        return float(2 * stats.t.sf(distance, self._degrees))

    def estimate(self, level: float, n_undefined: int = 0) -> Estimate:
        """The share with its interval: all shares whose p-value is not below 1 − level.

        The interval is the score interval of Newcombe (Statistics in Medicine 25, 2006, 559–573, method 5), with
        Student's quantile for the number of clusters less two. Where the values do not behave as it presumes, or
        utterances of a speaker are alike, its variance is multiplied by `inflation`, from the variance between clusters
        after DeLong et al. (1988) and Obuchowski (1997). DeLong's own interval, the same on a logit scale, and
        percentiles of a bootstrap cover less, above all near 1, where the latter two may have no width
        (`tests/overlap/signal/test_signal_coverage.py`).

        Args:
            level: coverage, between 0 and 1.
            n_undefined: utterances that were left out.

        Returns:
            The estimate, without an interval where there are fewer than two clusters.

        Raises:
            UserError: if the level is out of range.
        """
        check(level, 2)
        if self.n_clusters < 2:
            return Estimate(self.value, np.nan, np.nan, np.nan, self.n_compared, self.n_clusters, n_undefined, level)
        quantile = stats.t.ppf((1 + level) / 2, self._degrees)

        def left_out(share: float) -> float:
            return float((self.value - share) ** 2 - quantile**2 * self.inflation * self.variance(share))

        low, high = (_root(left_out, self.value, end) for end in (0.0, 1.0))
        error = float(np.sqrt(self.inflation * self.variance(self.value)))
        return Estimate(self.value, error, low, high, self.n_compared, self.n_clusters, n_undefined, level)


def _root(function: Callable[[float], float], value: float, end: float, step: float = 1e-9) -> float:
    """Where a function that is negative beside `value` crosses 0 on the way to `end`."""
    if value == end:
        return end
    inside, outside = value + step * np.sign(end - value), end + step * np.sign(value - end)
    if function(outside) <= 0:
        return end
    return float(optimize.root_scalar(function, bracket=(inside, outside)).root) if function(inside) < 0 else value


def _comparisons(values: np.ndarray, right: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each utterance ``[N]``: pairs of its stratum in which the right one is above (ties ½), and all its pairs."""
    won, pairs = np.zeros(len(values)), np.zeros(len(values))
    order = np.argsort(strata, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1):
        good, bad = rows[right[rows]], rows[~right[rows]]
        won[good], pairs[good] = _below(values[bad], values[good]), len(bad)
        won[bad], pairs[bad] = _below(-values[good], -values[bad]), len(good)
    return won, pairs


def _below(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """How many of these are below each of those; equal ones count ½."""
    these = np.sort(these)
    return (np.searchsorted(these, those, "left") + np.searchsorted(these, those, "right")) / 2
