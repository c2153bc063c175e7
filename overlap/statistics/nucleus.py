"""Overlap of top-p sets, from the best tokens where they reach p and from the full vocabulary elsewhere."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overlap.core.buffers import Scratch
from overlap.core.topk import Support, intersection
from overlap.core.topk_kernel import BLOCK
from overlap.vocab.vocab_pair import Side, VocabularyPair

_SORTED = 2048
"""Number of tokens to sort directly: this takes less time than another pass over the vocabulary."""
_SAMPLE = 1024
"""Size of a sample of tokens; ranks in it have an error of about √1024 = 32."""

_LN_2 = math.log(2.0)


def nucleus_overlap(
    scores: tuple[Tensor, Tensor],
    ranked: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    log_z: tuple[Tensor, Tensor],
    pair: VocabularyPair,
    temperature: float,
    p: float,
    scratch: Scratch,
) -> Tensor:
    """Return Jaccard index of both models' top-p sets: the smallest sets of most probable tokens whose mass reaches p.

    Tokens that the other vocabulary lacks are dropped after a set is chosen, as is done for supports.

    Args:
        scores: the student's and the teacher's raw scores, ``[n, V]`` of any floating type.
        ranked: of each, the best scores and ids in order, ``[n, m]``.
        log_z: of each, ``[n]`` float64, the logarithm of the partition function at ``temperature``.
        pair: the vocabularies.
        temperature: divides the scores.
        p: mass to reach, equal scores by ascending id.
        scratch: memory to work in.

    Returns:
        ``[n]``, NaN where both sets are empty.
    """
    undefined = ~(log_z[0].isfinite() & log_z[1].isfinite())  # a row without a softmax is refused elsewhere
    # Most nuclei of speech recognizers are within the ranked tokens: all rows at once. The others are processed row by
    # row below.
    supports, narrow = [], torch.ones_like(undefined)
    for (values, ids), z in zip(ranked, log_z, strict=True):
        mass = (values.double() / temperature - z[:, None]).exp()
        before = mass.cumsum(-1) - mass
        member = before < p
        supports.append(Support(ids.masked_fill(~member, 0), member))
        narrow &= (mass.sum(-1) >= p) | undefined
    # Slots beyond the longest nucleus are dropped: in a small vocabulary the ranking is much longer.
    longest = torch.maximum(supports[0].size, supports[1].size)[narrow]
    width = int(longest.max()) if longest.numel() else 0
    supports = [Support(support.ids[:, :width], support.valid[:, :width]) for support in supports]
    student, teacher = pair.student_support(supports[0]), pair.teacher_support(supports[1])
    shared = intersection(student, teacher).size
    result = shared / (student.size + teacher.size - shared)
    for row in (~narrow).nonzero()[:, 0].tolist():
        student = _nucleus(scores[0][row], log_z[0][row], pair.student, temperature, p, scratch, "student nucleus")
        teacher = _nucleus(scores[1][row], log_z[1][row], pair.teacher, temperature, p, scratch, "teacher nucleus")
        if pair.shared is not None:
            student, teacher = student[pair.shared[0]], teacher[pair.shared[1]]
        # Sets as vectors of 0 and 1: a dot product counts common tokens; summing boolean masks is slow.
        both = torch.dot(student, teacher)
        result[row] = both / (student.sum() + teacher.sum() - both)
    return result


def _nucleus(
    scores: Tensor, log_z: Tensor, side: Side, temperature: float, p: float, scratch: Scratch, name: str
) -> Tensor:
    """Return the top-p set of one row of scores: ``[V]`` float32, 1 for its members, else 0."""
    size, padded = scores.numel(), -(-scores.numel() // BLOCK) * BLOCK
    padded_mass, above = scratch("mass", 1, padded)[0], scratch(name, 1, padded)[0]
    padded_mass[size:] = 0.0
    mass = padded_mass[:size]
    # Powers of two are faster, and units of the best token's mass keep most digits.
    mass.copy_(scores)
    mass[side.blocked] = -torch.inf  # whatever the value is, including NaN
    peak = mass.max()
    mass.sub_(peak).mul_(1 / (temperature * _LN_2)).exp2_()
    # From log z, which is accurate even if one token has nearly all of the mass.
    total = float((log_z - peak.double() / temperature).exp())
    least, last = _find_boundary(padded_mass, p * total, total, above)
    # Of tokens with equal mass, the lower ids are members, up to the last one needed for the goal, as in a stable sort.
    torch.ge(mass[: last + 1], least, out=above[: last + 1])
    torch.gt(mass[last + 1 :], least, out=above[last + 1 : size])
    return above[:size]


def _find_boundary(mass: Tensor, goal: float, total: float, above: Tensor) -> tuple[float, int]:
    """Return the least mass of a token in the smallest set that reaches the goal, and the last id with that mass in
    it."""
    bracket = _Bracket.narrowed(mass, goal, total, above)
    ids = bracket.ids_between()
    ordered, order = mass[ids].sort(descending=True, stable=True)
    # In float64: the goal is compared with sums of thousands of small masses.
    before = ordered.double().cumsum(0) - ordered.double() + bracket.above_high[1]
    place = int((before < goal).sum()) - 1
    return float(ordered[place]), int(ids[order[place]])


@dataclass
class _Bracket:
    """Two masses around the one sought: the tokens above ``low`` reach the goal, those above ``high`` do not.

    Attributes:
        mass: ``[V]`` of every token.
        goal: what the set has to reach.
        above: ``[V]`` a buffer.
        low: the lower mass.
        high: the upper mass.
        above_low: how many tokens lie above the lower mass, and their sum.
        above_high: the same of the upper mass.
    """

    mass: Tensor
    goal: float
    above: Tensor
    low: float
    high: float
    above_low: tuple[int, float]
    above_high: tuple[int, float] = (0, 0.0)

    @classmethod
    def narrowed(cls, mass: Tensor, goal: float, total: float, above: Tensor) -> "_Bracket":
        """Narrow the bracket until few tokens lie between, first by a sample of the tokens, then by interpolation."""
        bracket = cls(mass, goal, above, 0.0, float(mass.max()), (mass.numel(), total))
        # The tokens outside have little mass and are many: a sample is more informative about them than about those
        # inside.
        step = max(1, mass.numel() // _SAMPLE)
        sample = mass[::step].sort().values
        at, margin = int(torch.searchsorted(step * sample.cumsum(0), total - goal)), sample.numel() // 32
        for place in (at - margin, at + margin):
            if bracket.is_wide:
                bracket.move_end(float(sample[min(max(place, 0), sample.numel() - 1)]))
        # Interpolation may get stuck at one end if the masses have gaps: unless the width has halved, the middle is
        # tried as well. This guarantees that the loop ends.
        while bracket.is_wide:
            width = bracket.width
            margin = (bracket.above_low[1] - bracket.above_high[1]) / 32
            for reached in (goal + margin, goal - margin):
                bracket.move_end(bracket.mass_at(reached))
            if bracket.width > width / 2:
                bracket.move_end(bracket.mass_at(None))
                bracket.try_largest()
        return bracket

    @property
    def is_wide(self) -> bool:
        """Whether many tokens with different masses lie between."""
        # Masses within 1e-6 of each other differ by a few float32 steps: such tokens are equal or will be sorted.
        return self.above_low[0] - self.above_high[0] > _SORTED and self.width > 1e-6

    @property
    def width(self) -> float:
        """Logarithm of the ratio of the two masses; a lower mass of 0 counts as 1e-9 of the upper one."""
        return math.log(self.high / max(self.low, 1e-9 * self.high))

    def mass_at(self, reached: float | None) -> float:
        """Return the mass above which the tokens have that sum, by interpolation in its logarithm; the middle if
        None."""
        share = 0.5
        if reached is not None:
            share = (reached - self.above_high[1]) / (self.above_low[1] - self.above_high[1])
        return self.high * math.exp(-self.width * min(max(share, 0.0), 1.0))

    def move_end(self, mass: float) -> None:
        """Move one end to a mass between them."""
        # Comparisons go to the float buffer, not to a mask: it is multiplied with the masses next.
        torch.gt(self.mass, mass, out=self.above)
        found = int(self.above.sum()), float(self.above.mul_(self.mass).sum())
        if found[1] >= self.goal and mass > self.low:
            self.low, self.above_low = mass, found
        elif found[1] < self.goal and mass < self.high:
            self.high, self.above_high = mass, found

    def try_largest(self) -> None:
        """Try the largest mass between: many tokens may have exactly this mass."""
        self.high = float(torch.le(self.mass, self.high, out=self.above).mul_(self.mass).max())
        self.move_end(float(np.nextafter(np.float32(self.high), np.float32(0.0))))

    def ids_between(self) -> Tensor:
        """Return ids of the tokens between, ascending; only blocks with such a token are searched."""
        # `nonzero` over the vocabulary takes longer than block maxima followed by `nonzero` over the relevant blocks.
        band = torch.le(self.mass, self.high, out=self.above).mul_(self.mass).view(-1, BLOCK)
        blocks = (band.amax(-1) > self.low).nonzero()[:, 0]
        found = (band.index_select(0, blocks).view(-1) > self.low).nonzero()[:, 0]
        return blocks[found // BLOCK] * BLOCK + found % BLOCK
