"""Bounds of the KL on the union of both supports, with all tokens outside it as one more token."""

from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.bounds.extremes import Bounds, forward, positive, solve


@dataclass(frozen=True, eq=False)
class UnionAndRest:
    """Tokens of S∪T, those that the server returned and those of S that it did not, and all others together.

    Attributes:
        low: ``[n, m]`` least probability of the returned tokens of the union, 0 in other slots.
        high: ``[n, m]`` their greatest.
        log_p: ``[n, m]`` the student's log-probabilities, −inf in other slots.
        other: ``[n, k]`` the student's log-probabilities of the hidden tokens of S, −inf in unused slots.
        cap: ``[n]``, of each hidden token.
        rest: two ``[n]``, the least and the greatest probability outside the union.
        log_rest: ``[n]`` the student's log-probability outside it.
        unknown: ``[n]`` bool, T has members that are not known.
        defined: ``[n]`` bool, the union may hold a token.
    """

    low: Tensor
    high: Tensor
    log_p: Tensor
    other: Tensor
    cap: Tensor
    rest: Bounds
    log_rest: Tensor
    unknown: Tensor
    defined: Tensor

    def bounds(self) -> Bounds:
        """Return bounds in nats, ``[n]`` each, both attained where each returned probability is a point and T is known.

        The divergence is convex: least at q = clip(λ·p, low, high), greatest at a corner, where the tokens that the
        student finds least likely are at the cap. Unknown members of T count as part of the rest at the lower bound,
        because a coarser partition has a smaller divergence; the upper bound is then +inf.
        """
        low = self._least().clamp_min(0.0)
        high = torch.where(self.unknown, torch.inf, torch.maximum(self._most(), low))
        return low.masked_fill(~self.defined, torch.nan), high.masked_fill(~self.defined, torch.nan)

    def _least(self) -> Tensor:
        p, other, rest = positive(self.log_p), positive(self.other), positive(self.log_rest)

        def parts(ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return (
                (ratio[:, None] * p).clamp(self.low, self.high),
                torch.minimum(ratio[:, None] * other, self.cap[:, None]),
                (ratio * rest).clamp(*self.rest),
            )

        ratio = solve(lambda x: sum((q.reshape(len(q), -1).sum(-1) for q in parts(x)), torch.zeros_like(x)), self.one)
        returned, hidden, outside = parts(ratio)
        terms = forward(self.log_p, returned).sum(-1) + forward(self.other, hidden).sum(-1)
        return terms + forward(self.log_rest, outside)

    @property
    def one(self) -> Tensor:
        """``[n]`` ones."""
        return torch.ones_like(self.cap)

    def _most(self) -> Tensor:
        other = torch.where(self.other > -torch.inf, self.other, torch.inf).sort(dim=-1).values
        used, cap = other < torch.inf, self.cap[:, None]
        full = torch.where(used, forward(torch.where(used, other, 0.0), cap.expand_as(other)), 0.0)
        full = torch.nn.functional.pad(full.cumsum(-1), (1, 0))  # of the first 0, 1, 2, … tokens at the cap
        counts = torch.arange(full.shape[-1], device=cap.device).expand_as(full)
        possible, taken = counts <= used.sum(-1, keepdim=True), counts * cap
        following = torch.nn.functional.pad(other, (0, 1), value=torch.inf)
        least, most = (end[:, None] for end in self.rest)
        log_rest, best = self.log_rest[:, None].expand_as(full), torch.full_like(self.cap, -torch.inf)
        slack = 2e-12  # allows for rounding of the sums, and for intervals that are a point
        # At a corner all tokens but one are at a bound, and that one makes the sum 1: the rest, a hidden token or a
        # returned one (the three loops). The worst case of each returned token is taken separately, so their sum has
        # two bounds.
        for returned in (self.high.sum(-1, keepdim=True), self.low.sum(-1, keepdim=True)):
            left = (1.0 - returned).clamp_min(0.0) - taken
            fits = possible & (left >= least - slack) & (left <= most + slack)
            values = full + forward(log_rest, torch.minimum(torch.maximum(left, least), most))
            best = torch.maximum(best, torch.where(fits, values, -torch.inf).amax(-1))
            for end in (least, most):
                part = left - end
                fits = possible & (part >= -slack) & (part <= cap + slack) & (following < torch.inf)
                part = part.clamp_min(0.0)
                more = forward(torch.where(following < torch.inf, following, 0.0), part)
                values = full + more + forward(log_rest, end.expand_as(full))
                best = torch.maximum(best, torch.where(fits, values, -torch.inf).amax(-1))
        room = 1.0 - self.high.sum(-1, keepdim=True) - slack, 1.0 - self.low.sum(-1, keepdim=True) + slack
        for end in (least, most):  # between what the returned tokens may leave
            fits = possible & (taken + end >= room[0]) & (taken + end <= room[1])
            values = full + forward(log_rest, end.expand_as(full))
            best = torch.maximum(best, torch.where(fits, values, -torch.inf).amax(-1))
        ends = torch.maximum(forward(self.log_p, self.low), forward(self.log_p, self.high)).sum(-1)
        return ends + best
