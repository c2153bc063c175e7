"""Settings of a comparison, the same at every position: set size, temperature, and the tokens that take part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from overlap.arguments import whole_number
from overlap.core.checks import check_k
from overlap.errors import UserError
from overlap.vocab.ends import Ids
from overlap.vocab.vocab_pair import VocabularyPair
from overlap.vocab.vocabulary_map import VocabularyMap

TOP_P = 0.95
"""Mass of the sets of ``nucleus_overlap``, unless said otherwise."""


class VocabularyKeywords(TypedDict, total=False):
    """Keywords that say which tokens take part; see `ComparisonSettings`."""

    vocabulary: VocabularyMap | None
    blocked: Tensor | Sequence[int] | None
    teacher_blocked: Tensor | Sequence[int] | None
    ends: Ids
    teacher_ends: Ids


class ComparisonKeywords(VocabularyKeywords, total=False):
    """`ComparisonSettings` as keywords of a call."""

    k: int
    temperature: float
    top_p: float


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonSettings:
    """Arguments of `overlap.measure` other than the logits of a batch.

    Attributes:
        k: size of the supports.
        temperature: divides both sides' logits in every probability; the sets do not depend on it.
        vocabulary: the map between the two vocabularies; None when ids agree.
        blocked: the student's ids to take out of both distributions and sets (control tokens, padded ids), or a ``[V]``
            bool mask of them.
        teacher_blocked: the teacher's ids to take out of both; needed for ids without a student id.
        ends: the student's ids that end a text, the one of labels first. They are one event: their probabilities add
            up, and the sets hold the event once, as the first id. Empty when not known.
        teacher_ends: the teacher's, in its ids; the student's when ids agree and none are given.
        top_p: mass of the sets of ``nucleus_overlap``, between 0 and 1.

    Raises:
        UserError: on a temperature or mass out of range.
    """

    k: int = 32
    temperature: float = 1.0
    vocabulary: VocabularyMap | None = None
    blocked: Tensor | Sequence[int] | None = None
    teacher_blocked: Tensor | Sequence[int] | None = None
    ends: Ids = ()
    teacher_ends: Ids = ()
    top_p: float = TOP_P

    def __post_init__(self) -> None:
        if (k := whole_number(self.k)) is not None:  # anything else is refused where the vocabularies are known
            object.__setattr__(self, "k", k)
        if not self.temperature > 0 or self.temperature == float("inf"):
            raise UserError(f"temperature: expected a finite number above 0, received {self.temperature!r}")
        if not 0 < self.top_p < 1:
            raise UserError(f"top_p: expected a number between 0 and 1, received {self.top_p!r}")

    def pair(self, student_size: int, teacher_size: int, device: torch.device) -> VocabularyPair:
        """Return both vocabularies, of logits of these widths.

        Raises:
            UserError: if the widths do not fit the map, blocked ids are outside their vocabulary, or k exceeds the
                admissible tokens.
        """
        pair = VocabularyPair.from_sizes(
            student_size,
            teacher_size,
            self.vocabulary,
            self.blocked,
            self.teacher_blocked,
            device,
            ends=(self.ends, self.teacher_ends),
        )
        self.check_k(pair)
        return pair

    def check_k(self, pair: VocabularyPair) -> None:
        """Refuse a k above what either vocabulary has.

        Raises:
            UserError: naming k and the number of admissible tokens.
        """
        check_k(self.k, pair.student.n_admissible, "the student's logits")
        check_k(self.k, pair.teacher.n_admissible, "the teacher's logits")
