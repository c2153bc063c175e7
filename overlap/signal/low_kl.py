"""Stretches of a rollout where student and teacher agree for long: what a loop looks like that the teacher follows."""

from dataclasses import dataclass

import numpy as np

from overlap.errors import UserError


@dataclass(frozen=True)
class LowKlSettings:
    """Constants of `low_kl_runs`. They are ours: only the abstract of arXiv 2606.09471 could be had.

    Attributes:
        window: positions that a windowed KL is the mean of. A transcript wants 8 to 16.
        share: the quantile of earlier windowed KLs that counts as low.
        patience: consecutive windowed KLs below it that make a run.
        history: most recent windowed KLs that the quantile is taken of.
        least_history: fewest of these; before, there is no threshold and nothing is a run.
    """

    window: int = 8
    share: float = 0.1
    patience: int = 8
    history: int = 20_000
    least_history: int = 200

    def __post_init__(self) -> None:
        if min(self.window, self.patience, self.least_history) < 1 or self.history < self.least_history:
            raise UserError(
                "LowKlSettings: expected window, patience and least_history of at least 1 and a history of at least "
                f"least_history, received {self}"
            )
        if not 0 < self.share < 1:
            raise UserError(f"share: expected a quantile between 0 and 1, received {self.share!r}")


@dataclass(frozen=True, eq=False)
class LowKlRuns:
    """Runs of low KL in rollouts ``[B, L]``.

    Attributes:
        windowed: ``[B, L]`` mean KL of the window that ends at each position; NaN where it is not full.
        thresholds: ``[B]`` the quantile that each rollout is held against; NaN without enough history.
        in_run: ``[B, L]`` bool, positions at which a window of a run ends.
        starts: ``[B]`` position of the first such in each rollout, −1 where there is none.
        share: ``[B]`` share of a rollout's full windows that are in a run. NaN where there is no threshold, or where
            the rollout is too short for a run. Unlike whether there is a run, it does not grow with length alone.
        n_positions: ``[B]`` defined positions of each rollout.
        history: the windowed KLs that the next call continues from.
    """

    windowed: np.ndarray
    thresholds: np.ndarray
    in_run: np.ndarray
    starts: np.ndarray
    share: np.ndarray
    n_positions: np.ndarray
    history: np.ndarray


def low_kl_runs(
    kl: np.ndarray, settings: LowKlSettings | None = None, *, history: np.ndarray | None = None
) -> LowKlRuns:
    """Find where a windowed KL stays below a running quantile for several positions.

    After arXiv 2606.09471 (its abstract: persistent low reverse KL in prefixes that cannot be recovered, with a dynamic
    threshold that adapts to training), constants ours; not a reproduction, and no claim that what follows a run is of
    less use. Rollouts are taken in their order, and each is held against the windows of those before it alone.

    Long rollouts have more room for a run, and their KL falls on its own, so control for length before you relate runs
    to errors: hand `share` to `overlap.signal.utterance_signal` with ``strata=equal_bins(n_positions, bins)``, which
    compares rollouts of about one length alone.

    Args:
        kl: ``[B, L]`` reverse KL of each position, NaN where there is none; positions without one are passed over.
        settings: the constants.
        history: ``[n]`` windowed KLs of earlier rollouts, from `LowKlRuns.history`; none by default.

    Raises:
        UserError: if kl is not ``[B, L]``.
    """
    chosen = settings or LowKlSettings()
    values = np.asarray(kl, dtype=np.float64)
    if values.ndim != 2:
        raise UserError(f"kl: expected rollouts × positions [B, L], received shape {[*values.shape]}")
    past = np.zeros(0) if history is None else np.asarray(history, dtype=np.float64)
    n, length = values.shape
    windowed, in_run = np.full((n, length), np.nan), np.zeros((n, length), dtype=bool)
    thresholds, share, starts = np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1)
    defined = ~np.isnan(values)
    for row in range(n):
        at = np.flatnonzero(defined[row])
        means = _moving_mean(values[row, at], chosen.window)
        ends = at[chosen.window - 1 :]
        windowed[row, ends] = means
        if len(past) >= chosen.least_history:
            thresholds[row] = np.quantile(past, chosen.share)
            low = _lasting(means < thresholds[row], chosen.patience)
            in_run[row, ends] = low
            starts[row] = ends[low.argmax()] if low.any() else -1
            share[row] = low.mean() if len(means) >= chosen.patience else np.nan
        past = np.concatenate([past, means])[-chosen.history :]
    return LowKlRuns(windowed, thresholds, in_run, starts, share, defined.sum(1), past)


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    if len(values) < window:
        return np.zeros(0)
    return np.lib.stride_tricks.sliding_window_view(values, window).mean(1)


def _lasting(low: np.ndarray, patience: int) -> np.ndarray:
    """Members of a sequence of at least `patience` consecutive True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]])))
    kept = np.zeros(len(low), dtype=bool)
    for start, end in edges.reshape(-1, 2):
        kept[start:end] = end - start >= patience
    return kept
