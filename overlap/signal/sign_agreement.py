"""Does the teacher prefer, among the rollouts of an utterance, those with fewer errors?"""

from dataclasses import dataclass, replace

import numpy as np

from overlap.estimates.bootstrap import DRAWS, unseen_share
from overlap.estimates.clusters import Over
from overlap.estimates.estimate import Estimate
from overlap.estimates.sequences import utterance_estimates
from overlap.signal.columns import Column, Names, clusters_of, column_of, error_rates, numbered

_NO_DIFFERENCE = 1e-9  # of the largest magnitude in the utterance: what rounding leaves of a difference of 0


@dataclass(frozen=True)
class SignAgreement:
    """Share of rollouts where teacher and errors agree on whether it is better than its utterance's mean.

    Attributes:
        estimate: the share; ``n_undefined`` counts all rollouts that are left out.
        over: what its interval is over.
        n_ties: rollouts left out because either difference from the mean is 0.
        n_single: those left out because their utterance has no other.
        n_undefined: those left out because a value of their utterance is undefined or infinite.
    """

    estimate: Estimate
    over: Over
    n_ties: int
    n_single: int
    n_undefined: int


def sign_agreement(
    log_ratios: Column,
    *,
    utterances: Names,
    errors: Column,
    words: Column,
    speakers: Names | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> SignAgreement:
    """How often the sign of a rollout's advantage is that of its accuracy, both relative to its utterance.

    Of each rollout, D = Σ_t (log q(y_t) − log p(y_t)) less the mean of D over the utterance's rollouts, against the
    mean error rate of these less its own. Without the centering the sum's sign is nearly always minus, for its
    expectation under the student is −Σ KL(p‖q). A sequence-level relative of arXiv 2606.09304 and 2608.27960, from
    notes.

    Args:
        log_ratios: ``[rollouts]`` D.
        utterances: name or number of the utterance of each rollout; utterances need two rollouts that were sampled.
        errors: word errors of each rollout.
        words: words of its reference.
        speakers: name of the speaker of each rollout; the interval is over speakers by the rule of
            `overlap.estimates.clusters.resampled`, else over utterances.
        level: coverage of the interval.
        draws: bootstrap resamples.
        seed: of the resampling.

    Raises:
        UserError: if lengths differ, counts are negative, or level or draws is out of range.
    """
    _, rate = error_rates(errors, words)
    n = len(rate)
    own = numbered("utterances", utterances, n)
    over, clusters = clusters_of(speakers, own)
    advantage, advantage_tied = _centered(column_of("log_ratios", log_ratios, n), own)
    accuracy, accuracy_tied = _centered(-rate, own)
    single = np.bincount(own)[own] < 2
    undefined = (np.isnan(advantage) | np.isnan(accuracy)) & ~single
    tied = (advantage_tied | accuracy_tied) & ~single & ~undefined
    agrees = np.where(single | undefined | tied, np.nan, (advantage > 0) == (accuracy > 0))
    found = utterance_estimates({"agrees": agrees}, clusters.tolist(), level=level, draws=draws, seed=seed)["agrees"]
    if found.standard_error == 0:
        # The rollouts of an utterance agree together, so that each cluster is worth one position.
        share = unseen_share(found.n_groups, found.n_groups, level)
        found = replace(found, low=found.value * (1 - share), high=found.value + share * (1 - found.value))
    found = replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
    return SignAgreement(found, over, int(tied.sum()), int(single.sum()), int(undefined.sum()))


def _centered(values: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value less the mean of its utterance, NaN unless all are finite; and whether the difference is 0."""
    counts = np.bincount(own)
    finite = np.bincount(own, ~np.isfinite(values)) == 0
    kept = np.where(finite[own], values, 0.0)
    centered = kept - (np.bincount(own, kept) / counts)[own]
    largest = np.zeros(len(counts))
    np.maximum.at(largest, own, np.abs(kept))
    return np.where(finite[own], centered, np.nan), np.abs(centered) <= _NO_DIFFERENCE * largest[own]
