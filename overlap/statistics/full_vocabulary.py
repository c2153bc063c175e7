"""Statistics that need every token's probability, in few passes over a few rows at a time.

A row of 151,936 scores is 0.6 MB. Everything here works on `overlap.core.chunking.ROW_ELEMENTS` scores of each model,
in scratch memory that is allocated once: the passes run in the processor's cache, and each exponential is computed once
for all statistics. Powers of two are faster, so logarithms are in bits until the last step. This is for CPUs;
accelerators compute the same sums in `overlap.statistics.full_vocabulary_gpu`.

Two kinds of rows need more than float32 sums. If a model is nearly certain of a token, the other tokens are lost in
rounding beside it: such rows are summed in float64. If the models nearly agree, a divergence is smaller than the
rounding of its probabilities: it is computed from differences of scores, as in `overlap.core.nearly_equal`. Rows
outside the range of both methods (a score of −inf, shared tokens with almost no mass) are computed in
`overlap.statistics.full_vocabulary_float64`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.core import chunking
from overlap.core.buffers import Scratch
from overlap.core.nearly_equal import NEAR
from overlap.core.topk_kernel import block_maxima
from overlap.statistics import full_vocabulary_gpu
from overlap.statistics.full_vocabulary_float64 import exact_columns
from overlap.vocab.vocab_pair import Side, VocabularyPair

_LN_2 = math.log(2.0)
_LEAST_MASS = 1e-10
"""Least mass of a model on the shared tokens: with less, some of them fall below `full_vocabulary_gpu.FLOOR` and are
0."""

Columns = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class FullVocabulary:
    """Results of one pass over rows of both models.

    Attributes:
        student_maxima: ``[n, blocks]`` of `overlap.core.topk_kernel.block_maxima`.
        teacher_maxima: the same of the teacher.
        at: by temperature, the full-vocabulary statistics, ``[n]`` each, and the logarithms of both partition
            functions in float64, ``student_log_z`` and ``teacher_log_z``: a mass close to 1 is the exponential of a
            small difference of large numbers.
    """

    student_maxima: Tensor
    teacher_maxima: Tensor
    at: dict[float, Columns]


def measure_full_vocabulary(
    student: Tensor, teacher: Tensor, pair: VocabularyPair, temperatures: Sequence[float], scratch: Scratch
) -> FullVocabulary:
    """Return entropies and divergences of ``[n, V]`` raw scores of any floating type, at every temperature."""
    n, on_cpu = student.shape[0], scratch.device.type == "cpu"
    width = max(pair.student.size, pair.teacher.size)
    # An accelerator processes the rows at once: there is no cache to fit, and `Measurement` has limited their number.
    parts = chunking.parts_of(n, width, chunking.ROW_ELEMENTS) if on_cpu else [slice(n)]
    maxima: tuple[list[Tensor], list[Tensor]] = ([], [])
    sums: dict[float, list[Sequence[Tensor]]] = {temperature: [] for temperature in temperatures}
    for rows in parts:
        p_scores = _float(student[rows], "student scores", scratch)
        q_scores = _float(teacher[rows], "teacher scores", scratch)
        both = (
            block_maxima(p_scores, pair.student.admissible, pair.student.touched),
            block_maxima(q_scores, pair.teacher.admissible, pair.teacher.touched),
        )
        maxima[0].append(both[0])
        maxima[1].append(both[1])
        for temperature in temperatures:
            sums[temperature].append(
                _sums(p_scores, q_scores, both, pair, temperature, scratch)
                if on_cpu
                else full_vocabulary_gpu.sums(p_scores, q_scores, both, pair, temperature).unbind()
            )
    student_maxima, teacher_maxima = torch.cat(maxima[0]), torch.cat(maxima[1])
    peaks = student_maxima.amax(-1), teacher_maxima.amax(-1)
    at = {
        temperature: _replace_imprecise_rows(
            _columns([torch.cat(part).double() for part in zip(*found, strict=True)], peaks, temperature),
            student,
            teacher,
            pair,
            temperature,
        )
        for temperature, found in sums.items()
    }
    return FullVocabulary(student_maxima, teacher_maxima, at)


def _float(scores: Tensor, name: str, scratch: Scratch) -> Tensor:
    if scores.dtype == torch.float32 and scores.device == scratch.device:
        return scores
    return scratch(name, *scores.shape).copy_(scores)


@dataclass(frozen=True, eq=False)
class _Powers:
    """2^bits and their sums ``[n]``; ``bits``, the scores' distance from the best one over ln 2, are at most zero.

    At `overlap.statistics.full_vocabulary_gpu.FLOOR` and below a value is exactly zero: a masked score adds nothing.
    """

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
    """Return the powers, and Σ values · bits, ``[n]``."""
    bits = torch.sub(scores, peak, out=scratch(f"{name} bits", *scores.shape)).mul_(1 / (temperature * _LN_2))
    if side.blocked.numel():
        # Not −inf, which times a value of 0 would be NaN in the weighted sum.
        bits.index_fill_(1, side.blocked, full_vocabulary_gpu.FLOOR)
    out = scratch(f"{name} values", *scores.shape)
    # `threshold` compares and selects in one pass; a mask would be a third array in the cache.
    values = torch.threshold(bits, full_vocabulary_gpu.FLOOR, -torch.inf, out=out).exp2_()
    weighted = torch.mul(values, bits, out=scratch("product", *scores.shape)).sum(-1)
    return _Powers(bits, values, values.sum(-1)), weighted


def _sums(
    p_scores: Tensor,
    q_scores: Tensor,
    maxima: tuple[Tensor, Tensor],
    pair: VocabularyPair,
    temperature: float,
    scratch: Scratch,
) -> list[Tensor]:
    """Return the ten sums over the vocabulary for `_columns`, ``[n]`` each: those of
    `overlap.statistics.full_vocabulary_gpu.steps`.

    With d = log₂ p − log₂ q and m = ½ (p + q), Jensen-Shannon is Σ m log₂(max(p, q) / m) − ½ Σ min(p, q) |d| bits; its
    first logarithm lies between 0 and 1 for every token.
    """
    peaks = maxima[0].amax(-1, keepdim=True), maxima[1].amax(-1, keepdim=True)
    own, own_bits = _powers(p_scores, peaks[0], pair.student, temperature, scratch, "student")
    other, other_bits = _powers(q_scores, peaks[1], pair.teacher, temperature, scratch, "teacher")
    student, teacher = own, other
    if pair.shared is not None:
        student, teacher = own.at(pair.shared[0], scratch, "student"), other.at(pair.shared[1], scratch, "teacher")
    product, z, ratio = scratch("product", *student.values.shape), student.z, student.z / teacher.z
    p, q = student.values, teacher.values.mul_(ratio[:, None])  # from here on, p and q have the same sum
    # From the scores, not from p and q: if the models nearly agree, only the scores have all digits of log p − log q.
    d = student.bits.sub_(teacher.bits).sub_(ratio.log2()[:, None])
    reverse, forward = torch.mul(p, d, out=product).sum(-1), torch.mul(q, d, out=product).sum(-1).neg_()
    sums, close = [own.z.double(), other.z.double()], None
    rows = _imprecise_rows(reverse, forward, z, own.z, other.z)
    if rows:  # only these: the result of a row must not depend on other rows
        p_rows, q_rows, d_rows = (_select_rows(x, rows, scratch, name) for x, name in ((p, "p"), (q, "q"), (d, "d")))
        by = ratio[rows]
        # The float32 ratio makes the sums of p and q differ by rounding; exact sums give the difference, and d is
        # corrected by it.
        exact = p_rows.sum(-1, dtype=torch.float64), q_rows.sum(-1, dtype=torch.float64) / by
        if pair.shared is None:
            sums[0][rows], sums[1][rows] = exact
        else:
            for total, powers, name in zip(sums, (own, other), ("own", "other"), strict=True):
                total[rows] = _select_rows(powers.values, rows, scratch, name).sum(-1, dtype=torch.float64)
        d_rows.add_((by.double().log2() - (exact[0] / exact[1]).log2()).float()[:, None])
        close = _near_divergences(p_rows, q_rows, d_rows, scratch)
    if len(rows) == len(z) and close is not None:
        found = close
    else:
        # From here on, arrays that are no longer needed are overwritten: a new array would have to be loaded into the
        # cache.
        smallest = torch.minimum(p, q, out=product).mul_(d.abs_()).sum(-1)
        largest = torch.maximum(p, q, out=teacher.bits)
        variation = largest.sum(-1).sub_(z)  # Σ max(p, q) − Σ p = ½ Σ |p − q|, because p and q have the same sum
        middle = torch.lerp(p, q, 0.5, out=student.bits)
        middle_bits = largest.div_(middle).log2_().mul_(middle).nansum(-1)  # 0/0: a token with probability 0 in both
        found = torch.stack([_LN_2 * reverse, _LN_2 * forward, _LN_2 * (middle_bits - smallest / 2), variation])
        if close is not None:
            found[:, rows] = close
    return [sums[0], own_bits, sums[1], other_bits, *(sums if pair.shared is None else (z, teacher.z)), *found]


def _imprecise_rows(reverse: Tensor, forward: Tensor, *sums: Tensor) -> list[int]:
    """Return the rows for which float32 sums are not enough: the models nearly agree, or one is nearly certain of a
    token."""
    # In Python: for the few rows of a part, a mask and its `nonzero` would take longer.
    columns = zip(*torch.stack([reverse, forward, *sums]).tolist(), strict=True)
    return [
        row
        for row, (kl, back, z, z_p, z_q) in enumerate(columns)
        if min(kl, back) * _LN_2 < NEAR * z or min(z_p, z_q) < 1 + NEAR
    ]


def _select_rows(x: Tensor, rows: list[int], scratch: Scratch, name: str) -> Tensor:
    if len(rows) == len(x):
        return x
    out = scratch(f"some {name}", len(rows), x.shape[1])
    return torch.index_select(x, 0, torch.tensor(rows, device=x.device), out=out)


def _near_divergences(p: Tensor, q: Tensor, d: Tensor, scratch: Scratch) -> Tensor:
    """Return the result of `overlap.core.nearly_equal.near_divergences`, overwriting its arguments.

    A separate implementation, because it computes all four divergences in one pass over rows in the cache: functions
    that allocate their results use three times the memory.
    """
    n, width = p.shape
    largest, minus = torch.maximum(p, q, out=p), torch.abs(d, out=q).mul_(-_LN_2)
    v = torch.expm1(minus, out=scratch("product", n, width))
    weighed = torch.addcmul(minus, minus, v, out=scratch("weighed", n, width))
    work = scratch("work", n, width)
    variation = torch.mul(v, largest, out=work).sum(-1) / -2
    smaller = torch.sub(weighed, v, out=work).mul_(largest)
    least, more = smaller.sum(-1), torch.sub(v, minus, out=minus).mul_(largest).sub_(smaller)
    # `more` is the excess of the larger one's KL over the smaller one's: one selection per token serves both
    # directions.
    of_p = torch.gt(d, 0.0, out=d).mul_(more)
    reverse, forward = least + of_p.sum(-1), least + more.sub_(of_p).sum(-1)
    log = torch.log1p(v.div_(2), out=work)
    middle = weighed.div_(2).sub_(log.addcmul_(log, v)).mul_(largest).sum(-1)
    return torch.stack([reverse, forward, middle, variation])


def _columns(sums: Sequence[Tensor], peaks: tuple[Tensor, Tensor], temperature: float) -> Columns:
    z_s, bits_s, z_t, bits_t, z, shared_z_t, reverse, forward, middle, variation = sums
    columns = {
        "student_entropy": z_s.log() - _LN_2 * bits_s / z_s,  # never negative: z is at least 1, bits at most 0
        "teacher_entropy": z_t.log() - _LN_2 * bits_t / z_t,
        "forward_kl": (forward / z).clamp_min(0.0),
        "reverse_kl": (reverse / z).clamp_min(0.0),
        "jensen_shannon": (middle / z).clamp(0.0, _LN_2),
        "total_variation": (variation / z).clamp(0.0, 1.0),
        "student_mapped_mass": (z / z_s).clamp_max(1.0),
        "teacher_mapped_mass": (shared_z_t / z_t).clamp_max(1.0),
    }
    columns = {name: value.float() for name, value in columns.items()}
    return columns | {
        "student_log_z": z_s.log() + peaks[0].double() / temperature,
        "teacher_log_z": z_t.log() + peaks[1].double() / temperature,
    }


def _replace_imprecise_rows(
    columns: Columns, student: Tensor, teacher: Tensor, pair: VocabularyPair, temperature: float
) -> Columns:
    # Scores of −inf and NaN show in the sums; searching the logits for them would take another pass.
    fine = torch.stack([value.isfinite() for value in columns.values()]).all(0)
    fine &= (columns["student_mapped_mass"] > _LEAST_MASS) & (columns["teacher_mapped_mass"] > _LEAST_MASS)
    odd = (~fine).nonzero()[:, 0]
    columns = {name: value.clone() for name, value in columns.items()}
    for part in chunking.parts_of(odd.numel(), max(pair.student.size, pair.teacher.size), chunking.ROW_ELEMENTS):
        rows = odd[part]
        exact = exact_columns(student[rows], teacher[rows], pair, temperature)
        for name, value in columns.items():
            value[rows] = exact[name].to(value.dtype)
    return columns
