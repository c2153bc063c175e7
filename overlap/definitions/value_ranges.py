"""Limits of statistics, given the settings of a measurement."""

import math
from dataclasses import dataclass

from overlap.definitions.names import ALL, is_change, statistic_of

_SIZES = ("student_size", "teacher_size")
_MAPPED = ("student_mapped_mass", "teacher_mapped_mass")
_SETS = {"union_size": (1, 2), "intersection_size": (0, 1)}


@dataclass(frozen=True)
class Ranges:
    """Settings that determine the limits of every statistic of one measurement.

    Attributes:
        k: size of the supports, None if it is not known.
        vocabulary: V, the number of tokens of the larger distribution; None if it is not known.
        one_vocabulary: whether both models have the same tokens, even with different ids; all mass is then mapped by
            definition.
        full_sets: whether both sets have k tokens at every measured position. False if scores are −inf, because such a
            token is in no set.
    """

    k: int | None = None
    vocabulary: int | None = None
    one_vocabulary: bool = False
    full_sets: bool = True

    def limits(self, name: str) -> tuple[float, float]:
        """Return the least and largest value of a statistic, for any states and either bound, or of its change.

        Both are infinite if no limit is known or the name is not defined here.
        """
        least, most = self._values(statistic_of(name))
        return (least - most, most - least) if is_change(name) else (least, most)

    def _values(self, name: str) -> tuple[float, float]:
        if name in _SETS and self._sets_of_k and self.k is not None:
            least, most = _SETS[name]
            return float(least * self.k), float(most * self.k)
        return ALL[name].limits(self.k, self.vocabulary) if name in ALL else (-math.inf, math.inf)

    def certain(self, name: str) -> bool:
        """Return whether a statistic is the same at every position by definition, so that its mean needs no
        interval."""
        name = statistic_of(name)
        return (self.one_vocabulary and name in _MAPPED) or (self._sets_of_k and name in _SIZES)

    @property
    def _sets_of_k(self) -> bool:
        return self.one_vocabulary and self.full_sets

    def joined(self, other: "Ranges") -> "Ranges":
        """Return ranges of both measurements together."""
        known = [one.vocabulary for one in (self, other) if one.vocabulary is not None]
        return Ranges(
            self.k if self.k == other.k else None,
            max(known) if len(known) == 2 else None,
            self.one_vocabulary and other.one_vocabulary,
            self.full_sets and other.full_sets,
        )
