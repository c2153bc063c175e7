"""The bounds of one chunk of positions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.bounds.extremes import Bounds, Box, Student, divergences, entropy_bounds
from overlap.bounds.tails import UnionAndRest
from overlap.bounds.topk_logprobs import TopkLogprobs
from overlap.bounds.unions import Union
from overlap.core.topk import Support, intersection, union
from overlap.vocab.vocabulary_map import VocabularyMap


@dataclass(frozen=True, eq=False)
class Space:
    """Numbers of ids of each kind, and the student's ids that take part.

    Attributes:
        admissible: ``[V]`` bool, the student's ids that are not blocked; None when none is.
        common: ``[V]`` bool, those that the teacher has too, not blocked there; None when all are.
        map: between the two vocabularies, None when ids agree.
        n_student: the student's ids that are not blocked.
        n_teacher: the teacher's ids.
        n_own: those that are not blocked.
        n_shared: those that are not blocked and that the student has.
        end: the student's id that ends a text; None when not known.
    """

    admissible: Tensor | None
    common: Tensor | None
    map: VocabularyMap | None
    n_student: int
    n_teacher: int
    n_own: int
    n_shared: int
    end: int | None = None

    @classmethod
    def from_widths(
        cls,
        width: int,
        n_teacher: int,
        table: VocabularyMap | None,
        admissible: Tensor | None,
        teacher_admissible: Tensor | None,
        device: torch.device,
        end: int | None = None,
    ) -> "Space":
        """Count the ids of two vocabularies of these widths."""
        student = torch.ones(width, dtype=torch.bool, device=device) if admissible is None else admissible
        own = torch.ones(n_teacher, dtype=torch.bool, device=device)
        if teacher_admissible is not None:
            own &= teacher_admissible
        there = torch.arange(width, device=device) if table is None else table.student_to_teacher
        known = there >= 0
        own[there[known & ~student]] = False
        common = student & known & own[there.clamp_min(0)]
        return cls(
            admissible,
            None if bool(common.all()) else common,
            table,
            int(student.sum()),
            n_teacher,
            int(own.sum()),
            int(common.sum()),
            end,
        )


class ChunkBounds:
    """The bounds of a chunk; all tensors have one row for each position."""

    def __init__(
        self, scores: Tensor, topk: TopkLogprobs, ids: Tensor, valid: Tensor, k: int, tolerance: float, space: Space
    ) -> None:
        self.k, self.tolerance, self.space, self.topk = k, tolerance, space, topk
        self.scores = scores if space.admissible is None else scores.masked_fill(~space.admissible, -torch.inf)
        # Float64 from here on: the bounds subtract sums from 1, and their ends must not cross.
        self.normalizer = self.scores.double().logsumexp(-1, keepdim=True)
        self.log_p = self.scores.double() - self.normalizer
        self.best = ids[:, 0]
        s = Support(ids, valid)
        self.s = s if space.map is None else space.map.student_support(s)
        rank = topk.own.cumsum(-1)
        self.in_t = topk.own & (rank <= k)
        self.t = Support(topk.ids.masked_fill(~(self.in_t & topk.shared), 0), self.in_t & topk.shared)
        self.in_s = topk.shared & _members(self.s.ids, self.s.valid, self.log_p).gather(-1, topk.ids)
        self.returned = _members(topk.ids, topk.shared, self.log_p)
        self.hidden_s = self.s.keep(
            ~self.returned.gather(-1, self.s.ids)
        )  # members of S that the server did not return
        self.missing = k - self.in_t.sum(-1)  # members of T that are not known
        tail = space.n_teacher - topk.given.sum(-1)
        raw = Box.raw(topk.log_q, topk.given, tail, tolerance)
        self.raw = raw
        self.own = Box.from_raw(raw, topk.own, space.n_own - topk.own.sum(-1))
        self.shared = Box.from_raw(raw, topk.shared, space.n_shared - topk.shared.sum(-1))
        # Tokens that may be unknown members of T: those in S, other shared ones, and those that the student lacks.
        self.n_s = self.hidden_s.size
        self.n_other = self.shared.tail - self.n_s
        self.n_foreign = self.own.tail - self.shared.tail

    def bounds(self) -> dict[str, Bounds]:
        """Return both bounds of every statistic, ``[n]`` each."""
        student, shared_mass = self._student()
        return (
            self._sizes()
            | self._masses(student, shared_mass)
            | self._entropies()
            | self._union()
            | self._tail()
            | self._full_vocabulary(student, shared_mass)
            | self._end_of_text()
        )

    def _sizes(self) -> dict[str, Bounds]:
        known = intersection(self.s, self.t).size, union(self.s, self.t).size
        shared_low, shared_high = self._shared_members()
        i = known[0] + shared_low, known[0] + shared_high
        u = (
            known[1] + (self.missing - self.n_s - self.n_foreign).clamp_min(0),
            known[1] + torch.minimum(self.missing, self.n_other),
        )
        first = torch.where(self.topk.shared, self.topk.ids, -1).gather(
            -1, self.topk.own.to(torch.uint8).argmax(-1, keepdim=True)
        )[:, 0]
        agree = (first == self.best).double()
        nobody = ~self.topk.own.any(-1)
        return {
            "union_size": u,
            "intersection_size": i,
            "overlap_ratio": (i[0].double() / self.k, i[1].double() / self.k),
            "jaccard": (i[0].double() / u[1], torch.where(u[1] > 0, i[1].double() / u[0].clamp_min(1), torch.nan)),
            "top1_agreement": (torch.where(nobody, 0.0, agree), torch.where(nobody, 1.0, agree)),
        }

    def _shared_members(self) -> tuple[Tensor, Tensor]:
        """Return the least and greatest number of T's unknown members that are in S."""
        return (self.missing - self.n_other - self.n_foreign).clamp_min(0), torch.minimum(self.missing, self.n_s)

    def _masses(self, student: Student, shared_mass: Tensor) -> dict[str, Bounds]:
        p = torch.where(self.t.valid, self.log_p.gather(-1, self.t.ids).exp(), 0.0).sum(-1)
        i = intersection(self.s, self.t)
        p_i = torch.where(i.valid, self.log_p.gather(-1, i.ids).exp(), 0.0).sum(-1)
        hidden = torch.where(self.hidden_s.valid, self.log_p.gather(-1, self.hidden_s.ids).exp(), torch.nan)
        few, many = self._shared_members()
        # T's unknown members are the student's least likely tokens for the lower bound and its likeliest for the upper
        # one. Those that exceed the number of tokens that the student lacks must be in its vocabulary.
        forced = (self.missing - self.n_foreign).clamp_min(0)
        n_tail, slots = self.shared.tail[:, None], torch.arange(self.k, device=p.device)
        ends = student.tail[:, : self.k], student.tail.gather(-1, (n_tail - 1 - slots).clamp_min(0))
        tail = [end.exp() * shared_mass[:, None] for end in ends]
        in_i = self.in_t & self.in_s
        return {
            "student_mass": (
                (p + _least(tail[0], (slots < n_tail)[:, : tail[0].shape[-1]], forced)).clamp_max(1.0),
                (p + _most(tail[1], slots < n_tail, self.missing)).clamp_max(1.0),
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

    def _full_vocabulary(self, student: Student, shared_mass: Tensor) -> dict[str, Bounds]:
        undefined = ~(shared_mass > 0)
        return {
            name: (low.masked_fill(undefined, torch.nan), high.masked_fill(undefined, torch.nan))
            for name, (low, high) in divergences(student, self.shared).items()
        }

    def _end_of_text(self) -> dict[str, Bounds]:
        """The teacher's probability of the end: of its slot, or at most that of a hidden token."""
        if self.space.end is None:
            return {}
        here = self.topk.shared & (self.topk.ids == self.space.end)
        low, high = (torch.where(here, side, 0.0).sum(-1) for side in (self.own.low, self.own.high))
        hidden = torch.minimum(self.own.cap, self.own.rest[1])
        return {"teacher_end_mass": (low, torch.where(here.any(-1), high, hidden))}

    def _student(self) -> tuple[Student, Tensor]:
        """Return the student on the shared ids, renormalized there and sorted, and its mass on them."""
        common = self.log_p if self.space.common is None else self.log_p.masked_fill(~self.space.common, -torch.inf)
        log_mass = common.logsumexp(-1) if self.space.common is not None else torch.zeros_like(self.log_p[:, 0])
        scale = torch.where(log_mass > -torch.inf, log_mass, 0.0)[:, None]
        absent = self.returned if self.space.common is None else self.returned | ~self.space.common
        # Sorted in float32, the precision of the scores: twice as fast.
        tail = self.scores.masked_fill(absent, torch.inf).sort(dim=-1).values.double() - (self.normalizer + scale)
        returned = torch.where(self.topk.shared, common.gather(-1, self.topk.ids) - scale, -torch.inf)
        return Student.from_returned(returned, tail, self.shared.tail), log_mass.exp()

    def _union(self) -> dict[str, Bounds]:
        inside = (self.in_t | self.in_s) & self.topk.shared
        most = torch.minimum(self.raw.rest[1], self.raw.cap * self.n_s)
        least = torch.minimum((self.raw.rest[0] - self.raw.cap * (self.raw.tail - self.n_s)).clamp_min(0.0), most)
        return {
            "union_kl": Union(
                torch.where(inside, self.topk.log_q, -torch.inf),
                self.log_p.gather(-1, self.topk.ids),
                torch.where(self.hidden_s.valid, self.log_p.gather(-1, self.hidden_s.ids), -torch.inf),
                self.raw.cap,
                (least, most),
                self.missing,
                torch.minimum(self.raw.rest[1], self.raw.cap * self.missing),
                torch.minimum(self.missing, self.n_other) > 0,
            ).bounds(self.tolerance)
        }

    def _tail(self) -> dict[str, Bounds]:
        inside = (self.in_t | self.in_s) & self.topk.shared
        beside, own, n_others = self.topk.own & ~inside, self.own, self.own.tail - self.n_s
        fixed = [torch.where(beside, side, 0.0).sum(-1) for side in (own.low, own.high)]
        least = (own.rest[0] - own.cap * self.n_s).clamp_min(0.0)
        most = torch.minimum(own.rest[1], own.cap * n_others)
        members = _members(self.topk.ids, inside, self.log_p) | _members(
            self.hidden_s.ids, self.hidden_s.valid, self.log_p
        )
        return {
            "union_kl_tail": UnionAndRest(
                torch.where(inside, own.low, 0.0),
                torch.where(inside, own.high, 0.0),
                torch.where(inside, self.log_p.gather(-1, self.topk.ids), -torch.inf),
                torch.where(self.hidden_s.valid, self.log_p.gather(-1, self.hidden_s.ids), -torch.inf),
                own.cap,
                (fixed[0] + torch.minimum(least, most), fixed[1] + most),
                self.log_p.masked_fill(members, -torch.inf).logsumexp(-1),
                self.missing > 0,
                inside.any(-1) | (self.n_s > 0) | (torch.minimum(self.missing, self.n_other) > 0),
            ).bounds()
        }


def _members(ids: Tensor, valid: Tensor, like: Tensor) -> Tensor:
    """Return ``[n, V]`` bool, the ids in valid slots."""
    # Added up, not assigned: an invalid slot holds id 0 and would overwrite a valid slot of that id.
    counts = torch.zeros(like.shape, dtype=torch.uint8, device=like.device)
    return counts.scatter_add(-1, ids, valid.to(torch.uint8)) > 0


def _least(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Return the sum of the ``count`` ``[n]`` smallest valid values."""
    return _smallest(torch.where(valid, values, torch.inf), count)


def _most(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    return -_smallest(torch.where(valid, -values, torch.inf), count)


def _smallest(values: Tensor, count: Tensor) -> Tensor:
    width = min(values.shape[-1], int(count.max()) if count.numel() else 0)
    best = values.topk(width, dim=-1, largest=False).values
    taken = torch.arange(width, device=values.device) < count[:, None]
    return torch.where(taken & best.isfinite(), best, 0.0).sum(-1)
