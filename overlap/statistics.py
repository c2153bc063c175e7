"""Per-position overlap and divergence statistics of a teacher-student pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.definitions import TOKEN_STATISTICS
from overlap.divergence import entropy, jensen_shannon, kl_divergence, log_softmax, total_variation
from overlap.groups import Groups, GroupSums
from overlap.positions import admissible_ids, check_k, check_logits, check_mask, chunks, refuse_undefined
from overlap.summary import OverlapSummary
from overlap.support import Support, intersection, select, union
from overlap.vocabulary import UNMAPPED, VocabularyMap, check_sizes


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """Statistics of every position: float32 tensors of the leading shape ``[...]``, NaN where masked or undefined.

    Sizes are whole numbers and flags are 0 or 1, kept as floats so that a masked position is NaN in every field.
    Formulas and units are in `overlap.definitions.TOKEN_STATISTICS`, whose names are the fields.

    Attributes:
        k: size of the top-k sets.
        temperature: at which every probability was taken (the sets do not depend on it).
        mask: ``[...]`` bool, True where the position was measured.
    """

    student_size: Tensor
    teacher_size: Tensor
    union_size: Tensor
    intersection_size: Tensor
    overlap_ratio: Tensor
    jaccard: Tensor
    top1_agreement: Tensor
    student_mass: Tensor
    teacher_mass: Tensor
    student_intersection_mass: Tensor
    teacher_intersection_mass: Tensor
    student_entropy: Tensor
    teacher_entropy: Tensor
    entropy_gap: Tensor
    forward_kl: Tensor
    reverse_kl: Tensor
    jensen_shannon: Tensor
    total_variation: Tensor
    union_kl: Tensor
    overlap_advantage: Tensor
    student_logprob: Tensor
    teacher_logprob: Tensor
    boundary_tie: Tensor
    student_mapped_mass: Tensor
    teacher_mapped_mass: Tensor
    k: int
    temperature: float
    mask: Tensor

    def values(self) -> dict[str, Tensor]:
        """Every statistic by name, in the order of `TOKEN_STATISTICS`."""
        return {name: getattr(self, name) for name in TOKEN_STATISTICS}

    def default_groups(self) -> Tensor:
        """One utterance a row of the first axis, or one a position where there is a single axis."""
        n = self.mask.shape[0] if self.mask.ndim else 1
        return torch.arange(n)

    def summary(
        self,
        groups: Groups | None = None,
        *,
        states: str | None = None,
        level: float = 0.95,
        draws: int = 1000,
        seed: int = 0,
    ) -> OverlapSummary:
        """Micro-averages over positions, with intervals from a cluster bootstrap over utterances.

        Args:
            groups: which utterance each position belongs to (integers or strings): of the leading shape, or of its
                first axes (``[B]`` for ``[B, L]``), or with axes of length 1. Default: the first axis where there are
                two or more, else each position by itself.
            states: whose states these are: ``"student"``, ``"teacher"``, ``"reference"`` rollouts or ``"fixed"`` ones.
            level: coverage of the interval.
            draws: bootstrap resamples.
            seed: of the resampling.

        Raises:
            ValueError: if groups do not fit the leading shape.
        """
        sums = GroupSums.from_values(self.values(), self.default_groups() if groups is None else groups, mask=self.mask)
        return OverlapSummary.from_group_sums(
            sums, k=self.k, temperature=self.temperature, states=states, level=level, draws=draws, seed=seed
        )


@torch.no_grad()
def measure(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    k: int = 32,
    mask: Tensor | None = None,
    vocabulary: VocabularyMap | None = None,
    tokens: Tensor | None = None,
    temperature: float = 1.0,
    blocked: Tensor | Sequence[int] | None = None,
) -> TokenStatistics:
    """Measure support overlap and divergences at every position.

    Probabilities are float32 softmaxes over each model's own admissible vocabulary at ``temperature``. Between
    different vocabularies the supports, and so the masses, keep only tokens that both have, and the four
    whole-vocabulary divergences are taken over the shared ids, renormalised there; the mapped masses say how much of
    each distribution that is.

    Work goes in chunks of max(1, `overlap.positions.CHUNK_ELEMENTS` // V) positions; about a dozen float32 ``[chunk ×
    V]`` temporaries live at once, whatever the number of positions. The logits may be half precision, need not be
    contiguous, and may be on different devices.

    Args:
        student_logits: ``[..., V]`` raw scores. A score of −inf means probability zero.
        teacher_logits: ``[..., V_teacher]`` raw scores at the same positions.
        k: size of the top-k sets.
        mask: ``[...]`` bool, True where a position counts; elsewhere the logits are not looked at and the result is
            NaN.
        vocabulary: the map between the two vocabularies; None when ids agree.
        tokens: ``[...]`` long, the generated ids in the student's vocabulary, negative where there is none.
        temperature: divides both sides' logits in every probability.
        blocked: the student's ids to take out of both distributions and sets (control tokens, padded ids), or a ``[V]``
            bool mask of them.

    Returns:
        Statistics on the student's device, without gradient.

    Raises:
        ValueError: on shapes, dtypes or sizes that do not fit, and on NaN, +inf or only −inf at an unmasked position;
        says what was received, what
            is expected and what to do.
    """
    check_logits(student_logits, "student_logits")
    check_logits(teacher_logits, "teacher_logits")
    shape, device = student_logits.shape[:-1], student_logits.device
    if teacher_logits.shape[:-1] != shape:
        raise ValueError(
            f"teacher_logits: expected the student's leading shape {list(shape)}, received "
            f"{list(teacher_logits.shape[:-1])}; score the same positions with both models"
        )
    if not temperature > 0 or temperature == float("inf"):
        raise ValueError(f"temperature: expected a finite number above 0, received {temperature!r}")
    pair = _Pair.of(student_logits.shape[-1], teacher_logits.shape[-1], vocabulary, blocked, device)
    check_k(k, pair.n_student, "the student's logits")
    check_k(k, pair.n_teacher, "the teacher's logits")
    mask = check_mask(mask, shape, device)
    tokens = _check_tokens(tokens, mask, student_logits.shape[-1])

    # A single position gets an axis, so that one indexing serves every leading shape.
    grid = mask.reshape(shape or (1,))
    student = student_logits.detach().reshape(*grid.shape, student_logits.shape[-1])
    teacher = teacher_logits.detach().reshape(*grid.shape, teacher_logits.shape[-1])
    tokens = tokens.reshape(grid.shape)
    results = {name: torch.full(grid.shape, torch.nan, device=device) for name in TOKEN_STATISTICS}
    student_peaks, teacher_peaks = [], []
    for index in chunks(grid, max(student.shape[-1], teacher.shape[-1])):
        there = tuple(axis.to(teacher.device) for axis in index)
        chosen = _Scores.of(student[index].float(), teacher[there].float().to(device), k, pair)
        for name, value in _measure_chunk(chosen, tokens[index], k, temperature, pair).items():
            results[name][index] = value.float()
        student_peaks.append(chosen.student_peak)
        teacher_peaks.append(chosen.teacher_peak)
    if student_peaks:
        where = grid.nonzero(as_tuple=True)
        refuse_undefined(torch.cat(student_peaks), where, "student_logits")
        refuse_undefined(torch.cat(teacher_peaks), where, "teacher_logits")
    results = {name: value.reshape(shape) for name, value in results.items()}
    return TokenStatistics(**results, k=k, temperature=float(temperature), mask=mask)


@dataclass(frozen=True, eq=False)
class _Pair:
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
    ) -> "_Pair":
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
class _Scores:
    """One chunk's raw scores ``[n, V]`` and the supports chosen from them, in the student's ids."""

    student: Tensor
    teacher: Tensor
    student_support: Support
    teacher_support: Support
    same_best: Tensor
    student_peak: Tensor
    teacher_peak: Tensor

    @classmethod
    def of(cls, student: Tensor, teacher: Tensor, k: int, pair: _Pair) -> "_Scores":
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


def _measure_chunk(scores: _Scores, tokens: Tensor, k: int, temperature: float, pair: _Pair) -> dict[str, Tensor]:
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
        "overlap_advantage": torch.where(i.size > 0, -kl_divergence(shared_p, shared_q, i.valid), torch.nan),
        "student_logprob": _log_probability(log_p, tokens, pair.student_admissible),
        "teacher_logprob": _log_probability(
            log_q, tokens if pair.map is None else pair.map.to_teacher(tokens), pair.teacher_admissible
        ),
        "boundary_tie": u.boundary_tie,
    }
    return result | _divergences(log_p, log_q, pair)


def _on(support: Support, scores: _Scores, temperature: float, pair: _Pair) -> tuple[Tensor, Tensor]:
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


def _divergences(log_p: Tensor, log_q: Tensor, pair: _Pair) -> dict[str, Tensor]:
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


def _check_tokens(tokens: Tensor | None, mask: Tensor, vocabulary: int) -> Tensor:
    if tokens is None:
        return torch.full(mask.shape, UNMAPPED, device=mask.device)
    if not isinstance(tokens, Tensor) or tokens.dtype != torch.long:
        received = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
        raise ValueError(f"tokens: expected a torch.int64 tensor of generated ids, received {received}")
    if tokens.shape != mask.shape:
        raise ValueError(
            f"tokens: expected the logits' leading shape {list(mask.shape)}, received {list(tokens.shape)}; "
            "give one id a position, negative where there is none"
        )
    tokens = tokens.to(mask.device)
    outside = tokens[mask & (tokens >= vocabulary)]
    if outside.numel():
        raise ValueError(
            f"tokens: id {int(outside[0])} is outside the student's vocabulary of {vocabulary}; ids must be in the "
            "student's vocabulary"
        )
    return torch.where(mask, tokens, UNMAPPED)
