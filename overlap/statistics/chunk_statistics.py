"""All statistics of the positions of one chunk, for several set sizes and temperatures from one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.core.buffers import Scratch
from overlap.core.divergence import renormalized_kl
from overlap.core.topk import Support, intersection, prefix, union
from overlap.core.topk_kernel import ranked
from overlap.statistics.full_vocabulary import Columns, measure_full_vocabulary
from overlap.statistics.nucleus import nucleus_overlap
from overlap.statistics.ranking import rank_biased_overlap, rank_of
from overlap.statistics.with_tail import kl_with_tail
from overlap.vocab.vocab_pair import Side, VocabularyPair

_SMALL, _RANKED_IN_SMALL = 8192, 128
LIKELY_END = 0.5
"""Probability of the end of text from which `student_end_likely` is 1; a rule of thumb."""

Setting = tuple[int, float]
"""Size of the sets and temperature."""


@dataclass(frozen=True, eq=False)
class Basis:
    """Intermediate results from which the statistics of a chunk were computed.

    Attributes:
        student_best: the student's best scores and ids in order, ``[n, m]`` each; m exceeds the largest k unless the
            vocabulary is smaller.
        teacher_best: the teacher's, in its own ids.
        log_z: by temperature, the logarithms of the student's and the teacher's partition function, ``[n]`` float64.
    """

    student_best: tuple[Tensor, Tensor]
    teacher_best: tuple[Tensor, Tensor]
    log_z: dict[float, tuple[Tensor, Tensor]]

    @property
    def peaks(self) -> tuple[Tensor, Tensor]:
        """The largest admissible score of either model, ``[n]``, not finite where a position has no softmax."""
        return self.student_best[0][:, 0], self.teacher_best[0][:, 0]


def measure_chunk(
    student: Tensor,
    teacher: Tensor,
    tokens: Tensor,
    pair: VocabularyPair,
    *,
    ks: Sequence[int],
    temperatures: Sequence[float],
    top_p: float,
    scratch: Scratch,
) -> tuple[dict[Setting, Columns], Basis]:
    """Measure ``[n, V]`` raw scores of any floating type at every setting.

    Args:
        student: the student's scores.
        teacher: the teacher's.
        tokens: ``[n]`` the generated ids, negative where there is none.
        pair: both vocabularies.
        ks: sizes of the sets.
        temperatures: dividing the scores.
        top_p: mass of the nuclei.
        scratch: memory to work in.

    Returns:
        By setting, every statistic of `overlap.definitions.TOKEN_STATISTICS`, ``[n]`` each, and their basis.
    """
    found = measure_full_vocabulary(student, teacher, pair, temperatures, scratch)
    best_s = _best(student, found.student_maxima, max(ks), pair.student)
    best_t = _best(teacher, found.teacher_maxima, max(ks), pair.teacher)
    basis = Basis(best_s, best_t, {})
    teacher_tokens = tokens if pair.map is None else pair.map.to_teacher(tokens)
    # The best tokens are compared before unmapped ones are dropped: if the student lacks the teacher's best, they
    # disagree.
    favorite = best_t[1][:, 0] if pair.map is None else pair.map.to_student(best_t[1][:, 0])
    fixed = {
        "top1_agreement": best_s[1][:, 0] == favorite,
        "teacher_rank": rank_of(teacher_tokens, teacher, best_t, pair.teacher),
    }
    results: dict[Setting, Columns] = {}
    for temperature, columns in found.at.items():
        columns = dict(columns)
        log_z = basis.log_z[temperature] = columns.pop("student_log_z"), columns.pop("teacher_log_z")
        nucleus = nucleus_overlap((student, teacher), (best_s, best_t), log_z, pair, temperature, top_p, scratch)
        generated = _generated(
            _log_probability(student, tokens, pair.student, log_z[0], temperature),
            _log_probability(teacher, teacher_tokens, pair.teacher, log_z[1], temperature),
        )
        shared = (
            fixed
            | columns
            | generated
            | _end_of_text((student, teacher), (pair.student, pair.teacher), log_z, temperature)
            | {
                "nucleus_overlap": nucleus,
                "entropy_gap": (columns["teacher_entropy"] - columns["student_entropy"]).abs(),
            }
        )
        for k in ks:
            s, t = prefix(*best_s, k), prefix(*best_t, k)
            sets = _supports(
                (student, teacher),
                (pair.student_support(s), pair.teacher_support(t)),
                k,
                basis,
                temperature,
                pair,
            )
            kl, within = columns["forward_kl"], sets["teacher_mass"]
            reach = {  # infinite if the KL is, even if a mass is 0 after rounding
                "learnable_kl": torch.where(kl.isinf(), kl, kl * within),
                "incompatible_kl": torch.where(kl.isinf(), kl, kl * (1.0 - within)),
            }
            results[k, temperature] = shared | sets | reach
    return results, basis


def _best(scores: Tensor, maxima: Tensor, k: int, side: Side) -> tuple[Tensor, Tensor]:
    """Return scores and ids of the best tokens in order: the set, one more to detect a tie at its boundary, and
    possibly further ones.

    Ranks and nuclei within this ranking cost nothing, beyond it a pass each; in a small vocabulary a long ranking is
    cheap.
    """
    wanted = k + 1 if side.size > _SMALL else max(k + 1, _RANKED_IN_SMALL)
    return ranked(scores, maxima, min(wanted, side.size), side.admissible)


def _supports(
    scores: tuple[Tensor, Tensor],
    supports: tuple[Support, Support],
    k: int,
    basis: Basis,
    temperature: float,
    pair: VocabularyPair,
) -> Columns:
    """Return all statistics of the two sets."""
    (student, teacher), (s, t), log_z = scores, supports, basis.log_z[temperature]
    u, i = union(s, t), intersection(s, t)
    assert u.boundary_tie is not None  # both rankings contain one token more than the set
    # Gathered once on the slots of S and T; union and intersection are choices among them.
    ids, width = torch.cat([s.ids, t.ids], -1), s.ids.shape[-1]
    teacher_ids = pair.to_teacher(ids)
    z_s = student.gather(-1, ids).float().double() / temperature
    z_t = teacher.gather(-1, teacher_ids).float().double() / temperature
    log_p, log_q = z_s - log_z[0][:, None], z_t - log_z[1][:, None]
    p, q = log_p.exp(), log_q.exp()
    with_tail = kl_with_tail(
        (student, teacher),
        (ids, teacher_ids),
        u.valid,
        (log_p, log_q),
        basis.peaks,
        log_z,
        (pair.student, pair.teacher),
        temperature,
    )
    return {
        "student_size": s.size,
        "teacher_size": t.size,
        "union_size": u.size,
        "intersection_size": i.size,
        "overlap_ratio": i.size / k,
        "jaccard": i.size / u.size,  # 0/0 is NaN: undefined on an empty union
        "student_mass": _mass(p[:, width:], t.valid),
        "teacher_mass": _mass(q[:, :width], s.valid),
        "student_intersection_mass": _mass(p[:, :width], i.valid),
        "teacher_intersection_mass": _mass(q[:, :width], i.valid),
        "union_kl": renormalized_kl(z_t, z_s, u.valid),
        "union_kl_tail": torch.where(u.size > 0, with_tail, torch.nan),
        "overlap_advantage": 0.0 - renormalized_kl(z_s[:, :width], z_t[:, :width], i.valid),
        "rank_biased_overlap": rank_biased_overlap(s, t),
        "boundary_tie": u.boundary_tie,
    }


def _end_of_text(
    scores: tuple[Tensor, Tensor], sides: tuple[Side, Side], log_z: tuple[Tensor, Tensor], temperature: float
) -> Columns:
    """Both models' probability that the text ends here, NaN where no end ids are given."""
    if not sides[0].ends:
        nowhere = torch.full_like(log_z[0], torch.nan)
        return dict.fromkeys(("student_end_mass", "teacher_end_mass", "end_gap", "student_end_likely"), nowhere)
    log_p, log_q = (
        score[:, side.ends[0]].double() / temperature - z for score, side, z in zip(scores, sides, log_z, strict=True)
    )
    p, gap = log_p.exp().clamp_max(1.0), log_q - log_p
    return {
        "student_end_mass": p,
        "teacher_end_mass": log_q.exp().clamp_max(1.0),
        "end_gap": torch.where(gap.isfinite(), gap, torch.nan),
        "student_end_likely": p >= LIKELY_END,
    }


def _mass(probabilities: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, probabilities, 0.0).sum(-1).clamp_max(1.0)


def _log_probability(scores: Tensor, tokens: Tensor, side: Side, log_z: Tensor, temperature: float) -> Tensor:
    known, ids = tokens >= 0, tokens.clamp_min(0)
    if side.admissible is not None:
        known = known & side.admissible[ids]
    score = scores.gather(-1, ids[:, None])[:, 0].double()
    return torch.where(known, score / temperature - log_z, torch.nan)


def _generated(log_p: Tensor, log_q: Tensor) -> Columns:
    """Return statistics of the generated token: log-probabilities and the sampled estimates of reverse KL."""
    log_ratio = log_q - log_p
    return {
        "student_logprob": log_p,
        "teacher_logprob": log_q,
        "reverse_kl_k1": -log_ratio,
        "reverse_kl_k3": log_ratio.expm1() - log_ratio,
    }
