"""How far a statistic can go, given what was measured."""

import math
from dataclasses import dataclass

from overlap.definitions.names import ALL, statistic_of

_SIZES = ("student_size", "teacher_size")
_MAPPED = ("student_mapped_mass", "teacher_mapped_mass")
_SETS = {"union_size": (1, 2), "intersection_size": (0, 1)}


@dataclass(frozen=True)
class Ranges:
    """What bounds every statistic of one measurement.

    Attributes:
        k: size of the top-k sets, None if it is not known.
        vocabulary: V, the tokens that the larger of both distributions is over; None if it is not known.
        one_vocabulary: whether both models have the same tokens, under whatever ids: by definition all mass is mapped.
        full_sets: whether both sets have k tokens at every position looked at. In one vocabulary they then have by
            definition; without it where scores are −inf, for such a token is in no set.
    """

    k: int | None = None
    vocabulary: int | None = None
    one_vocabulary: bool = False
    full_sets: bool = True

    def limits(self, name: str) -> tuple[float, float]:
        """Least and largest value of a statistic, on whatever states and at either end of a bound.

        Both are infinite where none is known, or the name is not defined here.
        """
        name = statistic_of(name)
        if name in _SETS and self._sets_of_k and self.k is not None:
            least, most = _SETS[name]
            return float(least * self.k), float(most * self.k)
        return ALL[name].limits(self.k, self.vocabulary) if name in ALL else (-math.inf, math.inf)

    def certain(self, name: str) -> bool:
        """Whether a statistic is the same at every position by definition, so that its mean needs no interval."""
        name = statistic_of(name)
        return (self.one_vocabulary and name in _MAPPED) or (self._sets_of_k and name in _SIZES)

    @property
    def _sets_of_k(self) -> bool:
        return self.one_vocabulary and self.full_sets

    def joined(self, other: "Ranges") -> "Ranges":
        """Ranges of both measurements together."""
        known = [one.vocabulary for one in (self, other) if one.vocabulary is not None]
        return Ranges(
            self.k if self.k == other.k else None,
            max(known) if len(known) == 2 else None,
            self.one_vocabulary and other.one_vocabulary,
            self.full_sets and other.full_sets,
        )
