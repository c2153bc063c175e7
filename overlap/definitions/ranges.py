"""How far a statistic can go, given what was measured."""

import math
from dataclasses import dataclass

from overlap.definitions.names import ALL

_CERTAIN = ("student_size", "teacher_size", "student_mapped_mass", "teacher_mapped_mass")
_SETS = {"union_size": (1, 2), "intersection_size": (0, 1)}


@dataclass(frozen=True)
class Ranges:
    """What bounds every statistic of one measurement.

    Attributes:
        k: size of the top-k sets, None if it is not known.
        vocabulary: V, the tokens that the larger of both distributions is over; None if it is not known.
        one_vocabulary: whether both models' ids are the same tokens: by definition the sets then have k tokens and all
            mass is mapped.
    """

    k: int | None = None
    vocabulary: int | None = None
    one_vocabulary: bool = False

    def limits(self, name: str) -> tuple[float, float]:
        """Least and largest value of a statistic; infinite where none is known, or the name is not defined here."""
        if name in _SETS and self.one_vocabulary and self.k is not None:
            least, most = _SETS[name]
            return float(least * self.k), float(most * self.k)
        return ALL[name].limits(self.k, self.vocabulary) if name in ALL else (-math.inf, math.inf)

    def certain(self, name: str) -> bool:
        """Whether a statistic is the same at every position by definition, so that its mean needs no interval."""
        return self.one_vocabulary and name in _CERTAIN

    def joined(self, other: "Ranges") -> "Ranges":
        """Ranges of both measurements together."""
        known = [one.vocabulary for one in (self, other) if one.vocabulary is not None]
        return Ranges(
            self.k if self.k == other.k else None,
            max(known) if len(known) == 2 else None,
            self.one_vocabulary and other.one_vocabulary,
        )
