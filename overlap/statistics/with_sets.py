"""Statistics together with their sets and partition functions, for a loss on the same logits.

Ranking the vocabulary and summing its exponentials takes most of the time of a position, and both a training step and
`measure` need the results. Here they are computed once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.core.topk import Support, prefix
from overlap.statistics.chunk_statistics import Basis
from overlap.statistics.measure import TokenStatistics
from overlap.statistics.plan import of_logits
from overlap.vocab.settings import ComparisonSettings


@dataclass(frozen=True, eq=False)
class MeasuredSets:
    """Statistics at positions ``[...]``, with the sets and partition functions that they were computed from.

    Attributes:
        statistics: the result of `overlap.measure`.
        student: the student's own support, including tokens that the teacher lacks; empty where masked.
        teacher: the teacher's own, in the teacher's ids.
        student_log_partition: ``[...]`` float64, log Σ exp(z/τ) over the student's admissible tokens; NaN where masked.
        teacher_log_partition: likewise of the teacher.
    """

    statistics: TokenStatistics
    student: Support
    teacher: Support
    student_log_partition: Tensor
    teacher_log_partition: Tensor


def measure_with_sets(
    student_logits: Tensor,
    teacher_logits: Tensor,
    settings: ComparisonSettings,
    *,
    mask: Tensor | None = None,
    tokens: Tensor | None = None,
) -> MeasuredSets:
    """Return the result of `overlap.measure` with its sets and partition functions; for the arguments see there.

    >>> student, teacher = torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.tensor([[0.0, 3.0, 2.0, 1.0]])
    >>> found = measure_with_sets(student, teacher, ComparisonSettings(k=2))
    >>> found.student.ids, found.teacher.ids, found.statistics.union_size
    (tensor([[0, 1]]), tensor([[1, 2]]), tensor([3.]))

    Raises:
        UserError: as `overlap.measure`.
    """
    measurement, rows = of_logits(student_logits, teacher_logits, [settings], mask, tokens)
    shape, device = measurement.mask.shape, measurement.mask.device
    n, k, temperature = measurement.mask.numel(), settings.k, float(settings.temperature)
    ids = [torch.zeros(n, k, dtype=torch.long, device=device) for _ in range(2)]
    valid = [torch.zeros(n, k, dtype=torch.bool, device=device) for _ in range(2)]
    log_z = [torch.full((n,), torch.nan, dtype=torch.float64, device=device) for _ in range(2)]

    def keep(chunk: Tensor, basis: Basis) -> None:
        for side, best in enumerate((basis.student_best, basis.teacher_best)):
            chosen = prefix(*best, k)
            ids[side][chunk], valid[side][chunk] = chosen.ids, chosen.valid
            log_z[side][chunk] = basis.log_z[temperature][side]

    (statistics,) = TokenStatistics.from_measurement(measurement, [(measurement.where, rows)], keep).values()
    student, teacher = (Support(i.reshape(*shape, k), v.reshape(*shape, k)) for i, v in zip(ids, valid, strict=True))
    return MeasuredSets(statistics, student, teacher, log_z[0].reshape(shape), log_z[1].reshape(shape))
