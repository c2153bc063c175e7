"""Bounds of the KL on the union of both supports."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.bounds.extremes import Bounds, forward, solve
from overlap.core.divergence import kl_terms


@dataclass(frozen=True, eq=False)
class Union:
    """Tokens of S∪T: those that the server returned, and those of S that it did not.

    Attributes:
        log_q: ``[n, m]`` returned log-probabilities, −inf in slots that are not in the union.
        log_p: ``[n, m]`` the student's, of the same slots.
        other: ``[n, k]`` the student's log-probabilities of the hidden tokens, −inf in unused slots.
        cap: ``[n]``, of each hidden token.
        rest: two ``[n]``, the least and the greatest mass of these hidden tokens together.
        missing: ``[n]`` long, members of T that are unknown.
        missing_mass: ``[n]``, the largest mass that the missing members can have.
        growing: ``[n]`` bool, some of them may be in the student's vocabulary and not in S.
    """

    log_q: Tensor
    log_p: Tensor
    other: Tensor
    cap: Tensor
    rest: Bounds
    missing: Tensor
    missing_mass: Tensor
    growing: Tensor

    def bounds(self, tolerance: float) -> Bounds:
        """Return bounds of KL(q̄‖p̄), both renormalized on the union, in nats, ``[n]`` each.

        As a function of the hidden probabilities x it is quasi-convex: smallest at x = min(cap, λ·p), and largest at a
        corner where the student's least likely tokens are at the cap. Both bounds are attained when ``tolerance`` is 0
        and T is known. Scales cancel; blocked tokens do not loosen these bounds.

        A tolerance widens both bounds by the largest change that it can cause. If members of T are unknown, the lower
        bound is the share of the known part times its own bound (chain rule), and the upper bound is +inf.
        """
        q = self.log_q.exp()
        mass, weighted = q.sum(-1), kl_terms(q, self.log_q, self.log_p).sum(-1)
        log_total = torch.cat([torch.where(self.log_q > -torch.inf, self.log_p, -torch.inf), self.other], -1).logsumexp(
            -1
        )

        def divergence(x: Tensor, terms: Tensor) -> Tensor:
            """Return the divergence, from the mass of the hidden tokens and their Σ x log(x/p)."""
            total = mass.reshape(-1, *(1,) * (x.ndim - 1)) + x
            value = (weighted.reshape(-1, *(1,) * (x.ndim - 1)) + terms) / total - total.log()
            return value + log_total.reshape(-1, *(1,) * (x.ndim - 1))

        low = self._least(mass, weighted, divergence).clamp_min(0.0)
        high = torch.maximum(self._most(divergence), low)
        # The known part may be empty. Any distribution on S is then possible; the worst has all mass on one token.
        some = (self.other > -torch.inf).any(-1)
        single = log_total - torch.where(self.other > -torch.inf, self.other, torch.inf).amin(-1)
        low, high = torch.where(mass > 0, low, 0.0), torch.where(mass > 0, high, single)
        low, high = (torch.where(weighted.isinf(), torch.inf, end) for end in (low, high))
        low = (low - _shift(low, tolerance)).clamp_min(0.0)
        high = high + _shift(high, tolerance)
        share = mass / (mass + self.missing_mass).clamp_min(torch.finfo(mass.dtype).tiny)
        low = torch.where(self.missing > 0, torch.where(share > 0, share * low, 0.0), low)
        high = torch.where(self.missing > 0, torch.inf, high)
        defined = some | (mass > 0) | self.growing
        return torch.where(defined, low, torch.nan), torch.where(defined, high, torch.nan)

    def _least(self, mass: Tensor, weighted: Tensor, divergence: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        cap = self.cap[:, None]
        other = self.other.sort(dim=-1, descending=True).values
        used = other > -torch.inf
        # The free ratio is the average log(q/p) of the known and the capped tokens; those with more p are capped first.
        ratios = torch.where(used, cap.log() - other, torch.inf)
        capped = torch.nn.functional.pad(torch.where(used, cap * ratios, 0.0).cumsum(-1), (1, 0))
        counts = torch.arange(capped.shape[-1], device=cap.device)
        level = (weighted[:, None] + capped) / (mass[:, None] + counts * cap)
        settled = torch.nn.functional.pad(ratios, (0, 1), value=torch.inf) >= level
        free = level.gather(-1, settled.to(torch.uint8).argmax(-1, keepdim=True))[:, 0].clamp(-700, 700).exp()
        p = torch.where(used, other.clamp_min(-700).exp(), 0.0)  # as in `positive`: times e⁷⁰⁰ it is still finite

        def total(ratio: Tensor) -> Tensor:
            return torch.minimum(ratio[:, None] * p, cap).sum(-1)

        ratio = torch.minimum(torch.maximum(free, _reaching(total, self.rest[0])), solve(total, self.rest[1]))
        x = torch.minimum(ratio[:, None] * p, cap)
        return divergence(x.sum(-1), forward(other, x).sum(-1))

    def _most(self, divergence: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        cap, least, most = self.cap[:, None], self.rest[0][:, None], self.rest[1][:, None]
        other = torch.where(self.other > -torch.inf, self.other, torch.inf).sort(dim=-1).values
        used = other < torch.inf
        n = used.sum(-1, keepdim=True)
        counts = torch.arange(other.shape[-1] + 1, device=cap.device).expand(len(other), -1)
        full = torch.where(used, forward(other, cap.expand_as(other)), 0.0)
        sums = torch.nn.functional.pad(full.cumsum(-1), (1, 0))
        # Corners of the polytope: n tokens at the cap and at most one in between, with the remaining mass of either
        # end.
        values = divergence(counts * cap, sums)
        possible = (counts <= n) & (counts * cap <= most) & (counts * cap >= least)
        best = torch.where(possible, values, -torch.inf).amax(-1)
        for mass in (least, most):
            full = torch.where(cap > 0, mass / torch.where(cap > 0, cap, 1.0), 0.0).floor().long()
            full = torch.minimum(full, n)
            left = (mass - full * cap).clamp_min(0.0)
            last = torch.nn.functional.pad(other, (0, 1), value=torch.inf).gather(-1, full)
            more = torch.where(full < n, forward(last, left), 0.0)
            left = torch.where(full < n, left, 0.0)
            best = torch.maximum(best, divergence(full * cap + left, sums.gather(-1, full) + more)[:, 0])
        return best


def _reaching(total: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    return torch.where(target > 0, solve(total, target), 0.0)


def _shift(divergence: Tensor, tolerance: float) -> Tensor:
    """Return how much KL(q̄‖p̄) changes when each log q changes by up to a tolerance.

    Its derivative is the covariance of the change with log(q̄/p̄), at most twice the tolerance times the mean absolute
    value of the latter, which is at most KL + 2/e (the parts below 0 add up to at most 1/e).
    """
    growth = 2 * tolerance * math.exp(2 * tolerance)
    return torch.where(divergence.isfinite(), growth * (divergence + 2 / math.e + 2 * tolerance), 0.0)
