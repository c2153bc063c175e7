"""Is a confidence of 0.9 right nine times of ten? Calibration with intervals over utterances."""

from dataclasses import dataclass, replace

import numpy as np

from overlap.calibration.outcomes import Outcomes
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, check
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate

BINS = 10
CLIP = 1e-6
CERTAIN = 0.9
_WORLDS = 200  # simulated under perfect calibration
_NO_GAP = 1e-12  # share of all: a bin's gap that rounding may have left of 0, whose sign must not depend on the order


@dataclass(frozen=True)
class ReliabilityBin:
    """One row of a reliability diagram.

    Attributes:
        low: lower edge; confidences of this bin are above it, those of the first bin at least it.
        high: upper edge, included.
        confidence: mean confidence.
        accuracy: share that is right, with its interval; its counts are those of the bin.
    """

    low: float
    high: float
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class Calibration:
    """How far confidences c and outcomes y agree, over N tokens or words.

    Attributes:
        ece: expected calibration error, Σ_b n_b/N · |accuracy_b − confidence_b| over equal-mass bins. It is biased
            upward, and its interval is that of its own expectation at this N, not of the error without bias.
        ece_if_calibrated: the mean ECE at these confidences and bins if they were perfectly calibrated and tokens
            independent; it is larger if the errors of an utterance come together. An ECE near it shows nothing.
        brier: mean of (c − y)².
        nce: normalized cross-entropy, (H − CE) / H: 1 for certainty that is always right, 0 for the accuracy as the
            confidence of all, negative for worse. NaN where all are right or all are wrong.
        overconfident_wrong: share of all with c above `certain` and wrong.
        accuracy: share that is right.
        confidence: mean confidence.
        diagram: the bins in order.
        bins: how many were asked for; there are fewer where confidences are equal.
        clip: c is taken as at least this and at most 1 − this in the NCE.
        certain: confidence above which a token is one that the model is certain of.
    """

    ece: Estimate
    ece_if_calibrated: float
    brier: Estimate
    nce: Estimate
    overconfident_wrong: Estimate
    accuracy: Estimate
    confidence: Estimate
    diagram: tuple[ReliabilityBin, ...]
    bins: int
    clip: float
    certain: float

    def estimates(self) -> dict[str, Estimate]:
        """The estimates by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Estimate)}


def calibration(
    outcomes: Outcomes,
    *,
    bins: int = BINS,
    clip: float = CLIP,
    certain: float = CERTAIN,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Calibration:
    """Measure the calibration of confidences.

    Intervals are those of `overlap.estimates.summary.estimate` over groups. ECE and NCE are no means, so theirs are
    those of their linear approximations: of the ECE with the sign of each bin's gap as observed, of the NCE with the
    slope of H and CE. They cover as they say, more where calibration is perfect, for then signs are chance
    (`tests/overlap/calibration/test_calibration_coverage.py`).

    Sources: ECE with equal-mass bins, Nguyen & O'Connor 2015 and Nixon et al. 2019 (arXiv 1904.01685); Brier 1950; NCE,
    Siu et al. 1997, as in NIST's evaluations. On-policy distillation makes students overconfident (arXiv 2604.16830),
    and so is Whisper (arXiv 2509.07195).

    Args:
        outcomes: confidences, whether they are right, and the groups to resample; those with either undefined are left
            out and counted.
        bins: B bins of equal mass: quantiles of the confidences are their edges, equal confidences are in one bin.
        clip: of the NCE, between 0 and ½.
        certain: a confidence between 0 and 1.
        level: coverage of the intervals.
        draws: bootstrap resamples.
        seed: of the resampling, and of the simulation of perfect calibration.

    Raises:
        UserError: if a setting is out of range.

    Example:
        >>> outcomes = Outcomes(np.array([0.9, 0.8, 0.95, 0.6]), np.array([1, 0, 0, 1]), np.arange(4))
        >>> found = calibration(outcomes, bins=2)
        >>> round(found.ece.value, 4), found.overconfident_wrong.value
        (0.3125, 0.25)
    """
    check(level, draws)
    if bins < 1 or not 0 < clip < 0.5 or not 0 <= certain < 1:
        raise UserError(
            "calibration: expected bins of at least 1, clip between 0 and 0.5 and certain from 0 to below 1, received "
            f"{bins!r}, {clip!r} and {certain!r}"
        )
    kept = ~(np.isnan(outcomes.confidence) | np.isnan(outcomes.correct))
    undefined = int((~kept).sum())
    c, y, groups = outcomes.confidence[kept], outcomes.correct[kept], outcomes.groups[kept]
    edges, member = equal_mass_bins(c, bins)
    gaps = np.bincount(member, y - c, minlength=bins)
    shares = {
        "ece": np.where(gaps < -_NO_GAP * len(c), -1.0, 1.0)[member] * (y - c),
        "brier": np.square(c - y),
        "overconfident_wrong": (c > certain) & (y == 0),
        "accuracy": y,
        "confidence": c,
    }
    options = {"level": level, "draws": draws, "seed": seed}
    found = estimate(GroupSums.from_values(shares, groups), limits=(0.0, 1.0), **options)
    scored = GroupSums.from_values({"nce": _nce_parts(c, y, clip)}, groups)
    found |= estimate(scored, limits=(-np.inf, 1.0), **options)
    found = {name: replace(one, n_undefined=one.n_undefined + undefined) for name, one in found.items()}
    return Calibration(
        **found,
        ece_if_calibrated=_ece_if_calibrated(c, member, bins, seed),
        diagram=_diagram(c, y, groups, edges, member, options),
        bins=bins,
        clip=clip,
        certain=certain,
    )


def equal_mass_bins(confidence: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges ``[bins + 1]`` and the bin of each confidence ``[N]``; bin b holds what is above edge b up to edge b + 1.

    Args:
        confidence: ``[N]`` defined numbers.
        bins: B.
    """
    if not len(confidence):
        return np.full(bins + 1, np.nan), np.zeros(0, dtype=np.int64)
    edges = np.percentile(confidence, 100 * np.linspace(0, 1, bins + 1))  # rounded as in scikit-learn
    return edges, np.searchsorted(edges[1:-1], confidence, side="left")


def _nce_parts(c: np.ndarray, y: np.ndarray, clip: float) -> np.ndarray:
    """NCE plus each one's influence on it ``[N]``, whose mean is the NCE; NaN where it is undefined."""
    accuracy = y.mean() if len(y) else np.nan
    if not 0 < accuracy < 1:
        return np.full(len(y), np.nan)
    held = np.clip(c, clip, 1 - clip)
    losses = -np.where(y == 1, np.log(held), np.log1p(-held))
    odds = np.log1p(-accuracy) - np.log(accuracy)  # dH / d accuracy
    entropy = -(accuracy * np.log(accuracy) + (1 - accuracy) * np.log1p(-accuracy))
    mean = losses.mean()
    return 1 - losses / entropy + mean / entropy**2 * odds * (y - accuracy)


def _ece_if_calibrated(c: np.ndarray, member: np.ndarray, bins: int, seed: int) -> float:
    """Mean ECE of outcomes that are right with the probability that the confidence says."""
    if not len(c):
        return np.nan
    generator, total = np.random.default_rng(seed), 0.0
    for _ in range(_WORLDS):
        gaps = np.bincount(member, (generator.random(len(c)) < c) - c, minlength=bins)
        total += np.abs(gaps).sum() / len(c)
    return total / _WORLDS


def _diagram(
    c: np.ndarray, y: np.ndarray, groups: np.ndarray, edges: np.ndarray, member: np.ndarray, options: dict
) -> tuple[ReliabilityBin, ...]:
    filled = np.unique(member)
    rows = {str(number): np.where(member == number, y, np.nan) for number in filled}
    found = estimate(GroupSums.from_values(rows, groups), limits=(0.0, 1.0), **options)
    return tuple(
        ReliabilityBin(
            float(edges[number]),
            float(edges[number + 1]),
            float(c[member == number].mean()),
            replace(found[str(number)], n_undefined=0),
        )
        for number in filled
    )
