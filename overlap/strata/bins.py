"""Labels by number: position within the utterance, and length of the utterance."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from overlap.arguments import whole_number
from overlap.errors import UserError
from overlap.estimates.group_sums import array_of
from overlap.strata.labels import NO_LABEL, Labels

POSITION_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)


def position_bins(rollout: Tensor | np.ndarray, edges: Sequence[int] = POSITION_EDGES) -> Labels:
    """Return absolute position: number of tokens before it in the utterance.

    Args:
        rollout: ``[..., L]`` bool, one utterance a row, True where it has a token. Pass the mask of the *rollout*:
            in a mask for `measure` that leaves out tokens in the middle, all later tokens would be counted at wrong
            positions.
        edges: first position of each bin, ascending; the last bin has no end.

    Returns:
        Labels named ``position``; unlabeled where the rollout is False, or before the first edge.

    Raises:
        UserError: if the mask is not boolean, or the edges do not ascend.
    """
    present = _check_rollout(rollout)
    return _binned("position", np.where(present, present.cumsum(-1) - 1, np.nan), edges, whole=True)


def relative_position_bins(rollout: Tensor | np.ndarray, n: int = 10) -> Labels:
    """Return relative position: the n-th part of the utterance that contains a token (deciles by default).

    A token is placed by its middle, (i + ½) / L, so that the bins of long utterances are symmetric and the only token
    of an utterance is in the middle.

    Args:
        rollout: as in `position_bins`.
        n: number of bins.

    Returns:
        Labels named ``relative_position``, with levels such as ``0–10 %``.

    Raises:
        UserError: if the mask is not boolean, or n is not a whole number from 1 to 100.
    """
    present = _check_rollout(rollout)
    if (whole := whole_number(n)) is None or not 1 <= whole <= 100:
        raise UserError(f"n: expected a whole number of bins from 1 to 100, received {n!r}")
    index, length = present.cumsum(-1) - 1, present.sum(-1, keepdims=True)
    codes = (2 * index + 1) * n // np.maximum(2 * length, 1)
    edges = [f"{100 * i / n:.3g}" for i in range(n + 1)]
    levels = tuple(f"{low}–{high} %" for low, high in pairwise(edges))
    return Labels("relative_position", levels, np.where(present, codes, NO_LABEL).astype(np.int32))


def length_bins(
    lengths: Tensor | np.ndarray | Sequence[float],
    n: int = 4,
    *,
    edges: Sequence[float] | None = None,
    name: str = "length",
) -> Labels:
    """Return the length of the utterance, in tokens or in seconds, by quantiles or by given edges.

    Args:
        lengths: ``[B]`` (or of any first axes) one number an utterance; NaN means no label.
        n: number of quantile bins; fewer where lengths repeat.
        edges: instead of quantiles, the smallest length of each bin, ascending; the last bin has no end. Needed to
            merge batches, which must have the same edges.
        name: of the column; include the unit (``"seconds"``, ``"tokens"``).

    Returns:
        Labels; a bin includes its lower edge, and lengths below the first edge are unlabeled. Quantile edges of
        fractional lengths are rounded to 0.01.

    Raises:
        UserError: if lengths are not numbers, n is not at least 1, or the edges do not ascend.
    """
    values = array_of(lengths if isinstance(lengths, Tensor) else np.asarray(lengths))
    if values.dtype.kind not in "iuf":
        raise UserError(f"{name}: expected one number for each utterance, received {values.dtype}")
    whole = values.dtype.kind in "iu"
    values = values.astype(np.float64)
    if edges is None:
        if (wanted := whole_number(n)) is None or wanted < 1:
            raise UserError(f"n: expected a whole number of bins of at least 1, received {n!r}")
        known = values[~np.isnan(values)]
        quantiles = np.quantile(known, np.arange(n) / n) if known.size else np.zeros(1)
        rounded = np.ceil(quantiles) if whole else np.round(quantiles, 2)
        rounded[0] = np.floor(100 * quantiles[0]) / 100
        edges = [float(edge) for edge in np.unique(rounded)]
    return _binned(name, values, edges, whole=whole)


def _check_rollout(rollout: Tensor | np.ndarray) -> np.ndarray:
    present = array_of(rollout)
    if present.dtype != np.bool_ or present.ndim == 0:
        raise UserError(
            "rollout: expected a bool mask [..., L] with one utterance a row, received "
            f"{present.dtype} of shape {list(present.shape)}"
        )
    return present


def _binned(name: str, values: np.ndarray, edges: Sequence[float], *, whole: bool) -> Labels:
    """Return bins from each edge to the next; values are NaN where there is none."""
    bounds = np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or not bounds.size or not (np.isfinite(bounds).all() and (np.diff(bounds) > 0).all()):
        raise UserError(f"edges: expected finite numbers in ascending order, at least one, received {edges!r}")
    codes = np.where(np.isnan(values), NO_LABEL, np.searchsorted(bounds, values, side="right") - 1)
    whole = whole and bool((bounds == bounds.round()).all())
    levels = [_range(low, high, whole) for low, high in pairwise(bounds.tolist())]
    return Labels(name, (*levels, f"{bounds[-1]:.10g}+"), codes.astype(np.int32))


def _range(low: Any, high: Any, whole: bool) -> str:
    last = high - 1 if whole else high
    return f"{low:.10g}" if last == low else f"{low:.10g}–{last:.10g}"
