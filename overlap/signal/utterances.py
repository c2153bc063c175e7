"""Does a statistic tell right transcripts from wrong ones? Over utterances, and within them over sampled rollouts."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from overlap.definitions.names import statistic_of
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, check, studentized
from overlap.estimates.clusters import Over
from overlap.estimates.estimate import Estimate
from overlap.signal.columns import Column, Names, clusters_of, column_of, error_rates, numbered
from overlap.signal.concordance import Concordance
from overlap.signal.correlation import rank_correlation_within
from overlap.signal.verdict import CHANCE, USEFUL, Verdict, holm, utterances_needed, verdict_of

Values = Mapping[str, Column]

LOWER_IS_BETTER = frozenset(
    (
        *("entropy_gap", "forward_kl", "reverse_kl", "jensen_shannon", "total_variation", "learnable_kl"),
        *("incompatible_kl", "union_kl", "union_kl_tail", "reverse_kl_k1", "reverse_kl_k3", "teacher_rank"),
        *("student_entropy", "teacher_entropy", "union_size", "repetition"),
    )
)
"""Statistics of which a right transcript is expected to have the lower value."""


@dataclass(frozen=True)
class Signal:
    """What one statistic says about the errors of transcripts.

    Attributes:
        statistic: its name.
        better: which of its values a right transcript is expected to have.
        informativeness: mean over right transcripts − mean over wrong ones, in the statistic's unit; within utterances,
            the mean difference of a right and a wrong rollout of an utterance, over all such pairs.
        auroc: share of pairs of a right and a wrong transcript in which the right one has the better value.
        spearman: ρ with the error rate; within utterances, the mean of each one's ρ by its pairs with different rates.
        n_right: transcripts without error, with a defined value.
        n_wrong: those with errors.
        over: what the intervals are over.
        p_chance: p-value of an AUROC of 0.5, Holm-corrected for the number of statistics.
        p_useful: p-value of an AUROC of 0.65, Holm-corrected likewise.
        verdict: see `overlap.signal.verdict.verdict_of`.
        needed: where undecided, about how many transcripts would decide under Holm's correction, see
            `overlap.signal.verdict.utterances_needed`; None elsewhere.
    """

    statistic: str
    better: Literal["higher", "lower"]
    informativeness: Estimate
    auroc: Estimate
    spearman: Estimate
    n_right: int
    n_wrong: int
    over: Over
    p_chance: float
    p_useful: float
    verdict: Verdict
    needed: int | None

    @property
    def is_open_by_correction(self) -> bool:
        """Whether the interval would decide if this were the only statistic."""
        alone = self.auroc.low > CHANCE or self.auroc.high < USEFUL
        return self.verdict is Verdict.UNDECIDED and alone

    @property
    def verdict_in_words(self) -> str:
        """The verdict as tables print it, with a note where only the correction for several statistics leaves it
        open."""
        return f"{self.verdict} (by correction)" if self.is_open_by_correction else str(self.verdict)

    def __str__(self) -> str:
        counts = f"{self.n_right:,} right, {self.n_wrong:,} wrong"
        if self.verdict is Verdict.UNDEFINED:
            return f"{self.statistic}: undefined, no right transcript to compare with a wrong one ({counts})"
        more = f"; about {self.needed:,} would decide" if self.needed else ""
        against = "; it points the other way" if self.auroc.high < CHANCE else ""
        return f"{self.statistic}: {self.verdict_in_words}, AUROC {self.auroc.shown(2)} ({counts}{more}{against})"


def utterance_signal(
    values: Values,
    *,
    errors: Column,
    words: Column,
    speakers: Names | None = None,
    strata: Names | None = None,
    lower_is_better: Collection[str] = LOWER_IS_BETTER,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Signal]:
    """Informativeness, AUROC and Spearman's ρ of any statistics against the errors of utterances.

    Source: arXiv 2607.13399, from notes; there the statistic is the mean of log q(y_t). Intervals and verdicts are
    ours.

    Args:
        values: by statistic, one number for each utterance, such as the mean of the teacher's log-probabilities of the
            transcript's tokens; NaN where undefined.
        errors: word errors of each utterance, NaN where unknown. Without any it is right.
        words: words of its reference. Without any its error rate is undefined, and it does not count for ρ.
        speakers: their names; intervals are over speakers by the rule of `overlap.estimates.clusters.resampled`, else
            over utterances.
        strata: names or numbers of groups within which alone utterances are compared, such as bins of equal length
            (`equal_bins`): a control for what differs between the groups.
        lower_is_better: names of the statistics of which a right transcript is expected to have the lower value. They
            turn the AUROC around, nothing else.
        level: coverage of the intervals, and 1 − the level of the verdicts' tests.
        draws: bootstrap resamples of the informativeness.
        seed: of the resampling.

    Returns:
        By statistic, in the order of `values`; undefined where no right utterance can be compared with a wrong one.

    Raises:
        UserError: if lengths differ, errors or words are negative or infinite, or a setting is out of range.
    """
    wrong, rate = error_rates(errors, words)
    n = len(wrong)
    over, clusters = clusters_of(speakers, np.arange(n))
    within = np.zeros(n, dtype=np.int64) if strata is None else numbered("strata", strata, n)
    return _signals(values, wrong, rate, over, clusters, within, lower_is_better, level, draws, seed)


def rollout_signal(
    values: Values,
    *,
    utterances: Names,
    errors: Column,
    words: Column,
    speakers: Names | None = None,
    lower_is_better: Collection[str] = LOWER_IS_BETTER,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Signal]:
    """The same within utterances, from several sampled rollouts of each: duration and difficulty cannot confound it.

    Only rollouts of one utterance are compared, and all pairs of a right and a wrong one count alike. Intervals are
    over utterances, or over speakers as in `utterance_signal`. ``n_positions`` of the estimates are rollouts that have
    one to be compared with.

    Args:
        values: by statistic, one number for each rollout; NaN where undefined.
        utterances: name or number of the utterance of each rollout.
        errors: word errors of each rollout.
        words: words of its reference.
        speakers: name of the speaker of each rollout.
        lower_is_better: as in `utterance_signal`.
        level: coverage of the intervals.
        draws: bootstrap resamples of the informativeness.
        seed: of the resampling.

    Raises:
        UserError: as `utterance_signal`.
    """
    wrong, rate = error_rates(errors, words)
    own = numbered("utterances", utterances, len(wrong))
    over, clusters = clusters_of(speakers, own)
    return _signals(values, wrong, rate, over, clusters, own, lower_is_better, level, draws, seed)


def equal_bins(values: Column, bins: int) -> np.ndarray:
    """Bins of about equal numbers of utterances, ``[N]`` integers from 0; equal values are in one bin.

    Args:
        values: ``[N]`` such as lengths in tokens.
        bins: how many; fewer come out where values are equal.

    Raises:
        UserError: if fewer than one bin is asked for or a value is NaN.

    Example:
        >>> equal_bins([3, 9, 4, 30, 5, 12], 2).tolist()
        [0, 1, 0, 1, 0, 1]
    """
    array = np.asarray(values, dtype=np.float64)
    if bins < 1 or np.isnan(array).any():
        raise UserError(f"equal_bins: expected defined values and at least 1 bin, received {bins!r}")
    return np.searchsorted(np.quantile(array, np.arange(1, bins) / bins), array, side="left") if len(array) else array


def _signals(
    values: Values,
    wrong: np.ndarray,
    rate: np.ndarray,
    over: Over,
    clusters: np.ndarray,
    strata: np.ndarray,
    lower_is_better: Collection[str],
    level: float,
    draws: int,
    seed: int,
) -> dict[str, Signal]:
    check(level, draws)
    known, found = ~np.isnan(wrong), {}
    comparisons: dict[str, Concordance] = {}
    for name, column in values.items():
        x = column_of(name, column, len(wrong))
        lower = name in lower_is_better or statistic_of(name) in lower_is_better
        there = known & ~np.isnan(x)
        part = x[there], wrong[there] == 0, clusters[there], strata[there]
        comparisons[name] = compared = Concordance.from_values(-part[0] if lower else part[0], *part[1:])
        undefined = int((~there).sum())
        ranked = there & ~np.isnan(rate)
        found[name] = Signal(
            statistic=name,
            better="lower" if lower else "higher",
            informativeness=_informativeness(*part, compared, undefined, level, draws, seed),
            auroc=compared.estimate(level, undefined),
            spearman=rank_correlation_within(
                x[ranked],
                rate[ranked],
                clusters[ranked],
                strata[ranked],
                level=level,
                n_undefined=int((~ranked).sum()),
            ),
            n_right=compared.n_right,
            n_wrong=compared.n_wrong,
            over=over,
            p_chance=compared.p_value(CHANCE),
            p_useful=compared.p_value(USEFUL),
            verdict=Verdict.UNDEFINED,
            needed=None,
        )
    sizes = {name: (one.n_compared, one.n_clusters) for name, one in comparisons.items()}
    plain = [{name: getattr(one, field) for name, one in found.items()} for field in ("p_chance", "p_useful")]
    adjusted, needed = [holm(p) for p in plain], [utterances_needed(p, sizes, 1 - level) for p in plain]
    return {name: _judged(one, *(p[name] for p in adjusted), *(n[name] for n in needed)) for name, one in found.items()}


def _judged(signal: Signal, p_chance: float, p_useful: float, for_chance: float, for_useful: float) -> Signal:
    verdict, auroc = verdict_of(signal.auroc, p_chance, p_useful), signal.auroc.value
    enough = min(for_chance if auroc > CHANCE else math.inf, for_useful if auroc < USEFUL else math.inf)
    needed = int(enough) if verdict is Verdict.UNDECIDED and math.isfinite(enough) else None
    return replace(signal, p_chance=p_chance, p_useful=p_useful, verdict=verdict, needed=needed)


def _informativeness(
    x: np.ndarray,
    right: np.ndarray,
    clusters: np.ndarray,
    strata: np.ndarray,
    compared: Concordance,
    n_undefined: int,
    level: float,
    draws: int,
    seed: int,
) -> Estimate:
    """Mean over right − mean over wrong. In strata each counts as often as it is compared: as there are others."""
    others = np.zeros(len(x))
    for side in (right, ~right):
        others[side] = np.bincount(strata[~side], minlength=strata.max(initial=0) + 1)[strata[side]]
    table = np.zeros((2, clusters.max(initial=-1) + 1, 1, 2))
    for number, side in enumerate((right, ~right)):
        side = side & (others > 0)
        np.add.at(table[0, :, 0, number], clusters[side], others[side] * x[side])
        np.add.at(table[1, :, 0, number], clusters[side], others[side])
    kept = table[:, (table[1] > 0).any((1, 2))]
    (found,) = studentized(kept[0], kept[1], (1.0, -1.0), level=level, draws=draws, seed=seed)
    return replace(
        found, n_positions=compared.n_compared, n_groups=compared.n_clusters, n_undefined=n_undefined, level=level
    )
