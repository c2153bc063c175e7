"""The statistics of one chunk of positions, where everything is ``[n, V]`` float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.divergence import entropy, jensen_shannon, kl_divergence, log_softmax, total_variation
from overlap.positions import admissible_ids
from overlap.support import Support, intersection, select, union
from overlap.vocabulary import VocabularyMap, check_sizes


@dataclass(frozen=True, eq=False)
class Pair:
    """The two vocabularies: which ids are admissible on each side, and which are shared."""

    student_admissible: Tensor | None
    teacher_admissible: Tensor | None
    n_student: int
    n_teacher: int
    map: VocabularyMap | None
    shared: tuple[Tensor, Tensor] | None

    @classmethod
    def of(
        cls,
        student_size: int,
        teacher_size: int,
        vocabulary: VocabularyMap | None,
        blocked: Tensor | Sequence[int] | None,
        device: torch.device,
    ) -> "Pair":
        """Bring a map and the blocked student ids to both sides.

        Raises:
            ValueError: if the sizes do not fit the map, or blocked ids the student's vocabulary.
        """
        table = check_sizes(vocabulary, student_size, teacher_size)
        student = admissible_ids(blocked, student_size, device)
        if table is None:
            n = student_size if student is None else int(student.sum())
            return cls(student, student, n, n, None, None)
        table = table.to(device)
        student_ids, teacher_ids = table.shared()
        teacher = None
        if student is not None:
            teacher = torch.ones(teacher_size, dtype=torch.bool, device=device)
            teacher[teacher_ids[~student[student_ids]]] = False
            student_ids, teacher_ids = student_ids[student[student_ids]], teacher_ids[student[student_ids]]
        return cls(
            student,
            teacher,
            student_size if student is None else int(student.sum()),
            teacher_size if teacher is None else int(teacher.sum()),
            table,
            (student_ids, teacher_ids),
        )

    def to_teacher(self, ids: Tensor) -> Tensor:
        """Teacher ids of mapped student ids; an invalid slot may get any id that is safe to gather."""
        return ids if self.map is None else self.map.to_teacher(ids).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Scores:
    """One chunk's raw scores ``[n, V]`` and the supports chosen from them, in the student's ids."""

    student: Tensor
    teacher: Tensor
    student_support: Support
    teacher_support: Support
    same_best: Tensor
    student_peak: Tensor
    teacher_peak: Tensor

    @classmethod
    def of(cls, student: Tensor, teacher: Tensor, k: int, pair: Pair) -> "Scores":
        """Choose both supports of ``[n, V]`` float32 scores."""
        student_support, student_peak = select(student, k, pair.student_admissible)
        teacher_support, teacher_peak = select(teacher, k, pair.teacher_admissible)
        if pair.map is not None:
            # The best token is compared before unmapped ones are dropped: a favourite that the student lacks is a
            # disagreement.
            best = pair.map.to_student(teacher_support.ids[:, 0])
            same_best = student_support.ids[:, 0] == best
            student_support = pair.map.student_support(student_support)
            teacher_support = pair.map.teacher_support(teacher_support)
        else:
            same_best = student_support.ids[:, 0] == teacher_support.ids[:, 0]
        return cls(student, teacher, student_support, teacher_support, same_best, student_peak, teacher_peak)


def measure_chunk(scores: Scores, tokens: Tensor, k: int, temperature: float, pair: Pair) -> dict[str, Tensor]:
    """All statistics of the positions of one chunk, ``[n]`` each."""
    s, t = scores.student_support, scores.teacher_support
    u, i = union(s, t), intersection(s, t)
    union_p, union_q = _on(u, scores, temperature, pair)
    shared_p, shared_q = _on(i, scores, temperature, pair)
    log_p = log_softmax(scores.student, pair.student_admissible, temperature=temperature)
    log_q = log_softmax(scores.teacher, pair.teacher_admissible, temperature=temperature)
    student_entropy = entropy(log_p, pair.student_admissible)
    teacher_entropy = entropy(log_q, pair.teacher_admissible)
    result = {
        "student_size": s.size,
        "teacher_size": t.size,
        "union_size": u.size,
        "intersection_size": i.size,
        "overlap_ratio": i.size / k,
        "jaccard": i.size / u.size,  # 0/0 is NaN: undefined on an empty union
        "top1_agreement": scores.same_best,
        "student_mass": _mass(log_p, t.ids, t.valid),
        "teacher_mass": _mass(log_q, pair.to_teacher(s.ids), s.valid),
        "student_intersection_mass": _mass(log_p, i.ids, i.valid),
        "teacher_intersection_mass": _mass(log_q, pair.to_teacher(i.ids), i.valid),
        "student_entropy": student_entropy,
        "teacher_entropy": teacher_entropy,
        "entropy_gap": (teacher_entropy - student_entropy).abs(),
        "union_kl": torch.where(u.size > 0, kl_divergence(union_q, union_p, u.valid), torch.nan),
        "overlap_advantage": torch.where(i.size > 0, 0.0 - kl_divergence(shared_p, shared_q, i.valid), torch.nan),
        "student_logprob": _log_probability(log_p, tokens, pair.student_admissible),
        "teacher_logprob": _log_probability(
            log_q, tokens if pair.map is None else pair.map.to_teacher(tokens), pair.teacher_admissible
        ),
        "boundary_tie": u.boundary_tie,
    }
    return result | _divergences(log_p, log_q, pair)


def _on(support: Support, scores: Scores, temperature: float, pair: Pair) -> tuple[Tensor, Tensor]:
    """Both models' log-probabilities renormalised on a support, from raw scores (the partition function cancels)."""
    student = scores.student.gather(-1, support.ids)
    teacher = scores.teacher.gather(-1, pair.to_teacher(support.ids))
    return (
        log_softmax(student, support.valid, temperature=temperature),
        log_softmax(teacher, support.valid, temperature=temperature),
    )


def _mass(log_p: Tensor, ids: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, log_p.gather(-1, ids).exp(), 0.0).sum(-1).clamp_max(1.0)


def _log_probability(log_p: Tensor, tokens: Tensor, admissible: Tensor | None) -> Tensor:
    known, ids = tokens >= 0, tokens.clamp_min(0)
    if admissible is not None:
        known = known & admissible[ids]
    return torch.where(known, log_p.gather(-1, ids[:, None])[:, 0], torch.nan)


def _divergences(log_p: Tensor, log_q: Tensor, pair: Pair) -> dict[str, Tensor]:
    """The whole-vocabulary divergences, over the shared ids where the vocabularies differ, and the mapped masses."""
    admissible = pair.student_admissible
    student_mapped = teacher_mapped = torch.ones(log_p.shape[0], device=log_p.device)
    empty = torch.zeros_like(student_mapped, dtype=torch.bool)
    if pair.shared is not None:
        log_p, log_q, admissible = log_p[:, pair.shared[0]], log_q[:, pair.shared[1]], None
        student_mapped, teacher_mapped = log_p.exp().sum(-1).clamp_max(1.0), log_q.exp().sum(-1).clamp_max(1.0)
        empty = (student_mapped == 0) | (teacher_mapped == 0)
        log_p, log_q = log_softmax(log_p), log_softmax(log_q)
    values = {
        "forward_kl": kl_divergence(log_q, log_p, admissible),
        "reverse_kl": kl_divergence(log_p, log_q, admissible),
        "jensen_shannon": jensen_shannon(log_p, log_q, admissible),
        "total_variation": total_variation(log_p, log_q, admissible),
    }
    # Where a side has nothing on the shared ids there is nothing to renormalise.
    values = {name: torch.where(empty, torch.nan, value) for name, value in values.items()}
    return values | {"student_mapped_mass": student_mapped, "teacher_mapped_mass": teacher_mapped}
