"""Per-position overlap and divergence statistics of a teacher-student pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.chunk import Pair, Scores, measure_chunk
from overlap.definitions import TOKEN_STATISTICS
from overlap.groups import Groups, GroupSums
from overlap.positions import check_k, check_logits, check_mask, chunks, refuse_undefined
from overlap.summary import OverlapSummary
from overlap.vocabulary import UNMAPPED, VocabularyMap


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
    pair = Pair.of(student_logits.shape[-1], teacher_logits.shape[-1], vocabulary, blocked, device)
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
        chosen = Scores.of(student[index].float(), teacher[there].float().to(device), k, pair)
        for name, value in measure_chunk(chosen, tokens[index], k, temperature, pair).items():
            results[name][index] = value.float()
        student_peaks.append(chosen.student_peak)
        teacher_peaks.append(chosen.teacher_peak)
    if student_peaks:
        where = grid.nonzero(as_tuple=True)
        refuse_undefined(torch.cat(student_peaks), where, "student_logits")
        refuse_undefined(torch.cat(teacher_peaks), where, "teacher_logits")
    results = {name: value.reshape(shape) for name, value in results.items()}
    return TokenStatistics(**results, k=k, temperature=float(temperature), mask=mask)


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
