"""Several seeds on one test set: runs and utterances are crossed random factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS, check
from overlap.estimates.estimate import Estimate

from ..run.checks import numbers

SeedMethod = Literal["t", "bootstrap"]
SEED_METHODS: tuple[SeedMethod, ...] = ("t", "bootstrap")


@dataclass(frozen=True)
class OverSeeds:
    """A mean over seeds, or a difference of two, and how it was tested.

    Attributes:
        estimate: Its error is with respect to other seeds and other utterances, from variance components (`t`) or as
            the bootstrap's standard deviation; no interval with fewer than two seeds or clusters. `n_groups` counts
            utterances, or speakers, `n_positions` words.
        p_value: Of a value of 0; NaN for the bootstrap.
        df: Degrees of freedom of `t`; NaN for the bootstrap.
        n_seeds: Runs, of each side.
        method: `t` or `bootstrap`.
    """

    estimate: Estimate
    p_value: float
    df: float
    n_seeds: tuple[int, ...]
    method: str


@dataclass(frozen=True, eq=False)
class Side:
    """Errors of the runs of one recipe.

    Attributes:
        errors: `[S, G]` of each run (seed) in each cluster (utterance).
        sign: Its weight: 1, or −1 if it is subtracted.
    """

    errors: np.ndarray
    sign: float = 1.0


def over_seeds(
    sides: Sequence[Side],
    totals: np.ndarray,
    *,
    method: SeedMethod = "t",
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> OverSeeds:
    """Return the mean error rate over seeds, or the difference of two, with an interval over both seeds and utterances.

    All runs transcribe the same utterances. Resampling utterances within each seed, as for nested data, would ignore
    this and make intervals far too short; so would a t-interval over the seeds' rates.

    * `t`: variance components of the two-factor layout, (MS_seeds + MS_utterances − MS_rest) / (S G), never less than
      the larger of the first two alone, with Satterthwaite's degrees of freedom. This is the analysis of several
      readers on several cases (Dorfman, Berbaum & Metz 1992; Hillis 2007). It keeps its coverage with three seeds.
    * `bootstrap`: seeds and utterances drawn with replacement independently of one another (Owen 2007), percentiles.
      Slightly too wide if seeds do not matter, too short if they matter most and are few.

    Args:
        sides: One, or two with opposite signs.
        totals: `[G]` words of each cluster's references.
        method: See above.
        level: Coverage.
        draws: Resamples of the bootstrap.
        seed: Of the resampling.

    Raises:
        UserError: No sides, no numbers, shapes differ, or a setting is out of range.
    """
    check(level, draws)
    if method not in SEED_METHODS:
        raise UserError(f"method: expected one of {', '.join(SEED_METHODS)}, received {method!r}")
    w = numbers(totals, "totals", "[9, 7]")
    if not isinstance(sides, list | tuple) or not all(isinstance(side, Side) for side in sides):
        raise UserError(f"sides: expected a list of Side, such as [Side([[2, 1], [0, 3]])], received {_name(sides)}")
    runs = [numbers(side.errors, "sides", "[Side([[2, 1], [0, 3]])]") for side in sides]
    for errors in runs:
        if errors.ndim != 2 or errors.shape[1:] != w.shape:
            raise UserError(f"expected errors [seeds, {len(w)} clusters], received {list(errors.shape)}")
    signs = [side.sign for side in sides]
    n_seeds, groups, nan = tuple(len(errors) for errors in runs), len(w), math.nan

    def found(value: float, error: float, low: float, high: float, p: float = nan, df: float = nan) -> OverSeeds:
        return OverSeeds(Estimate(value, error, low, high, int(w.sum()), groups, level=level), p, df, n_seeds, method)

    if not w.sum() > 0 or not all(n_seeds):
        return found(nan, nan, nan, nan)
    value = float(sum(sign * errors.sum() / (len(errors) * w.sum()) for sign, errors in zip(signs, runs, strict=True)))
    if min(n_seeds) < 2 or groups < 2:
        return found(value, nan, nan, nan)
    if method == "bootstrap":
        drawn = _resampled(runs, signs, w, draws, seed)
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        return found(value, float(drawn.std(ddof=1)), float(low), float(high))
    variance, df = _components(runs, signs, w)
    if not variance > 0:
        return found(value, 0.0, nan, nan)
    error = math.sqrt(variance)
    reach, p = float(stats.t.ppf((1 + level) / 2, df)) * error, float(2 * stats.t.sf(abs(value) / error, df))
    return found(value, error, value - reach, value + reach, p, df)


def _name(value: object) -> str:
    kinds = {type(one).__name__ for one in value} if isinstance(value, list | tuple) else set()
    return f"a {type(value).__name__}{' of ' if kinds else ''}{' and '.join(sorted(kinds))}"


def _components(runs: Sequence[np.ndarray], signs: Sequence[float], w: np.ndarray) -> tuple[float, float]:
    """Return the variance of the estimate, and its degrees of freedom."""
    groups, clusters, seeds, rest = len(w), np.zeros(len(w)), [], []
    for errors, sign in zip(runs, signs, strict=True):
        s = len(errors)
        z = (errors - errors.sum() / (s * w.sum()) * w) / w.mean()
        clusters = clusters + sign * z.mean(0)
        left = z - z.mean(1, keepdims=True) - z.mean(0)  # the mean of z is 0
        seeds.append((z.mean(1).var(ddof=1) / s, s - 1))
        rest.append(((left**2).sum() / ((s - 1) * (groups - 1)) / (s * groups), (s - 1) * (groups - 1)))
    shared = (clusters.var(ddof=1) / groups, groups - 1)
    between, within = sum(part for part, _ in seeds), sum(part for part, _ in rest)
    parts = [*seeds, shared, *rest]
    variance = between + shared[0] - within
    if variance < max(between, shared[0]):  # the rest was overestimated by chance
        variance, parts = max((between, seeds), (shared[0], [shared]), key=lambda part: part[0])
    spread = sum(part**2 / df for part, df in parts)
    return float(variance), float(variance**2 / spread) if spread else math.nan


def _resampled(runs: Sequence[np.ndarray], signs: Sequence[float], w: np.ndarray, draws: int, seed: int) -> np.ndarray:
    generator, groups = np.random.default_rng(seed), len(w)
    times = generator.multinomial(groups, np.full(groups, 1 / groups), size=draws).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = times @ w
        drawn = np.zeros(draws)
        for errors, sign in zip(runs, signs, strict=True):
            s = len(errors)
            chosen = generator.multinomial(s, np.full(s, 1 / s), size=draws) / s
            drawn += sign * (chosen * (times @ errors.T)).sum(1) / total
    return drawn
