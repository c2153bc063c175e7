"""Fixed-context gain: what a stage of training changed at the same recorded context."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, check
from overlap.estimates.group_sums import Groups, GroupSums, members_of
from overlap.estimates.summary import Estimate, estimate
from overlap.statistics.measure import TokenStatistics

_SAME_TEACHER = 0.05  # nats; half-precision scoring in other batches changes an entropy by far less


@dataclass(frozen=True, eq=False)
class FixedContextGain:
    """Decrease of a divergence between two checkpoints, position by position.

    Attributes:
        statistic: the divergence.
        estimate: mean decrease, with a cluster bootstrap over utterances; above 0 the student came closer to the
            teacher.
        before: mean of the divergence before, over the positions with a defined gain.
        after: mean of it after, over the same positions.
        values: ``[...]`` float32, before − after; NaN where masked, and where the divergence is undefined in either
            checkpoint or infinite in both.
        mask: ``[...]`` bool, the positions compared.
    """

    statistic: str
    estimate: Estimate
    before: Estimate
    after: Estimate
    values: Tensor
    mask: Tensor


def fixed_context_gain(
    before: TokenStatistics,
    after: TokenStatistics,
    *,
    statistic: str = "forward_kl",
    groups: Groups | None = None,
    same_teacher: float | None = _SAME_TEACHER,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> FixedContextGain:
    """Compare two checkpoints of a student at recorded contexts (audio and prefix), pair by pair.

    Both must have been measured on the same recorded rollouts with the same teacher: with each checkpoint's own
    rollouts, a difference would mix what the student learned with a change of its prefixes. Source: arXiv 2605.26844.

    Args:
        before: statistics of the earlier checkpoint, ``[...]``.
        after: of the later one, at the same positions.
        statistic: the divergence whose decrease is the gain.
        groups: the utterance of each position, as in `TokenStatistics.summary`.
        same_teacher: how much, in nats, the median position may differ in ``teacher_entropy``. A frozen teacher has the
            same entropy at the same context; a difference beyond rounding means that the contexts differ. None skips
            this check.
        level: coverage of the intervals.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: if the statistic is unknown; if shapes, masks, k, temperature or the teacher differ.
    """
    _check_paired(before, after, same_teacher)
    old, new = (_statistic(part, statistic) for part in (before, after))
    values = (old - new.to(old.device)).float()
    defined = ~values.isnan()
    kept = {
        "gain": values,
        "before": old.where(defined, np.nan),
        "after": new.to(old.device).where(defined, np.nan),
    }
    sums = GroupSums.from_values(kept, before.default_groups() if groups is None else groups, mask=before.mask)
    least, most = before.ranges.limits(statistic)
    ends = estimate(sums, limits=(least, most), level=level, draws=draws, seed=seed)
    gain = estimate(sums, limits=(least - most, most - least), level=level, draws=draws, seed=seed)["gain"]
    return FixedContextGain(statistic, gain, ends["before"], ends["after"], values, before.mask)


def position_gain_correlations(
    before: TokenStatistics,
    gain: FixedContextGain,
    *,
    statistics: Sequence[str] | None = None,
    groups: Groups | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return how well each statistic before a stage predicts the gain of the stage, position by position.

    Spearman's rank correlation (Pearson's of quantile-normalized scores), with a cluster bootstrap over utterances;
    every resample is ranked anew. After the analysis of token teachability, arXiv 2605.26844.

    Beware of a built-in correlation: the gain is before − after. The divergence before, and statistics derived from it
    such as ``learnable_kl``, correlate with its own gain even if every change is noise. Compare statistics with each
    other, and with that divergence itself, not with 0.

    Args:
        before: statistics of the earlier checkpoint, at the positions of the gain.
        gain: from `fixed_context_gain`.
        statistics: names; default: all.
        groups: the utterance of each position.
        level: coverage of the intervals.
        draws: bootstrap resamples; each takes time linear in the number of positions, for each statistic.
        seed: of the resampling; all statistics share the resamples.

    Returns:
        By statistic, ρ from −1 to 1 over the positions where both are defined; NaN where either is constant. The others
        are counted as undefined.

    Raises:
        UserError: if a statistic is unknown or the positions are not those of the gain, and as `estimate`.
    """
    if before.mask.shape != gain.mask.shape or not bool((before.mask == gain.mask.to(before.mask.device)).all()):
        raise UserError(
            "before: has other positions than the gain; pass the 'before' statistics that you computed the gain from"
        )
    check(level, draws)
    names = list(before.values()) if statistics is None else list(statistics)
    keep = before.mask.cpu().numpy()
    outcome = gain.values.cpu().numpy()[keep].astype(np.float64)
    keys, member = members_of(before.default_groups() if groups is None else groups, keep.shape, keep)
    result = {}
    for name in names:
        score = _statistic(before, name).cpu().numpy()[keep].astype(np.float64)
        result[name] = rank_correlation(score, outcome, member, len(keys), level=level, draws=draws, seed=seed)
    return result


def rank_correlation(
    x: np.ndarray, y: np.ndarray, member: np.ndarray, n_groups: int, *, level: float, draws: int, seed: int
) -> Estimate:
    """Return Spearman's ρ of values ``[N]`` with a percentile bootstrap over groups; undefined where either value is
    NaN.

    Ranks are bounded, so percentile intervals keep their coverage here (`tests/studies/test_coverage.py`).

    Args:
        x: values of one statistic.
        y: of the other.
        member: ``[N]`` number of the group of each position, below ``n_groups``.
        n_groups: groups to draw from.
        level: coverage of the interval.
        draws: resamples.
        seed: of the resampling.
    """
    both = ~np.isnan(x) & ~np.isnan(y)
    pair, own = (_Ranked.from_values(x[both]), _Ranked.from_values(y[both])), member[both]
    drawn = _resampled(pair, own, n_groups, draws, seed)
    error, low, high = np.nan, np.nan, np.nan
    n_defined = len(np.unique(own))
    if n_defined >= 2 and len(drawn) >= 2:
        error = drawn.std(ddof=1)
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = _spearman(*pair, np.ones(len(own)))
    return Estimate(
        value, float(error), float(low), float(high), len(own), n_defined, int(both.size - both.sum()), level
    )


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Values as indices into their sorted distinct values."""

    dense: np.ndarray
    n: int

    @classmethod
    def from_values(cls, values: np.ndarray) -> "_Ranked":
        distinct, dense = np.unique(values, return_inverse=True)
        return cls(dense, len(distinct))

    def ranks(self, weights: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return the mean rank of each value, with `weights` as numbers of occurrences, and whether there are at least
        two values."""
        occurring = np.bincount(self.dense, weights, minlength=self.n)
        return (occurring.cumsum() - occurring / 2)[self.dense], bool(np.count_nonzero(occurring) > 1)


def _spearman(x: _Ranked, y: _Ranked, weights: np.ndarray) -> float:
    """Return Spearman's ρ with weights as numbers of occurrences; NaN if either is constant."""
    (a, a_varies), (b, b_varies) = x.ranks(weights), y.ranks(weights)
    if not (a_varies and b_varies):
        return np.nan
    # The mean rank is half the number of pairs, with any ties.
    a, b = a - weights.sum() / 2, b - weights.sum() / 2
    return float((weights * a * b).sum() / np.sqrt((weights * a * a).sum() * (weights * b * b).sum()))


def _resampled(pair: tuple[_Ranked, _Ranked], member: np.ndarray, n: int, draws: int, seed: int) -> np.ndarray:
    """Return ρ of every resample of the n groups; undefined resamples are left out."""
    generator = np.random.default_rng(seed)
    times = (np.bincount(generator.integers(n, size=n), minlength=n).astype(np.float64) for _ in range(draws))
    found = np.array([_spearman(*pair, drawn[member]) for drawn in times]) if n > 1 else np.zeros(0)
    return found[~np.isnan(found)]


def _statistic(statistics: TokenStatistics, name: str) -> Tensor:
    values = statistics.values()
    if name not in values:
        raise UserError(f"statistic: {name!r} is unknown; there are {', '.join(values)}")
    return values[name]


def _check_paired(before: TokenStatistics, after: TokenStatistics, same_teacher: float | None) -> None:
    for what, old, new in (
        ("shape", tuple(before.mask.shape), tuple(after.mask.shape)),
        ("k", before.k, after.k),
        ("temperature", before.temperature, after.temperature),
    ):
        if old != new:
            raise UserError(
                f"after: expected {what} {old} like before, received {new}; measure both checkpoints on the same "
                "recorded rollouts with the same settings"
            )
    mask = before.mask
    differing = int((mask != after.mask.to(mask.device)).sum())
    if differing:
        raise UserError(
            f"after: its mask differs from before's at {differing} of {mask.numel()} positions; measure both "
            "checkpoints with the mask of the recorded rollouts"
        )
    if same_teacher is not None and bool(mask.any()):
        moved = (before.teacher_entropy - after.teacher_entropy.to(mask.device))[mask].abs().median().item()
        if moved > same_teacher:
            raise UserError(
                f"after: teacher_entropy differs from before's by {moved:.3g} nats at the median position, so the "
                "contexts or the teachers are not the same; replay recorded rollouts with one frozen teacher, or pass "
                "same_teacher=None to compare regardless"
            )
