"""The two vocabularies of a pair: which ids are admissible on each side, and which are shared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overlap.core.checks import admissible_ids
from overlap.core.topk import Support
from overlap.core.topk_kernel import touched_blocks
from overlap.errors import UserError
from overlap.vocab.ends import Ids, check_ends
from overlap.vocab.vocabulary_map import VocabularyMap, check_sizes


@dataclass(frozen=True, eq=False)
class Side:
    """One model's vocabulary.

    Attributes:
        size: width of its logits.
        admissible: ``[size]`` bool, or None when nothing is blocked.
        blocked: the blocked ids.
        touched: the blocks of `overlap.core.topk_kernel` with a blocked id.
        ends: ids that end a text; the first stands for all, see `overlap.vocab.ends.merge_ends`.
    """

    size: int
    admissible: Tensor | None
    blocked: Tensor
    touched: tuple[int, ...]
    ends: tuple[int, ...] = ()

    @classmethod
    def from_admissible(cls, size: int, admissible: Tensor | None, ends: tuple[int, ...] = ()) -> "Side":
        """A vocabulary less the ids that are not admissible."""
        blocked = torch.empty(0, dtype=torch.long) if admissible is None else (~admissible).nonzero()[:, 0]
        return cls(size, admissible, blocked, tuple(touched_blocks(admissible)), ends)

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
        *,
        ends: tuple[Ids, Ids] = ((), ()),
    ) -> "VocabularyPair":
        """Apply a map, the blocked ids and the end ids of each side to both sides.

        Raises:
            UserError: if the sizes do not fit the map, or blocked ids or end ids their vocabulary.
        """
        table = check_sizes(vocabulary, student_size, teacher_size)
        admissible = admissible_ids(blocked, student_size, device)
        counterpart = admissible_ids(teacher_blocked, teacher_size, device, name="teacher_blocked", whose="teacher")
        student_ends, teacher_ends = paired_ends(ends, (student_size, teacher_size), table)
        admissible = less_further_ends(admissible, student_ends, student_size, device, "ends")
        counterpart = less_further_ends(counterpart, teacher_ends, teacher_size, device, "teacher_ends")
        if table is None:
            if counterpart is not None:
                admissible = counterpart if admissible is None else admissible & counterpart
            student = Side.from_admissible(student_size, admissible, student_ends)
            teacher = student if teacher_ends == student_ends else replace(student, ends=teacher_ends)
            return cls(student, teacher, None, None)
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
        sides = (
            Side.from_admissible(student_size, admissible, student_ends),
            Side.from_admissible(teacher_size, counterpart, teacher_ends),
        )
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


def paired_ends(
    ends: tuple[Ids, Ids], sizes: tuple[int, int], table: VocabularyMap | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the end ids of both sides, whose first ones stand for the same event."""
    student = check_ends(ends[0], sizes[0], "ends")
    teacher = check_ends(ends[1], sizes[1], "teacher_ends")
    if not student:
        if teacher:
            raise UserError("teacher_ends: given without ends; give the student's ids that end a text as well")
        return (), ()
    paired = student[0] if table is None else int(table.student_to_teacher[student[0]])
    if not teacher:
        if table is not None:
            raise UserError(
                "ends: given without teacher_ends; with a map, give the teacher's ids that end a text as well"
            )
        return student, student
    if paired != teacher[0]:
        how = "where ids agree, both name the same id first" if table is None else "pair them in the map (roles)"
        raise UserError(
            f"teacher_ends: {teacher[0]} comes first, and the student's {student[0]} is {paired} there; {how}"
        )
    return student, teacher


def less_further_ends(
    admissible: Tensor | None, ends: tuple[int, ...], size: int, device: torch.device, name: str
) -> Tensor | None:
    """Return the admissible ids without the end ids that the first one stands for.

    Raises:
        UserError: if the first one is blocked.
    """
    if not ends:
        return admissible
    if admissible is not None and not admissible[ends[0]]:
        raise UserError(f"{name}: id {ends[0]} ends a text and is blocked; take it out of the blocked ids")
    if len(ends) == 1:
        return admissible
    kept = torch.ones(size, dtype=torch.bool, device=device) if admissible is None else admissible.clone()
    kept[list(ends[1:])] = False
    return kept
