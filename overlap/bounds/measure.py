"""Bounds of every statistic at every position."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.bounds.listing import Listing, check_listing
from overlap.bounds.polytope import Bounds, Box, Student, divergences, entropy_bounds
from overlap.bounds.summary import BoundsSummary
from overlap.bounds.unions import Union
from overlap.groups import Groups
from overlap.positions import admissible_ids, check_k, check_logits, check_mask, chunks
from overlap.support import Support, intersection, top_k, union
from overlap.vocabulary import VocabularyMap, check_sizes

BOUNDED_STATISTICS = (
    "union_size",
    "intersection_size",
    "overlap_ratio",
    "jaccard",
    "top1_agreement",
    "student_mass",
    "teacher_mass",
    "student_intersection_mass",
    "teacher_intersection_mass",
    "teacher_entropy",
    "entropy_gap",
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
    "total_variation",
    "union_kl",
)
"""Names of the statistics that `measure_bounds` bounds, as in `overlap.definitions.TOKEN_STATISTICS`."""


@dataclass(frozen=True, eq=False)
class OverlapBounds:
    """Both ends of every statistic of every position: float64 tensors of the leading shape ``[...]``.

    NaN where the position is masked or the statistic undefined; ``+inf`` where nothing bounds it from above. Where a
    list shorter than k leaves open whether a statistic is defined, the ends are those of the teachers for which it is.

    Attributes:
        lower: by statistic, in the order of `BOUNDED_STATISTICS`.
        upper: by statistic; equal to the lower end where the list decides the value.
        listed: ``[...]`` long, listed tokens of the position.
        unmapped: ``[...]`` long, those that the student's vocabulary lacks; they are in no set.
        blocked: ``[...]`` long, those taken out as blocked.
        listed_mass: ``[...]``, what the listed probabilities add up to.
        k: size of the top-k sets.
        tolerance: nats within which the listed log-probabilities were taken to be right.
        mask: ``[...]`` bool, True where the position was measured.
    """

    lower: dict[str, Tensor]
    upper: dict[str, Tensor]
    listed: Tensor
    unmapped: Tensor
    blocked: Tensor
    listed_mass: Tensor
    k: int
    tolerance: float
    mask: Tensor

    def summary(
        self,
        groups: Groups | None = None,
        *,
        states: str | None = None,
        level: float = 0.95,
        draws: int = 1000,
        seed: int = 0,
    ) -> BoundsSummary:
        """Micro-averages of both ends over positions, each with a cluster bootstrap over utterances.

        Args:
            groups: which utterance each position belongs to, as in `TokenStatistics.summary`.
            states: whose states these are.
            level: coverage of the bootstrap intervals.
            draws: bootstrap resamples.
            seed: of the resampling; both ends share the resamples.

        Raises:
            ValueError: if groups do not fit the leading shape.
        """
        if groups is None:
            groups = torch.arange(self.mask.shape[0] if self.mask.ndim else 1)
        return BoundsSummary.of(
            self.lower, self.upper, groups, self.mask, k=self.k, states=states, level=level, draws=draws, seed=seed
        )


@torch.no_grad()
def measure_bounds(
    student_logits: Tensor,
    teacher_ids: Tensor,
    teacher_logprobs: Tensor,
    *,
    k: int = 32,
    mask: Tensor | None = None,
    vocabulary: VocabularyMap | None = None,
    blocked: Tensor | Sequence[int] | None = None,
    tolerance: float = 1e-5,
) -> OverlapBounds:
    """Bound the statistics of `overlap.measure` when only the teacher's best tokens are known.

    A teacher server returns its own top-m ids and log-probabilities, at temperature 1 over its whole vocabulary. Every
    other token is at most as likely as the least likely listed one, and all others together have the mass that is
    missing. The bounds hold for every teacher that agrees with the list:

    * With m >= k, the sets, and so ``union_size``, ``intersection_size``, ``overlap_ratio``, ``jaccard``,
      ``top1_agreement``, ``student_mass``, ``student_intersection_mass`` and (within the tolerance)
      ``teacher_intersection_mass`` are known: both ends are equal. With m < k the unknown members of T are placed where
      they do most and least.
    * ``teacher_mass``, ``teacher_entropy``, ``entropy_gap``, the four divergences and ``union_kl`` have ends that some
      teacher attains (tight), as long as ``tolerance`` is 0 and no probability leaves with an unlisted token (one that
      is blocked or, for the divergences, one that the student lacks). Otherwise each listed probability and the missing
      mass are taken at their worst separately: valid, and looser.
    * ``reverse_kl`` has no upper end, +inf, where an unlisted token may have probability 0.
    * With m < k, ``union_kl`` has the upper end +inf, and the lower ends of ``union_kl`` and
      ``teacher_intersection_mass`` are valid but not tight.

    T is what the server says it is: ordered by the log-probabilities as given, equal ones by the lower id. Where its
    rounding hides an order or breaks a tie at the boundary, `overlap.measure` may choose another set.

    Time is dominated by one sort of the student's scores a position; the temporaries are float64, and of no more
    positions at once than half of what `overlap.positions.CHUNK_ELEMENTS` allows.

    Args:
        student_logits: ``[..., V]`` raw scores.
        teacher_ids: ``[..., m]`` long, in the teacher's vocabulary, in any order; negative where a slot is empty.
        teacher_logprobs: ``[..., m]`` natural log-probabilities. Only the server's best tokens may be listed: one that
            it adds beneath them (the sampled token, say) would cap the unlisted ones too low; drop it.
        k: size of the top-k sets.
        mask: ``[...]`` bool, True where a position counts.
        vocabulary: the map between the two vocabularies; None when ids agree and the teacher has V of them.
        blocked: the student's ids to take out of both distributions and sets, or a ``[V]`` bool mask of them.
        tolerance: nats within which each listed log-probability is right: 1e-5 for float32 computation, half a unit of
            the last decimal for rounded text, |log-probability|/256 for bfloat16.

    Returns:
        Both ends on the student's device, without gradient.

    Raises:
        ValueError: on shapes, dtypes or sizes that do not fit, an id listed twice, NaN or positive log-probabilities,
            and lists that no distribution has: more mass than 1, or more missing than the unlisted tokens can hold.
    """
    check_logits(student_logits, "student_logits")
    shape, device, width = student_logits.shape[:-1], student_logits.device, student_logits.shape[-1]
    n_teacher = width if vocabulary is None else vocabulary.teacher_size
    table = check_sizes(vocabulary, width, n_teacher)
    table = None if table is None else table.to(device)
    mask = check_mask(mask, shape, device)
    if isinstance(teacher_ids, Tensor) and isinstance(teacher_logprobs, Tensor):
        teacher_ids, teacher_logprobs = teacher_ids.to(device), teacher_logprobs.detach().to(device)
    check_listing(teacher_ids, teacher_logprobs, shape, n_teacher, tolerance, mask)
    space = _Space.of(width, n_teacher, table, admissible_ids(blocked, width, device), device)
    check_k(k, space.n_student, "the student's logits")
    check_k(k, space.n_own, "the teacher's vocabulary")

    grid = mask.reshape(shape or (1,))
    logits = student_logits.detach().reshape(*grid.shape, width)
    listing = Listing.of(teacher_ids[mask], teacher_logprobs[mask], table, space.admissible)
    support = top_k(student_logits, k, blocked=blocked, mask=mask)
    student = Support(support.ids[mask], support.valid[mask])
    parts: list[dict[str, Bounds]] = []
    start = 0
    for index in chunks(grid, 2 * width):
        rows = slice(start, start + len(index[0]))
        chunk = _Chunk(
            logits[index].float(), listing[rows], student.ids[rows], student.valid[rows], k, tolerance, space
        )
        parts.append(chunk.bounds())
        start = rows.stop

    def spread(values: Tensor, missing: float) -> Tensor:
        return torch.full(shape, missing, dtype=values.dtype, device=device).masked_scatter(mask, values)

    ends = {
        name: [
            torch.cat(
                [torch.empty(0, dtype=torch.float64, device=device), *(part[name][end].double() for part in parts)]
            )
            for end in (0, 1)
        ]
        for name in BOUNDED_STATISTICS
    }
    return OverlapBounds(
        lower={name: spread(low, torch.nan) for name, (low, _) in ends.items()},
        upper={name: spread(torch.maximum(low, high), torch.nan) for name, (low, high) in ends.items()},  # by an ulp
        listed=spread(listing.given.sum(-1), 0),
        unmapped=spread((listing.own & ~listing.shared).sum(-1), 0),
        blocked=spread((listing.given & ~listing.own).sum(-1), 0),
        listed_mass=spread(listing.log_q.exp().sum(-1), torch.nan),
        k=k,
        tolerance=float(tolerance),
        mask=mask,
    )


@dataclass(frozen=True, eq=False)
class _Space:
    """How many ids there are of each kind, and which of the student's take part."""

    admissible: Tensor | None  # [V], not blocked; None when nothing is
    common: Tensor | None  # [V], not blocked and known to the teacher; None when all are
    map: VocabularyMap | None
    n_student: int  # the student's ids that are not blocked
    n_teacher: int  # the teacher's ids
    n_own: int  # those that are not blocked
    n_shared: int  # those that are not blocked and that the student has

    @classmethod
    def of(
        cls, width: int, n_teacher: int, table: VocabularyMap | None, admissible: Tensor | None, device: torch.device
    ) -> "_Space":
        student = torch.ones(width, dtype=torch.bool, device=device) if admissible is None else admissible
        known = torch.ones_like(student) if table is None else table.student_to_teacher >= 0
        common = student & known
        return cls(
            admissible,
            None if bool(common.all()) else common,
            table,
            int(student.sum()),
            n_teacher,
            n_teacher - int((known & ~student).sum()),
            int(common.sum()),
        )


class _Chunk:
    """The bounds of some positions, everything of one row a position."""

    def __init__(
        self, scores: Tensor, listing: Listing, ids: Tensor, valid: Tensor, k: int, tolerance: float, space: _Space
    ) -> None:
        self.k, self.tolerance, self.space, self.listing = k, tolerance, space, listing
        scores = scores.double()
        if space.admissible is not None:
            scores = scores.masked_fill(~space.admissible, -torch.inf)
        self.log_p = scores.log_softmax(-1)
        self.best = ids[:, 0]
        s = Support(ids, valid)
        self.s = s if space.map is None else space.map.student_support(s)
        rank = listing.own.cumsum(-1)
        self.in_t = listing.own & (rank <= k)
        self.t = Support(listing.ids.masked_fill(~(self.in_t & listing.shared), 0), self.in_t & listing.shared)
        self.in_s = listing.shared & _members(self.s.ids, self.s.valid, self.log_p).gather(-1, listing.ids)
        self.listed = _members(listing.ids, listing.shared, self.log_p)
        self.hidden_s = self.s.keep(~self.listed.gather(-1, self.s.ids))  # of S, what the teacher does not list
        self.missing = k - self.in_t.sum(-1)  # members of T that are not known
        tail = space.n_teacher - listing.given.sum(-1)
        raw = Box.raw(listing.log_q, listing.given, tail, tolerance)
        self.raw = raw
        self.own = Box.of(raw, listing.own, space.n_own - listing.own.sum(-1))
        self.shared = Box.of(raw, listing.shared, space.n_shared - listing.shared.sum(-1))
        # Of the tokens that neither is known to rank in T: those in S, other shared ones, and those the student lacks.
        self.n_s = self.hidden_s.size
        self.n_other = self.shared.tail - self.n_s
        self.n_foreign = self.own.tail - self.shared.tail

    def bounds(self) -> dict[str, Bounds]:
        """Both ends of every statistic, ``[n]`` each."""
        student, shared_mass = self._student()
        return (
            self._sizes()
            | self._masses(student, shared_mass)
            | self._entropies()
            | self._union()
            | self._whole(student, shared_mass)
        )

    def _sizes(self) -> dict[str, Bounds]:
        known = intersection(self.s, self.t).size, union(self.s, self.t).size
        shared_low, shared_high = self._shared_members()
        i = known[0] + shared_low, known[0] + shared_high
        u = (
            known[1] + (self.missing - self.n_s - self.n_foreign).clamp_min(0),
            known[1] + torch.minimum(self.missing, self.n_other),
        )
        first = torch.where(self.listing.shared, self.listing.ids, -1).gather(
            -1, self.listing.own.to(torch.uint8).argmax(-1, keepdim=True)
        )[:, 0]
        agree = (first == self.best).double()
        nobody = ~self.listing.own.any(-1)
        return {
            "union_size": u,
            "intersection_size": i,
            "overlap_ratio": (i[0].double() / self.k, i[1].double() / self.k),
            "jaccard": (i[0].double() / u[1], torch.where(u[1] > 0, i[1].double() / u[0].clamp_min(1), torch.nan)),
            "top1_agreement": (torch.where(nobody, 0.0, agree), torch.where(nobody, 1.0, agree)),
        }

    def _shared_members(self) -> tuple[Tensor, Tensor]:
        """How many of T's unknown members are in S, at least and at most."""
        return (self.missing - self.n_other - self.n_foreign).clamp_min(0), torch.minimum(self.missing, self.n_s)

    def _masses(self, student: Student, shared_mass: Tensor) -> dict[str, Bounds]:
        p = torch.where(self.t.valid, self.log_p.gather(-1, self.t.ids).exp(), 0.0).sum(-1)
        i = intersection(self.s, self.t)
        p_i = torch.where(i.valid, self.log_p.gather(-1, i.ids).exp(), 0.0).sum(-1)
        hidden = torch.where(self.hidden_s.valid, self.log_p.gather(-1, self.hidden_s.ids).exp(), torch.nan)
        few, many = self._shared_members()
        forced = (self.missing - self.n_foreign).clamp_min(0)
        tail = student.tail.exp() * shared_mass[:, None]
        in_i = self.in_t & self.in_s
        return {
            "student_mass": (
                (p + _least(tail, student.inside, forced)).clamp_max(1.0),
                (p + _most(tail, student.inside, self.missing)).clamp_max(1.0),
            ),
            "teacher_mass": self.own.mass(self.in_s, self.n_s),
            "student_intersection_mass": (
                (p_i + _least(hidden, self.hidden_s.valid, few)).clamp_max(1.0),
                (p_i + _most(hidden, self.hidden_s.valid, many)).clamp_max(1.0),
            ),
            "teacher_intersection_mass": (
                torch.where(in_i, self.own.low, 0.0).sum(-1),
                self.own.mass(in_i, many)[1],
            ),
        }

    def _entropies(self) -> dict[str, Bounds]:
        own = torch.where(self.log_p > -torch.inf, -self.log_p.exp() * self.log_p, 0.0).sum(-1)
        low, high = entropy_bounds(self.own)
        gap = torch.maximum(low - own, own - high).clamp_min(0.0), torch.maximum((low - own).abs(), (high - own).abs())
        return {"teacher_entropy": (low, high), "entropy_gap": gap}

    def _whole(self, student: Student, shared_mass: Tensor) -> dict[str, Bounds]:
        undefined = ~(shared_mass > 0)
        return {
            name: (low.masked_fill(undefined, torch.nan), high.masked_fill(undefined, torch.nan))
            for name, (low, high) in divergences(student, self.shared).items()
        }

    def _student(self) -> tuple[Student, Tensor]:
        """The student on the shared ids, renormalised there and sorted, and its mass on them."""
        common = self.log_p if self.space.common is None else self.log_p.masked_fill(~self.space.common, -torch.inf)
        log_mass = common.logsumexp(-1)
        absent = self.listed if self.space.common is None else self.listed | ~self.space.common
        scale = torch.where(log_mass > -torch.inf, log_mass, 0.0)[:, None]
        tail = (common - scale).masked_fill(absent, torch.inf).sort(dim=-1).values
        inside = torch.arange(tail.shape[-1], device=tail.device) < self.shared.tail[:, None]
        listed = torch.where(self.listing.shared, common.gather(-1, self.listing.ids) - scale, -torch.inf)
        return Student(listed, tail.masked_fill(~inside, -torch.inf), inside), log_mass.exp()

    def _union(self) -> dict[str, Bounds]:
        inside = (self.in_t | self.in_s) & self.listing.shared
        most = torch.minimum(self.raw.rest[1], self.raw.cap * self.n_s)
        least = torch.minimum((self.raw.rest[0] - self.raw.cap * (self.raw.tail - self.n_s)).clamp_min(0.0), most)
        return {
            "union_kl": Union(
                torch.where(inside, self.listing.log_q, -torch.inf),
                self.log_p.gather(-1, self.listing.ids),
                torch.where(self.hidden_s.valid, self.log_p.gather(-1, self.hidden_s.ids), -torch.inf),
                self.raw.cap,
                (least, most),
                self.missing,
                torch.minimum(self.raw.rest[1], self.raw.cap * self.missing),
                torch.minimum(self.missing, self.n_other) > 0,
            ).bounds(self.tolerance)
        }


def _members(ids: Tensor, valid: Tensor, like: Tensor) -> Tensor:
    """``[n, V]`` bool, the ids that stand in a valid slot."""
    counts = torch.zeros(like.shape, dtype=torch.uint8, device=like.device)
    return counts.scatter_add(-1, ids, valid.to(torch.uint8)) > 0


def _least(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Sum of the ``count`` ``[n]`` smallest valid values."""
    return _smallest(torch.where(valid, values, torch.inf), count)


def _most(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    return -_smallest(torch.where(valid, -values, torch.inf), count)


def _smallest(values: Tensor, count: Tensor) -> Tensor:
    width = min(values.shape[-1], int(count.max()) if count.numel() else 0)
    best = values.topk(width, dim=-1, largest=False).values
    taken = torch.arange(width, device=values.device) < count[:, None]
    return torch.where(taken & best.isfinite(), best, 0.0).sum(-1)
