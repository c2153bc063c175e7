"""Extremes of statistics over all teachers that agree with given top-k log-probabilities.

These teachers are the points of a polytope: each returned probability lies in its interval, each hidden token is at
most as likely as the least likely returned token, and all probabilities add up to 1. On this polytope

* every f-divergence from the student's p (both KLs, Jensen-Shannon, total variation) is smallest at the same point, q =
  clip(λ·p, low, high), because the optimality conditions fix the ratio q/p wherever no constraint binds;
* every f-divergence is largest at the same corner: a convex function is largest at a corner, and the capped tokens of
  the worst corner are those that the student finds least likely, because ∂²(p·f(q/p))/∂p∂q ≤ 0;
* the entropy is largest at q = clip(λ, low, high) and smallest at a corner.

All computations are in float64. Sums over the vocabulary use the hidden tokens, sorted once at each position by the
student's score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.core.divergence import jensen_shannon_terms, kl_terms, total_variation_terms

_TINIEST = -700.0
"""Floor of the log-probabilities where they are exponentiated, so that a ratio to them stays finite."""

_ROUNDING = 1e-12
"""Least tolerance, in nats: a missing mass of this size disappears in the rounding of the returned sum."""

Bounds = tuple[Tensor, Tensor]

Term = Callable[[Tensor, Tensor], Tensor]
"""A token's contribution to a divergence, from log p and q; homogeneous: multiplying p and q by c multiplies it by
c."""


@dataclass(frozen=True, eq=False)
class Box:
    """Intervals for the teacher's probabilities on some tokens, renormalized there.

    Attributes:
        low: ``[n, m]`` of the returned tokens, 0 in slots that are left out.
        high: ``[n, m]``.
        cap: ``[n]``, of each hidden token (the least is 0).
        tail: ``[n]`` long, number of hidden tokens.
        rest: two ``[n]``, the least and the greatest mass of all hidden tokens together.
        empty: ``[n]`` bool, there is nothing to renormalize.
    """

    low: Tensor
    high: Tensor
    cap: Tensor
    tail: Tensor
    rest: Bounds
    empty: Tensor

    @classmethod
    def from_raw(cls, raw: "Box", kept: Tensor, tail: Tensor) -> "Box":
        """Return the box of the distribution renormalized on the kept tokens.

        The mass of the excluded hidden tokens is known only within an interval, and so is the scale of the kept tokens.
        Each probability gets the resulting interval, as if the scales were independent.

        Args:
            raw: intervals over the full vocabulary.
            kept: ``[n, m]`` bool, the returned tokens that stay.
            tail: ``[n]`` long, the number of hidden tokens that stay.
        """
        low, high = torch.where(kept, raw.low, 0.0), torch.where(kept, raw.high, 0.0)
        lost = raw.low.sum(-1) - low.sum(-1), raw.high.sum(-1) - high.sum(-1)
        tail_lost_high = torch.minimum(raw.rest[1], raw.cap * (raw.tail - tail))
        tail_lost_low = torch.minimum((raw.rest[0] - raw.cap * tail).clamp_min(0.0), tail_lost_high)
        least = torch.maximum(1 - lost[1] - tail_lost_high, low.sum(-1))
        most = torch.maximum(1 - lost[0] - tail_lost_low, least)
        empty = (most <= 0) | ((tail == 0) & ~kept.any(-1))
        least, most = (torch.where(scale > 0, scale, torch.finfo(scale.dtype).tiny) for scale in (least, most))
        # Each bound of an interval is scaled by the other bound of the kept mass: this gives the widest interval.
        low, high = low / most[:, None], (high / least[:, None]).clamp_max(1.0)
        cap = (raw.cap / least).clamp_max(1.0)
        room = cap * tail
        rest = tuple(torch.minimum((1 - side.sum(-1)).clamp_min(0.0), room) for side in (high, low))
        return cls(low, high, cap, tail, (rest[0], rest[1]), empty)

    @classmethod
    def raw(cls, log_q: Tensor, given: Tensor, tail: Tensor, tolerance: float) -> "Box":
        """Return the box over the full vocabulary of top-k log-probabilities that are right within a tolerance."""
        tolerance = max(tolerance, _ROUNDING)
        low, high = (log_q - tolerance).exp(), (log_q + tolerance).exp().clamp_max(1.0)
        # The largest value of the least likely returned token: by the server's order, no hidden token is above it.
        cap = torch.where(given, high, 1.0).amin(-1)
        room = cap * tail
        rest = tuple(torch.minimum((1 - side.sum(-1)).clamp_min(0.0), room) for side in (high, low))
        return cls(low, high, cap, tail, (rest[0], rest[1]), torch.zeros_like(tail, dtype=torch.bool))

    def mass(self, members: Tensor, n_hidden: Tensor) -> Bounds:
        """Return mass of the returned ``members`` ``[n, m]`` and of ``n_hidden`` ``[n]`` others; both bounds
        attained."""
        inside, outside = (
            tuple(torch.where(which, side, 0.0).sum(-1) for side in (self.low, self.high))
            for which in (members, ~members)
        )
        low = torch.maximum(inside[0], 1 - outside[1] - self.cap * (self.tail - n_hidden))
        high = torch.minimum(inside[1] + self.cap * n_hidden, 1 - outside[0])
        return low.clamp(0.0, 1.0), torch.maximum(low, high).clamp(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Student:
    """The student's distribution on the box's tokens.

    Attributes:
        returned: ``[n, m]`` log-probabilities of the returned tokens, −inf in slots that are left out.
        tail: ``[n, V]`` log-probabilities of the hidden tokens, ascending; −inf beyond their number.
        sums: ``[n, V + 1]`` probability of the first 0, 1, 2, … of them.
        rising: ``[n, V]`` probabilities of the hidden tokens, ascending; +inf beyond their number.
    """

    returned: Tensor
    tail: Tensor
    sums: Tensor
    rising: Tensor

    @classmethod
    def from_returned(cls, returned: Tensor, tail: Tensor, n_tail: Tensor) -> "Student":
        """Build it from log-probabilities; those of ``tail`` beyond the first ``n_tail`` of a row are ignored."""
        inside = torch.arange(tail.shape[-1], device=tail.device) < n_tail[:, None]
        p = positive(tail)
        sums = _prefix(torch.where(inside, p, 0.0))
        return cls(returned, tail.masked_fill(~inside, -torch.inf), sums, p.masked_fill_(~inside, torch.inf))


def forward(log_p: Tensor, q: Tensor) -> Tensor:
    """Return the contribution q log(q/p) of a token to KL(q‖p)."""
    return kl_terms(q, q.log(), log_p)


def reverse(log_p: Tensor, q: Tensor) -> Tensor:
    """Return the contribution p log(p/q) of a token to KL(p‖q)."""
    return kl_terms(positive(log_p), log_p, q.log())


def shannon(log_p: Tensor, q: Tensor) -> Tensor:
    """Return the contribution ½ p log(p/m) + ½ q log(q/m), m = (p + q)/2, of a token to the Jensen-Shannon
    divergence."""
    return jensen_shannon_terms(log_p.exp(), q)


def variation(log_p: Tensor, q: Tensor) -> Tensor:
    """Return the contribution ½ |p − q| of a token to the total variation distance."""
    return total_variation_terms(log_p.exp(), q)


_DIVERGENCES: dict[str, tuple[Term, float]] = {
    "forward_kl": (forward, float("inf")),
    "reverse_kl": (reverse, float("inf")),
    "jensen_shannon": (shannon, torch.log(torch.tensor(2.0, dtype=torch.float64)).item()),
    "total_variation": (variation, 1.0),
}


def divergences(student: Student, box: Box) -> dict[str, Bounds]:
    """Return bounds of the four full-vocabulary divergences, ``[n]`` each.

    Lower bounds are attained. Upper bounds are attained if the box is exact (each returned interval is a point).
    Otherwise the worst case is taken separately for each returned token and the rest, which is looser.
    """
    ratio, within = _closest(student, box)
    returned = (ratio[:, None] * positive(student.returned)).clamp(box.low, box.high)
    free = _at(student.sums, within)
    capped = _columns(within, box.tail, student.tail)
    missed = (1 - returned.sum(-1) - ratio * free - box.cap * (box.tail - within)).clamp_min(0.0)
    nothing, one = torch.full_like(missed, -torch.inf), torch.zeros_like(missed)
    bounds = {}
    for name, (term, largest) in _DIVERGENCES.items():
        # Terms are homogeneous in (p, q): where q = λ·p the sum of terms is Σp times the term of (1, λ).
        low = term(student.returned, returned).sum(-1) + free * term(one, ratio) + _sum_at_cap(term, capped, box)
        # Mass that even λ = e⁷⁰⁰ does not place: the student gives 0 to all tokens that could have it. Less is
        # rounding.
        low = low + torch.where(missed > 1e-9, term(nothing, missed), 0.0)
        ends = torch.maximum(term(student.returned, box.low), term(student.returned, box.high)).sum(-1)
        worst = _least_covered(student, box) if term is reverse else _farthest(term, student, box)
        low = low.clamp(0.0, largest)
        # Rounding may make the lower bound larger than the upper one by an ulp.
        bounds[name] = low, torch.maximum((ends + worst).clamp_max(largest), low)
    return {
        name: (torch.where(box.empty, torch.nan, low), torch.where(box.empty, torch.nan, high))
        for name, (low, high) in bounds.items()
    }


def _closest(student: Student, box: Box) -> Bounds:
    """Return λ of q = clip(λ·p, low, high), and the number of hidden tokens below the cap, counted from the least
    likely."""
    p = positive(student.returned)

    # Because tokens are sorted, a bisection step takes log V comparisons and one prefix sum for each row, not V
    # operations.
    def below(ratio: Tensor) -> Tensor:
        return torch.minimum(torch.searchsorted(student.rising, (box.cap / ratio)[:, None], right=True)[:, 0], box.tail)

    def total(ratio: Tensor) -> Tensor:
        within = below(ratio)
        rest = ratio * _at(student.sums, within) + box.cap * (box.tail - within)
        return (ratio[:, None] * p).clamp(box.low, box.high).sum(-1) + rest

    ratio = solve(total, torch.ones_like(box.cap))
    return ratio, below(ratio)


def _columns(first: Tensor, last: Tensor, values: Tensor) -> Tensor:
    """Return the values from column ``first`` to before column ``last`` of each row, NaN elsewhere in the columns
    needed."""
    some = first < last
    if not some.any():
        return values[:, :0]
    start, stop = int(first[some].min()), int(last.max())
    # Usually few tokens are at the cap: the terms are computed on these columns, not on all V.
    column = torch.arange(start, stop, device=values.device)
    return values[:, start:stop].masked_fill((column < first[:, None]) | (column >= last[:, None]), torch.nan)


def _sum_at_cap(term: Term, log_p: Tensor, box: Box) -> Tensor:
    # NaN marks excluded columns; −inf would mean a token with probability 0.
    values = term(log_p, box.cap[:, None].expand_as(log_p))
    return torch.where(log_p.isnan(), 0.0, values).sum(-1)


def _farthest(term: Term, student: Student, box: Box) -> Tensor:
    """Return the largest sum of a convex term over the tail: caps on the least likely tokens, a remainder on the next,
    else 0."""
    first, last = _n_full(box.rest[0], box) + 1, _n_full(box.rest[1], box)
    # A mass of at most 1 fills 1 / cap tokens; later columns are never reached.
    log_p = student.tail[:, : int(last.max()) + 1]
    nothing = torch.zeros_like(log_p)
    inside = torch.arange(log_p.shape[-1], device=log_p.device) < box.tail[:, None]
    gain = torch.where(inside, term(log_p, box.cap[:, None].expand_as(log_p)) - term(log_p, nothing), 0.0)
    gains = _prefix(gain)

    def filled(mass: Tensor) -> Tensor:
        full = _n_full(mass, box)
        left = (mass - full * box.cap).clamp_min(0.0)
        next_p = _at(log_p, full.clamp_max(log_p.shape[-1] - 1))
        more = torch.where(full < box.tail, term(next_p, left) - term(next_p, torch.zeros_like(left)), 0.0)
        return _at(gains, full) + more

    ends = torch.maximum(*(filled(mass) for mass in box.rest))
    # Gains fall with p: the sum rises and then falls, and its maximum may lie between the two bounds.
    top = torch.minimum(torch.maximum((gain > 0).sum(-1), first), last)
    between = torch.where(first <= last, _at(gains, top), -torch.inf)
    base = _at(student.sums, box.tail) * term(torch.zeros_like(box.cap), torch.zeros_like(box.cap))
    return base + torch.maximum(ends, between)


def _least_covered(student: Student, box: Box) -> Tensor:
    """Return the largest Σ p log(p/q) over the tail: all at the cap except the student's most likely token, which gets
    the remainder."""
    left = (box.rest[0] - box.cap * (box.tail - 1)).clamp_min(0.0)
    favorite = _at(student.tail, (box.tail - 1).clamp_min(0))
    uncovered = torch.where(favorite > -torch.inf, torch.inf, 0.0)
    if (covered := (left > 0) & (box.tail > 0)).any():
        others = _columns(torch.zeros_like(box.tail), torch.where(covered, box.tail - 1, 0), student.tail)
        uncovered = torch.where(covered, _sum_at_cap(reverse, others, box) + reverse(favorite, left), uncovered)
    return torch.where(box.tail == 0, 0.0, uncovered)


def entropy_bounds(box: Box) -> Bounds:
    """Return bounds of the entropy of the box's distribution, in nats, ``[n]`` each; both attained where the box is
    exact."""

    def total(level: Tensor) -> Tensor:
        return level[:, None].clamp(box.low, box.high).sum(-1) + torch.minimum(level, box.cap) * box.tail

    level = solve(total, torch.ones_like(box.cap))
    even = _surprise(level[:, None].clamp(box.low, box.high)).sum(-1)
    high = even + box.tail * _surprise(torch.minimum(level, box.cap))

    def filled(mass: Tensor) -> Tensor:
        full = _n_full(mass, box)
        return full * _surprise(box.cap) + _surprise((mass - full * box.cap).clamp(0.0, 1.0))

    # Between multiples of the cap the entropy of the tail is concave in its mass, so it is least at one of these.
    first = _n_full(box.rest[0], box) + 1
    between = torch.where(first * box.cap <= box.rest[1], first * _surprise(box.cap), torch.inf)
    ends = torch.minimum(_surprise(box.low), _surprise(box.high)).sum(-1)
    low = ends + torch.minimum(torch.minimum(filled(box.rest[0]), filled(box.rest[1])), between)
    low, high = low.clamp_min(0.0), torch.maximum(low, high).clamp_min(0.0)
    return torch.where(box.empty, torch.nan, low), torch.where(box.empty, torch.nan, high)


def solve(total: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Return the ratio ``[n]`` at which an increasing function reaches its target; e⁷⁰⁰ where it never does."""
    # By bisection of its logarithm, not Newton's method: the functions are flat where all tokens are at an end of their
    # interval, and a ratio may be any float64.
    low, high = torch.full_like(target, _TINIEST), torch.full_like(target, -_TINIEST)
    for _ in range(80):  # bisects 1,400 nats down to the last bit
        middle = (low + high) / 2
        above = total(middle.exp()) >= target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high.exp()


def positive(log_p: Tensor) -> Tensor:
    """Return probabilities that are 0 only where the log-probability is −inf."""
    return log_p.clamp_min(_TINIEST).exp().masked_fill_(log_p == -torch.inf, 0.0)


def _prefix(values: Tensor) -> Tensor:
    """Return sums of the first 0, 1, 2, … values."""
    return torch.nn.functional.pad(values.cumsum(-1), (1, 0))


def _at(values: Tensor, column: Tensor) -> Tensor:
    return values.gather(-1, column[:, None])[:, 0]


def _n_full(mass: Tensor, box: Box) -> Tensor:
    """Return the number of hidden tokens that a mass fills to the cap."""
    # With a cap of 0 nothing is filled, and 0/0 is not an integer.
    full = torch.where(box.cap > 0, mass / torch.where(box.cap > 0, box.cap, 1.0), 0.0).floor().long()
    return torch.minimum(full, box.tail)


def _surprise(q: Tensor) -> Tensor:
    return 0.0 - torch.xlogy(q, q)
