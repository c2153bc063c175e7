"""Position funnel: every position is counted in exactly one bin between the rollout and the loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.arguments import whole_number
from overlap.errors import UserError
from overlap.estimates.table_formatting import html_table, text_table

BINS = ("empty_rollout", "blocked", "misaligned", "truncated", "refused", "low_support", "used")
"""In order: a position belongs to the first bin that applies. `low_support` means fewer than 2 union tokens,
`refused` a rollout that a step refuses to train on.

Training may leave out `empty_rollout`, `truncated` and `refused` positions. A probe uses them: they are states that the
student visits, and `Funnel.used_unfinished` counts those of rollouts that did not end."""
OF_TRAINING = ("empty_rollout", "truncated", "refused")
"""Bins that a probe never fills; they are printed only if they have positions."""
NO_POSITION = -1
"""Value for an element that is not a position (padding)."""


@dataclass(frozen=True)
class Funnel:
    """Number of positions in each bin.

    Attributes:
        counts: positions by bin, all of `BINS` in order; bins left out when constructing are 0.
        used_unfinished: how many of the used positions are of rollouts that did not end by themselves.
    """

    counts: dict[str, int]
    used_unfinished: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.counts if name not in BINS]
        if unknown:
            raise UserError(f"funnel: unknown bins {unknown}; the bins are {', '.join(BINS)}")
        given = {**self.counts, "used_unfinished": self.used_unfinished}
        found = {name: n for name, one in given.items() if (n := whole_number(one)) is not None}
        wrong = {name: n for name, n in given.items() if name not in found or (name in BINS and found[name] < 0)}
        if wrong:
            raise UserError(f"funnel: expected whole numbers of at least 0, received {wrong}")
        object.__setattr__(self, "used_unfinished", found.pop("used_unfinished"))
        object.__setattr__(self, "counts", {name: found.get(name, 0) for name in BINS})
        if not 0 <= self.used_unfinished <= self.counts["used"]:
            raise UserError(
                f"funnel: expected at most as many unfinished as used positions, received {self.used_unfinished} of "
                f"{self.counts['used']}"
            )

    @classmethod
    def empty(cls) -> "Funnel":
        """Return a funnel without positions."""
        return cls({})

    @property
    def total(self) -> int:
        """All positions."""
        return sum(self.counts.values())

    def share(self, name: str) -> float:
        """Return the share of the positions in a bin; NaN when there are none at all."""
        return self.counts[name] / self.total if self.total else math.nan

    @property
    def unfinished_share(self) -> float:
        """Share of the used positions that are of rollouts that did not end; NaN where none is used."""
        return self.used_unfinished / self.counts["used"] if self.counts["used"] else math.nan

    def __getitem__(self, name: str) -> int:
        return self.counts[name]

    def __add__(self, other: "Funnel") -> "Funnel":
        counts = {name: self.counts[name] + other.counts[name] for name in BINS}
        return Funnel(counts, self.used_unfinished + other.used_unfinished)

    def to_dict(self) -> dict[str, int]:
        """Return counts by bin, in order, and `used_unfinished`."""
        return {**self.counts, "used_unfinished": self.used_unfinished}

    @classmethod
    def from_dict(cls, tree: Mapping[str, int]) -> "Funnel":
        """Return the inverse of `to_dict`.

        Raises:
            UserError: on an unknown bin or a number that is no count.
        """
        counts = dict(tree)
        unfinished = counts.pop("used_unfinished", 0)
        return cls(counts, unfinished)

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        printed = {name: n for name, n in self.counts.items() if n or name not in OF_TRAINING}
        rows = [[name, f"{n:,}", _percent(self.share(name))] for name, n in printed.items()]
        rows.append(["  unfinished", f"{self.used_unfinished:,}", _percent(self.unfinished_share) + " of used"])
        rows.append(["total", f"{self.total:,}", _percent(1.0 if self.total else math.nan)])
        return ["bin", "positions", "share"], rows

    def __str__(self) -> str:
        return text_table(*self._rows())

    def _repr_html_(self) -> str:
        return html_table(*self._rows())


def assign_bins(positions: Tensor, reasons: Mapping[str, Tensor]) -> Tensor:
    """Put every position in the first bin whose reason applies.

    Args:
        positions: ``[...]`` bool, True where there is a position to account for.
        reasons: bool masks by bin, broadcastable to the positions; a bin without a mask is empty. With a mask for
            ``used`` the caller states which positions were used, and it must be the rest exactly.

    Returns:
        ``[...]`` int8, index into `BINS`; `NO_POSITION` where there is no position.

    Raises:
        UserError: on an unknown bin, a mask that is not boolean or does not fit, or if the bins would not add up to
        the positions.
    """
    _check_mask("positions", positions, positions.shape)
    unknown = [name for name in reasons if name not in BINS]
    if unknown:
        raise UserError(f"reasons: unknown bins {unknown}; the bins are {', '.join(BINS)}")
    bins = torch.full(positions.shape, NO_POSITION, dtype=torch.int8, device=positions.device)
    for number, name in enumerate(BINS[:-1]):
        if name in reasons:
            _check_mask(name, reasons[name], positions.shape)
            bins[positions & (bins == NO_POSITION) & reasons[name]] = number
    rest = positions & (bins == NO_POSITION)
    if "used" in reasons:
        _check_mask("used", reasons["used"], positions.shape)
        used = reasons["used"].expand(positions.shape)
        lost, twice = int((rest & ~used).sum()), int((used & ~rest).sum())
        if lost or twice:
            raise UserError(
                f"used: the bins do not add up to the {int(positions.sum())} positions: {lost} have no reason and "
                f"are not used, {twice} are used but have a reason or are no position; "
                "give each dropped position its reason"
            )
    bins[rest] = BINS.index("used")
    return bins


def account(
    positions: Tensor, reasons: Mapping[str, Tensor], *, unfinished: Tensor | None = None
) -> tuple[Funnel, Tensor]:
    """Count positions by bin.

    Args:
        positions: ``[...]`` bool, True where there is a position to account for.
        reasons: bool masks by bin, see `assign_bins`.
        unfinished: bool mask that broadcasts to the positions, True at those of rollouts that did not end by
            themselves.

    Returns:
        The funnel, whose total is the number of positions, and the ``[...]`` bool mask of the used ones.

    Raises:
        UserError: as `assign_bins`.
    """
    bins = assign_bins(positions, reasons)
    counts = torch.bincount(bins[positions].long(), minlength=len(BINS)).tolist()
    used, of_unfinished = bins == BINS.index("used"), 0
    if unfinished is not None:
        _check_mask("unfinished", unfinished, positions.shape)
        of_unfinished = int((used & unfinished).sum())
    funnel = Funnel(dict(zip(BINS, counts, strict=True)), of_unfinished)
    assert funnel.total == int(positions.sum())
    return funnel, used


def _check_mask(name: str, mask: Tensor, shape: torch.Size) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        received = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise UserError(f"{name}: expected a torch.bool mask, received {received}")
    axes = zip(reversed(mask.shape), reversed(shape), strict=False)
    if mask.ndim > len(shape) or any(mine not in (1, wanted) for mine, wanted in axes):
        raise UserError(f"{name}: expected a mask that broadcasts to {list(shape)}, received {list(mask.shape)}")


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.2%}"
