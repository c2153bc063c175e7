"""Statistics that need every token's probability, in few passes over a few rows at a time.

A row of 151,936 scores is 0.6 MB. Everything here works on `ROW_ELEMENTS` scores of either model, in scratch memory
that is made once: the passes run in the processor's cache, and each exponential is taken once and serves every
statistic. `overlap.divergence` defines the divergences; where a row leaves the range in which this arithmetic is exact
(a score of −inf, shared tokens of almost no mass) they are computed by those functions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from overlap import divergence
from overlap.pair import Pair, Side
from overlap.selection import block_maxima

ROW_ELEMENTS = 2**19
"""Scores of one model that are worked on at once (2 MiB of float32; never less than one row)."""

_FLOOR = -60.0  # exp(−60) = 1e-26 of the best token's: far below float32's 1e-7, far above its subnormal numbers
_LEAST_MASS = 1e-10

Columns = dict[str, Tensor]


@dataclass(eq=False)
class Scratch:
    """Named float32 buffers, made when first asked for."""

    device: torch.device
    _buffers: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, rows: int, width: int) -> Tensor:
        """``[rows, width]`` with anything in it."""
        if name not in self._buffers or self._buffers[name].numel() < rows * width:
            self._buffers[name] = torch.empty(rows * width, device=self.device)
        return self._buffers[name][: rows * width].view(rows, width)


@dataclass(frozen=True, eq=False)
class Whole:
    """What one pass over rows of both models found.

    Attributes:
        student_maxima: ``[n, blocks]`` of `overlap.selection.block_maxima`.
        teacher_maxima: the same of the teacher.
        at: by temperature, the whole-vocabulary statistics, ``[n]`` each, and the logarithms of both partition
            functions in float64, ``student_log_z`` and ``teacher_log_z``: a mass close to 1 is the exponential of a
            small difference of large numbers.
    """

    student_maxima: Tensor
    teacher_maxima: Tensor
    at: dict[float, Columns]


def measure_whole(
    student: Tensor, teacher: Tensor, pair: Pair, temperatures: Sequence[float], scratch: Scratch
) -> Whole:
    """Entropies and divergences of ``[n, V]`` raw scores of any floating type, at every temperature."""
    n, rows = student.shape[0], max(1, ROW_ELEMENTS // max(pair.student.size, pair.teacher.size))
    maxima: tuple[list[Tensor], list[Tensor]] = ([], [])
    parts: dict[float, list[Columns]] = {temperature: [] for temperature in temperatures}
    for start in range(0, n, rows):
        p_scores = _float(student[start : start + rows], "student scores", scratch)
        q_scores = _float(teacher[start : start + rows], "teacher scores", scratch)
        maxima[0].append(block_maxima(p_scores, pair.student.admissible, pair.student.touched))
        maxima[1].append(block_maxima(q_scores, pair.teacher.admissible, pair.teacher.touched))
        peaks = maxima[0][-1].amax(-1), maxima[1][-1].amax(-1)
        for temperature in temperatures:
            columns = _fused(p_scores, q_scores, peaks, pair, temperature, scratch)
            parts[temperature].append(_exact_where_needed(columns, p_scores, q_scores, pair, temperature))
    return Whole(
        torch.cat(maxima[0]),
        torch.cat(maxima[1]),
        {t: {name: torch.cat([part[name] for part in list_]) for name in list_[0]} for t, list_ in parts.items()},
    )


def _float(scores: Tensor, name: str, scratch: Scratch) -> Tensor:
    if scores.dtype == torch.float32 and scores.device == scratch.device:
        return scores
    return scratch(name, *scores.shape).copy_(scores)


def _fused(
    p_scores: Tensor,
    q_scores: Tensor,
    peaks: tuple[Tensor, Tensor],
    pair: Pair,
    temperature: float,
    scratch: Scratch,
) -> Columns:
    student = _softmax(p_scores, peaks[0], pair.student, temperature, scratch, "student")
    teacher = _softmax(q_scores, peaks[1], pair.teacher, temperature, scratch, "teacher")
    columns = {
        "student_entropy": student.entropy,
        "teacher_entropy": teacher.entropy,
        "student_log_z": student.z.double().log() + peaks[0].double() / temperature,
        "teacher_log_z": teacher.z.double().log() + peaks[1].double() / temperature,
    }
    if pair.shared is None:
        ones = torch.ones_like(student.z)
        masses = {"student_mapped_mass": ones, "teacher_mapped_mass": ones}
    else:
        student, teacher = (
            student.at(pair.shared[0], scratch, "student"),
            teacher.at(pair.shared[1], scratch, "teacher"),
        )
        masses = {"student_mapped_mass": student.share, "teacher_mapped_mass": teacher.share}
    return columns | _divergences(student, teacher, scratch) | masses


@dataclass(frozen=True, eq=False)
class _Exponentials:
    """exp(scores − best) and their sums; the scores ``shifted`` are below zero, ``values`` not normalised."""

    shifted: Tensor
    values: Tensor
    z: Tensor
    whole_z: Tensor
    entropy: Tensor

    @property
    def log_z(self) -> Tensor:
        return self.z.log()

    @property
    def share(self) -> Tensor:
        return (self.z / self.whole_z).clamp_max(1.0)

    def at(self, ids: Tensor, scratch: Scratch, name: str) -> "_Exponentials":
        n = self.z.shape[0]
        shifted = torch.index_select(self.shifted, 1, ids, out=scratch(f"{name} shared", n, ids.numel()))
        values = torch.index_select(self.values, 1, ids, out=scratch(f"{name} shared values", n, ids.numel()))
        return _Exponentials(shifted, values, values.sum(-1), self.whole_z, self.entropy)


def _softmax(
    scores: Tensor, peak: Tensor, side: Side, temperature: float, scratch: Scratch, name: str
) -> _Exponentials:
    shifted = torch.sub(scores, peak[:, None], out=scratch(f"{name} shifted", *scores.shape))
    if temperature != 1.0:
        shifted.div_(temperature)
    if side.blocked.numel():
        shifted.index_fill_(1, side.blocked, _FLOOR)
    values = torch.clamp(shifted, min=_FLOOR, out=scratch(f"{name} values", *scores.shape)).exp_()
    z = values.sum(-1)
    product = torch.mul(values, shifted, out=scratch("product", *scores.shape))
    entropy = (z.log() - product.sum(-1) / z).clamp_min(0.0)
    return _Exponentials(shifted, values, z, z, entropy)


def _divergences(student: _Exponentials, teacher: _Exponentials, scratch: Scratch) -> Columns:
    """Divergences of two distributions over one set of tokens; takes both apart.

    With d = log p − log q and m = ½ (p + q), Jensen-Shannon is Σ m log(max(p, q) / m) − ½ Σ min(p, q) |d|, whose
    logarithm lies between 0 and log 2 for every token.
    """
    p, shape = student.values, student.values.shape
    q = teacher.values.mul_((student.z / teacher.z)[:, None])  # from here p and q have one sum, z
    z, product = student.z, scratch("product", *shape)
    d = torch.sub(student.shifted, teacher.shifted, out=scratch("difference", *shape))
    d.sub_((student.log_z - teacher.log_z)[:, None])
    reverse = torch.mul(p, d, out=product).sum(-1) / z
    forward = -torch.mul(q, d, out=product).sum(-1) / z
    largest = torch.maximum(p, q, out=student.shifted)
    variation = largest.sum(-1) / z - 1.0
    middle = torch.lerp(p, q, 0.5, out=teacher.shifted)
    smallest = torch.minimum(p, q, out=p)
    weighted = torch.mul(smallest, d.abs_(), out=product).sum(-1) / 2
    logarithm = largest.div_(middle).log_()
    jensen = (torch.mul(middle, logarithm, out=product).sum(-1) - weighted) / z
    return {
        "forward_kl": forward.clamp_min(0.0),
        "reverse_kl": reverse.clamp_min(0.0),
        "jensen_shannon": jensen.clamp(0.0, math.log(2.0)),
        "total_variation": variation.clamp(0.0, 1.0),
    }


def _exact_where_needed(columns: Columns, student: Tensor, teacher: Tensor, pair: Pair, temperature: float) -> Columns:
    fine = torch.stack([value.isfinite() for value in columns.values()]).all(0)
    fine &= (columns["student_mapped_mass"] > _LEAST_MASS) & (columns["teacher_mapped_mass"] > _LEAST_MASS)
    odd = (~fine).nonzero()[:, 0]
    if odd.numel():
        exact = exact_columns(student[odd], teacher[odd], pair, temperature)
        columns = {name: value.index_copy(0, odd, exact[name]) for name, value in columns.items()}
    return columns


def exact_columns(student: Tensor, teacher: Tensor, pair: Pair, temperature: float) -> Columns:
    """The columns of `measure_whole` from log-probabilities, by the definitions of `overlap.divergence`."""
    log_p = divergence.log_softmax(student, pair.student.admissible, temperature=temperature)
    log_q = divergence.log_softmax(teacher, pair.teacher.admissible, temperature=temperature)
    admissible = pair.student.admissible
    columns = {
        "student_entropy": divergence.entropy(log_p, admissible),
        "teacher_entropy": divergence.entropy(log_q, pair.teacher.admissible),
        "student_log_z": _log_partition(student, pair.student, temperature),
        "teacher_log_z": _log_partition(teacher, pair.teacher, temperature),
    }
    student_mapped = teacher_mapped = torch.ones(log_p.shape[0], device=log_p.device)
    empty = torch.zeros_like(student_mapped, dtype=torch.bool)
    if pair.shared is not None:
        log_p, log_q, admissible = log_p[:, pair.shared[0]], log_q[:, pair.shared[1]], None
        student_mapped, teacher_mapped = log_p.exp().sum(-1).clamp_max(1.0), log_q.exp().sum(-1).clamp_max(1.0)
        empty = (student_mapped == 0) | (teacher_mapped == 0)
        log_p, log_q = divergence.log_softmax(log_p), divergence.log_softmax(log_q)
    functions: dict[str, Callable[[], Tensor]] = {
        "forward_kl": lambda: divergence.kl_divergence(log_q, log_p, admissible),
        "reverse_kl": lambda: divergence.kl_divergence(log_p, log_q, admissible),
        "jensen_shannon": lambda: divergence.jensen_shannon(log_p, log_q, admissible),
        "total_variation": lambda: divergence.total_variation(log_p, log_q, admissible),
    }
    # Where a side has nothing on the shared ids there is nothing to renormalise.
    columns |= {name: torch.where(empty, torch.nan, function()) for name, function in functions.items()}
    return columns | {"student_mapped_mass": student_mapped, "teacher_mapped_mass": teacher_mapped}


def _log_partition(scores: Tensor, side: Side, temperature: float) -> Tensor:
    if side.admissible is not None:
        scores = scores[:, side.admissible]
    return (scores.double() / temperature).logsumexp(-1)
