"""The record that defines a statistic."""

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Definition:
    """Definition of a statistic.

    Attributes:
        unit: of one position's value (or one sequence's).
        formula: p and S are the student's distribution and support, q and T the teacher's; I = S∩T, U = S∪T, a bar
            renormalizes on that set.
        range: the values it can take, as ``"low … high"`` or ``"a or b"``; k is the set size, V the vocabulary's.
        undefined: where it has no value; it is then NaN and counted.
        source: the publication that defines it, with the equation where it has a number.
        reading: what is a good value and what is a warning. A threshold is either published, with its source, or marked
            as a rule of thumb.
        alias: the name it goes by in the literature, if another.
    """

    unit: str
    formula: str
    range: str
    undefined: str
    source: str
    reading: str
    alias: str | None = None

    def limits(self, k: int | None = None, vocabulary: int | None = None) -> tuple[float, float]:
        """Return both bounds of `range` as numbers; infinite also if they depend on an argument that is not given.

        Args:
            k: size of the supports.
            vocabulary: V, tokens that a distribution is over.
        """
        ends = {"ln 2": math.log(2)}
        if k is not None:
            ends |= {"k": float(k), "2k": 2.0 * k}
        if vocabulary is not None:
            ends |= {"V": float(vocabulary), "ln V": math.log(vocabulary)}
        low, high = (
            ends.get(text, float(text) if text.isdecimal() else None) for text in re.split(" … | or ", self.range)
        )
        return (-math.inf if low is None else low), (math.inf if high is None else high)
