"""The two vocabularies of a pair: which ids are admissible on each side, and which are shared."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.core.checks import admissible_ids
from overlap.core.topk import Support
from overlap.core.topk_kernel import touched_blocks
from overlap.vocab.vocabulary_map import VocabularyMap, check_sizes


@dataclass(frozen=True, eq=False)
class Side:
    """One model's vocabulary.

    Attributes:
        size: width of its logits.
        admissible: ``[size]`` bool, or None when nothing is blocked.
        blocked: the blocked ids.
        touched: the blocks of `overlap.core.topk_kernel` with a blocked id.
    """

    size: int
    admissible: Tensor | None
    blocked: Tensor
    touched: tuple[int, ...]

    @classmethod
    def from_admissible(cls, size: int, admissible: Tensor | None) -> "Side":
        """Return a vocabulary less the ids that are not admissible."""
        blocked = torch.empty(0, dtype=torch.long) if admissible is None else (~admissible).nonzero()[:, 0]
        return cls(size, admissible, blocked, tuple(touched_blocks(admissible)))

    @property
    def n_admissible(self) -> int:
        """Tokens that may be in a set."""
        return self.size - self.blocked.numel()


@dataclass(frozen=True, eq=False)
class VocabularyPair:
    """Both vocabularies and what they share.

    Attributes:
        student: the student's side.
        teacher: the teacher's side; what is blocked on one is blocked on both.
        map: between them, None when ids agree.
        shared: admissible ids that both have, as (student ids, teacher ids); None when ids agree.
    """

    student: Side
    teacher: Side
    map: VocabularyMap | None
    shared: tuple[Tensor, Tensor] | None

    @classmethod
    def from_sizes(
        cls,
        student_size: int,
        teacher_size: int,
        vocabulary: VocabularyMap | None,
        blocked: Tensor | Sequence[int] | None,
        teacher_blocked: Tensor | Sequence[int] | None,
        device: torch.device,
    ) -> "VocabularyPair":
        """Apply a map and the blocked ids of each side to both sides.

        Raises:
            UserError: if the sizes do not fit the map, or blocked ids their vocabulary.
        """
        table = check_sizes(vocabulary, student_size, teacher_size)
        admissible = admissible_ids(blocked, student_size, device)
        counterpart = admissible_ids(teacher_blocked, teacher_size, device, name="teacher_blocked", whose="teacher")
        if table is None:
            if counterpart is not None:
                admissible = counterpart if admissible is None else admissible & counterpart
            student = Side.from_admissible(student_size, admissible)
            return cls(student, student, None, None)
        table = table.to(device)
        student_ids, teacher_ids = table.shared()
        if admissible is not None or counterpart is not None:
            admissible = torch.ones(student_size, dtype=torch.bool, device=device) if admissible is None else admissible
            counterpart = (
                torch.ones(teacher_size, dtype=torch.bool, device=device) if counterpart is None else counterpart
            )
            kept = admissible[student_ids] & counterpart[teacher_ids]
            admissible, counterpart = admissible.clone(), counterpart.clone()
            admissible[student_ids[~kept]] = False
            counterpart[teacher_ids[~kept]] = False
            student_ids, teacher_ids = student_ids[kept], teacher_ids[kept]
        sides = Side.from_admissible(student_size, admissible), Side.from_admissible(teacher_size, counterpart)
        return cls(*sides, table, (student_ids, teacher_ids))

    @property
    def one_vocabulary(self) -> bool:
        """Whether both models have the same admissible tokens, even if their ids differ."""
        if self.shared is None:
            return True
        return self.shared[0].numel() == self.student.n_admissible == self.teacher.n_admissible

    def to_teacher(self, ids: Tensor) -> Tensor:
        """Return teacher ids of mapped student ids; an invalid slot may get any id that is safe to gather."""
        return ids if self.map is None else self.map.to_teacher(ids).clamp_min(0)

    def student_support(self, support: Support) -> Support:
        """Return the student's own support less the tokens that the teacher does not have."""
        return support if self.map is None else self.map.student_support(support)

    def teacher_support(self, support: Support) -> Support:
        """Return the teacher's own support in the student's ids, less the tokens that the student does not have."""
        return support if self.map is None else self.map.teacher_support(support)
