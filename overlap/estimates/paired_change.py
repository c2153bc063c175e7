"""Changes of averages between two readings of the same utterances, with intervals that pair the utterances."""

import math

import numpy as np

from overlap.definitions import Ranges
from overlap.definitions.names import change_of
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, studentized, unseen_share
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import ends_between


def paired_change(
    before: GroupSums,
    after: GroupSums,
    *,
    ranges: Ranges | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The change of each average over positions, Σ x' / Σ n' − Σ x / Σ n, with an interval over utterances.

    Every resample draws the same utterances for both readings, so what makes an utterance hard in both does not widen
    the interval; two marginal intervals cannot say whether a change is certain. The interval is that of
    `overlap.estimates.bootstrap.studentized` with the weights 1 and −1, cut off at the largest possible change.

    Resamples know nothing of a kind of change that no utterance shows, so for statistics between two finite limits the
    interval also covers what could have remained unobserved (`overlap.estimates.bootstrap.unseen_share`). Where all
    utterances change alike, or not at all, it is as `overlap.estimates.summary.estimate` has it. Where most utterances
    do not change and the others all in one direction, the end in the other direction is that of a difference of two
    shares, of which the unobserved one is 0 to its largest (the method of variance estimates recovery, Zou & Donner
    2008, Statistics in Medicine 27:1693).

    An utterance may have no position of a statistic in one of the readings or in both, as one that does not end has
    none of a form ``at_end``. But if the utterances themselves differ, the averages are of different things: every
    change is then NaN, and the positions of utterances that one reading lacks are counted as undefined.

    Args:
        before: sums of the earlier reading by utterance.
        after: those of the later reading, of the same statistics in the same order.
        ranges: limits of the statistics of `overlap.definitions`.
        level: coverage, between 0 and 1.
        draws: number of resamples, at least 2.
        seed: of the resampling; the same sums and seed give the same interval.

    Returns:
        By name, such as ``total_variation.change``, in the statistic's unit. ``n_positions`` is the smaller number of
        both readings, ``n_groups`` that of utterances with a position in either.

    Raises:
        UserError: if the statistics differ, or level or draws is out of range.
    """
    if before.names != after.names:
        raise UserError(
            f"sums: expected the statistics {list(before.names)} after as before, received {list(after.names)}"
        )
    ranges, names = ranges or Ranges(), [change_of(name) for name in before.names]
    if before.keys != after.keys:
        unpaired = _unpaired(before, after) + _unpaired(after, before)
        nan = math.nan
        return {
            name: Estimate(nan, nan, nan, nan, 0, 0, int(n), level) for name, n in zip(names, unpaired, strict=True)
        }
    sums, counts = (np.stack([getattr(one, field) for one in (after, before)], axis=2) for field in ("sums", "counts"))
    found = studentized(sums, counts, (1.0, -1.0), level=level, draws=draws, seed=seed)
    # What no utterance deviates from is known as well as in the reading that has fewer of them.
    n_groups, n_positions = (counts > 0).sum(0).min(1), counts.sum(0).min(1)
    undefined = (before.undefined + after.undefined).sum(0)
    changes = {}
    for column, (name, one) in enumerate(zip(names, found, strict=True)):
        limits, certain = ranges.limits(name), ranges.certain(name)
        low, high = ends_between(limits, one, n_groups[column], n_positions[column], certain=certain)
        if one.standard_error > 0 and math.isfinite(limits[1] - limits[0]) and not certain:
            away = unseen_share(n_groups[column], n_positions[column], level) * limits[1]
            below, above = _unseen(sums[:, column], counts[:, column])
            low = max(limits[0], one.value - math.hypot(one.value - low, below * away))
            high = min(limits[1], one.value + math.hypot(high - one.value, above * away))
        changes[name] = Estimate(
            one.value, one.standard_error, low, high, one.n_positions, one.n_groups, int(undefined[column]), level
        )
    return changes


def _unseen(sums: np.ndarray, counts: np.ndarray) -> tuple[bool, bool]:
    """Return whether the few utterances that change never fall, and never rise; from ``[G, 2]``, after and before."""
    differences = (sums[:, 0] - sums[:, 1])[counts[:, 1] > 0]
    few = np.array_equal(counts[:, 0], counts[:, 1]) and np.count_nonzero(differences) <= len(differences) / 2
    return bool(few and not (differences < 0).any()), bool(few and not (differences > 0).any())


def _unpaired(these: GroupSums, others: GroupSums) -> np.ndarray:
    """Return ``[S]`` positions of the utterances that only these have."""
    paired = set(others.keys)
    alone = np.array([key not in paired for key in these.keys], dtype=bool)
    return (these.counts + these.undefined)[alone].sum(0)
