"""Statistics that need every token's probability, in few passes over a few rows at a time.

A row of 151,936 scores is 0.6 MB. Everything here works on `ROW_ELEMENTS` scores of either model, in scratch memory
that is made once: the passes run in the processor's cache, and each exponential is taken once and serves every
statistic. They are powers of two, which is the faster function, so logarithms are in bits until the last step. That is
for CPUs; an accelerator takes the same sums from `overlap.fused`.
`overlap.divergence` defines the divergences; where a row leaves the range in which this arithmetic is exact (a score of
−inf, shared tokens of almost no mass) they are computed by those functions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap import divergence, fused
from overlap.pair import Pair, Side
from overlap.scratch import Scratch
from overlap.selection import block_maxima

ROW_ELEMENTS = 5 * 2**16
"""Scores of one model that are worked on at once (1.25 MiB of float32; never less than one row)."""

_LN_2 = math.log(2.0)
_LEAST_MASS = 1e-10

Columns = dict[str, Tensor]


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
    n, on_cpu = student.shape[0], scratch.device.type == "cpu"
    rows = max(1, ROW_ELEMENTS // max(pair.student.size, pair.teacher.size)) if on_cpu else max(1, n)
    maxima: tuple[list[Tensor], list[Tensor]] = ([], [])
    sums: dict[float, list[Tensor]] = {temperature: [] for temperature in temperatures}
    for start in range(0, n, rows):
        p_scores = _float(student[start : start + rows], "student scores", scratch)
        q_scores = _float(teacher[start : start + rows], "teacher scores", scratch)
        maxima[0].append(block_maxima(p_scores, pair.student.admissible, pair.student.touched))
        maxima[1].append(block_maxima(q_scores, pair.teacher.admissible, pair.teacher.touched))
        peaks = maxima[0][-1].amax(-1, keepdim=True), maxima[1][-1].amax(-1, keepdim=True)
        for temperature in temperatures:
            sums[temperature].append(
                _sums(p_scores, q_scores, peaks, pair, temperature, scratch)
                if on_cpu
                else fused.sums(p_scores, q_scores, peaks, pair, temperature)
            )
    student_maxima, teacher_maxima = torch.cat(maxima[0]), torch.cat(maxima[1])
    peaks = student_maxima.amax(-1), teacher_maxima.amax(-1)
    at = {
        temperature: _exact_where_needed(
            _columns(torch.cat(parts, -1), peaks, temperature), student, teacher, pair, temperature
        )
        for temperature, parts in sums.items()
    }
    return Whole(student_maxima, teacher_maxima, at)


def _float(scores: Tensor, name: str, scratch: Scratch) -> Tensor:
    if scores.dtype == torch.float32 and scores.device == scratch.device:
        return scores
    return scratch(name, *scores.shape).copy_(scores)


@dataclass(frozen=True, eq=False)
class _Powers:
    """2^bits and their sums ``[n]``; ``bits``, the scores' distance from the best one over ln 2, are at most zero."""

    bits: Tensor
    values: Tensor
    z: Tensor

    def at(self, ids: Tensor, scratch: Scratch, name: str) -> "_Powers":
        n = self.z.shape[0]
        bits = torch.index_select(self.bits, 1, ids, out=scratch(f"{name} shared", n, ids.numel()))
        values = torch.index_select(self.values, 1, ids, out=scratch(f"{name} shared values", n, ids.numel()))
        return _Powers(bits, values, values.sum(-1))


def _powers(
    scores: Tensor, peak: Tensor, side: Side, temperature: float, scratch: Scratch, name: str
) -> tuple[_Powers, Tensor]:
    """And Σ values · bits, ``[n]``."""
    bits = torch.sub(scores, peak, out=scratch(f"{name} bits", *scores.shape)).mul_(1 / (temperature * _LN_2))
    if side.blocked.numel():
        bits.index_fill_(1, side.blocked, fused.FLOOR)
    values = torch.clamp(bits, min=fused.FLOOR, out=scratch(f"{name} values", *scores.shape)).exp2_()
    weighted = torch.mul(values, bits, out=scratch("product", *scores.shape)).sum(-1)
    return _Powers(bits, values, values.sum(-1)), weighted


def _sums(
    p_scores: Tensor,
    q_scores: Tensor,
    peaks: tuple[Tensor, Tensor],
    pair: Pair,
    temperature: float,
    scratch: Scratch,
) -> Tensor:
    """The sums over the vocabulary that `_columns` takes, ``[11, n]``.

    With d = log₂ p − log₂ q and m = ½ (p + q), Jensen-Shannon is Σ m log₂(max(p, q) / m) − ½ Σ min(p, q) |d| bits,
    whose first logarithm lies between 0 and 1 for every token.
    """
    student, student_bits = _powers(p_scores, peaks[0], pair.student, temperature, scratch, "student")
    teacher, teacher_bits = _powers(q_scores, peaks[1], pair.teacher, temperature, scratch, "teacher")
    whole = [student.z, teacher.z, student_bits, teacher_bits]
    if pair.shared is not None:
        student, teacher = (
            student.at(pair.shared[0], scratch, "student"),
            teacher.at(pair.shared[1], scratch, "teacher"),
        )
    product, ratio = scratch("product", *student.values.shape), student.z / teacher.z
    p, q = student.values, teacher.values.mul_(ratio[:, None])  # from here p and q have one sum
    d = student.bits.sub_(teacher.bits).sub_(ratio.log2()[:, None])
    reverse = torch.mul(p, d, out=product).sum(-1)
    forward = torch.mul(q, d, out=product).sum(-1)
    smallest = torch.minimum(p, q, out=product).mul_(d.abs_()).sum(-1)
    largest = torch.maximum(p, q, out=teacher.bits)
    variation = largest.sum(-1)
    middle = torch.lerp(p, q, 0.5, out=student.bits)
    middle_bits = largest.div_(middle).log2_().mul_(middle).sum(-1)
    return torch.stack([*whole, student.z, teacher.z, reverse, forward, smallest, variation, middle_bits])


def _columns(sums: Tensor, peaks: tuple[Tensor, Tensor], temperature: float) -> Columns:
    z_s, z_t, bits_s, bits_t, z, shared_z_t, reverse, forward, smallest, variation, middle = sums.double().unbind()
    columns = {
        "student_entropy": z_s.log() - _LN_2 * bits_s / z_s,  # never negative: z is at least 1, bits at most 0
        "teacher_entropy": z_t.log() - _LN_2 * bits_t / z_t,
        "forward_kl": (-_LN_2 * forward / z).clamp_min(0.0),
        "reverse_kl": (_LN_2 * reverse / z).clamp_min(0.0),
        "jensen_shannon": (_LN_2 * (middle - smallest / 2) / z).clamp(0.0, _LN_2),
        "total_variation": (variation / z - 1.0).clamp(0.0, 1.0),
        "student_mapped_mass": (z / z_s).clamp_max(1.0),
        "teacher_mapped_mass": (shared_z_t / z_t).clamp_max(1.0),
    }
    columns = {name: value.float() for name, value in columns.items()}
    return columns | {
        "student_log_z": z_s.log() + peaks[0].double() / temperature,
        "teacher_log_z": z_t.log() + peaks[1].double() / temperature,
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
