"""Two-way maps between the token ids of a student and of a teacher; comparisons use the student's ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from overlap.core.topk import Support
from overlap.errors import UserError
from overlap.vocab.token_bytes import TokenBytes, token_bytes

UNMAPPED = -1
"""Stands for an id that the other vocabulary does not have."""


@dataclass(frozen=True, eq=False)
class VocabularyMap:
    """A one-to-one map between student ids and teacher ids; ids without a counterpart are unmapped (−1).

    The sizes are those of the logits, which real checkpoints pad beyond the tokenizer's table: leave padded ids
    unmapped.

    Attributes:
        student_to_teacher: ``[student_size]`` long, the teacher's id or −1.
        teacher_to_student: ``[teacher_size]`` long, the student's id or −1.
        is_identity: both sizes are equal and every id maps to itself.
    """

    student_to_teacher: Tensor
    teacher_to_student: Tensor
    is_identity: bool = field(init=False)

    def __post_init__(self) -> None:
        forward, backward = self.student_to_teacher, self.teacher_to_student
        for name, table, other in (
            ("student_to_teacher", forward, backward),
            ("teacher_to_student", backward, forward),
        ):
            if not isinstance(table, Tensor) or table.dtype != torch.long or table.ndim != 1:
                raise UserError(f"{name}: expected a one-axis torch.int64 tensor of ids; use VocabularyMap.from_pairs")
            if table.numel() and (int(table.min()) < UNMAPPED or int(table.max()) >= other.numel()):
                raise UserError(
                    f"{name}: expected ids of -1 (unmapped) to {other.numel() - 1}, received {int(table.min())} to "
                    f"{int(table.max())}"
                )
        for name, there, back in (
            ("student_to_teacher", forward, backward),
            ("teacher_to_student", backward, forward),
        ):
            mapped = (there >= 0).nonzero().flatten()
            broken = mapped[back[there[mapped]] != mapped]
            if broken.numel():
                raise UserError(
                    f"{name}: the two tables are not inverses of each other at {broken.numel()} ids, the first is "
                    f"{int(broken[0])}; use VocabularyMap.from_pairs"
                )
        same = forward.numel() == backward.numel() and bool(
            (forward == torch.arange(forward.numel(), device=forward.device)).all()
        )
        object.__setattr__(self, "is_identity", same)

    @classmethod
    def identity(cls, size: int) -> "VocabularyMap":
        """Return the map of two models that share one table of ``size`` ids."""
        if size < 1:
            raise UserError(f"size: expected at least 1, received {size}")
        return cls(torch.arange(size), torch.arange(size))

    @classmethod
    def from_pairs(
        cls, pairs: Iterable[tuple[int, int]] | Tensor, *, student_size: int, teacher_size: int
    ) -> "VocabularyMap":
        """Build a map from (student id, teacher id) pairs; every id that no pair names is unmapped.

        Args:
            pairs: pairs, or a ``[n, 2]`` integer tensor.
            student_size: width of the student's logits.
            teacher_size: width of the teacher's logits.

        Raises:
            UserError: if a pair is outside the sizes, or an id is paired twice.
        """
        table = torch.as_tensor(pairs if isinstance(pairs, Tensor) else list(pairs)).reshape(-1, 2)
        if table.numel() and (table.is_floating_point() or table.dtype == torch.bool):
            raise UserError(f"pairs: expected integer ids, received {table.dtype}")
        table = table.long()
        for column, size, name in ((0, student_size, "student"), (1, teacher_size, "teacher")):
            ids = table[:, column]
            outside = ((ids < 0) | (ids >= size)).nonzero().flatten()
            if outside.numel():
                row = int(outside[0])
                raise UserError(
                    f"pairs: pair {row} names {name} id {int(ids[row])}, outside the {name}'s {size} logits "
                    f"(valid: 0 to {size - 1})"
                )
            values, counts = ids.unique(return_counts=True)
            if (counts > 1).any():
                raise UserError(
                    f"pairs: {name} id {int(values[counts > 1][0])} is paired more than once; a map is one-to-one, "
                    "keep one pair for each id"
                )
        forward = torch.full((student_size,), UNMAPPED, device=table.device)
        backward = torch.full((teacher_size,), UNMAPPED, device=table.device)
        forward[table[:, 0]] = table[:, 1]
        backward[table[:, 1]] = table[:, 0]
        return cls(forward, backward)

    @classmethod
    def from_bytes(
        cls,
        student: Sequence[bytes | None],
        teacher: Sequence[bytes | None],
        *,
        roles: Mapping[str, tuple[int, int]],
        student_size: int | None = None,
        teacher_size: int | None = None,
    ) -> "VocabularyMap":
        """Pair the ids that stand for identical bytes; control tokens are paired by their role alone.

        If several ids of a side have the same bytes, the lowest is paired; a spare one (see
        `overlap.vocab.token_bytes.TokenBytes`) only if there is no other. Ids with a role are paired by role only.
        Where the two tables, their sizes and the roles' ids agree, the two models share one vocabulary: the map is the
        identity, control tokens and padding included.

        >>> student, teacher = [b"a", b" the", None], [None, b" the", b"b"]
        >>> VocabularyMap.from_bytes(student, teacher, roles={"end_of_text": (2, 0)})
        VocabularyMap(2 shared of 3 student ids (66.7%) and 3 teacher ids (66.7%))

        Args:
            student: bytes by id, None where an id stands for no text; see `overlap.vocab.token_bytes.token_bytes`.
            teacher: the same of the teacher.
            roles: (student id, teacher id) by role, such as ``{"end_of_text": (151645, 50257)}``. A comparison of
                transcripts needs the end of text; ``{}`` pairs no control token.
            student_size: width of the student's logits, at least the table's; default: the table's.
            teacher_size: width of the teacher's logits.

        Raises:
            UserError: if a table is wider than the logits or holds empty bytes, or roles contradict each other or
                name ids outside the logits.
        """
        student_size = _check_table(student, student_size, "student")
        teacher_size = _check_table(teacher, teacher_size, "teacher")
        named = list(dict.fromkeys((int(s), int(t)) for s, t in roles.values()))
        for side, column, size in (("student", 0, student_size), ("teacher", 1, teacher_size)):
            ids = [pair[column] for pair in named]
            wrong = [i for i in ids if not 0 <= i < size]
            if wrong or len(set(ids)) < len(ids):
                raise UserError(
                    f"roles: {dict(roles)} name a {side} id that "
                    + (f"is outside its {size} logits: {wrong[0]}" if wrong else "goes with two ids of the other side")
                    + "; give each role one (student id, teacher id)"
                )
        if student_size == teacher_size and list(student) == list(teacher) and all(s == t for s, t in named):
            return cls.identity(student_size)
        student_ids = _first_ids(student, {s for s, _ in named})
        teacher_ids = _first_ids(teacher, {t for _, t in named})
        pairs = named + [(i, teacher_ids[spelled]) for spelled, i in student_ids.items() if spelled in teacher_ids]
        return cls.from_pairs(
            torch.tensor(pairs, dtype=torch.long).reshape(-1, 2), student_size=student_size, teacher_size=teacher_size
        )

    @classmethod
    def from_tokenizers(
        cls,
        student: Any,
        teacher: Any,
        *,
        roles: Mapping[str, tuple[int, int]],
        student_size: int | None = None,
        teacher_size: int | None = None,
    ) -> "VocabularyMap":
        """Return the result of `from_bytes` of the two tokenizers' token bytes.

        Raises:
            UserError: as `from_bytes` and `overlap.vocab.token_bytes.token_bytes`.
        """
        return cls.from_bytes(
            token_bytes(student),
            token_bytes(teacher),
            roles=roles,
            student_size=student_size,
            teacher_size=teacher_size,
        )

    @property
    def student_size(self) -> int:
        """Width of the student's logits."""
        return self.student_to_teacher.numel()

    @property
    def teacher_size(self) -> int:
        """Width of the teacher's logits."""
        return self.teacher_to_student.numel()

    @property
    def n_shared(self) -> int:
        """Number of pairs."""
        return int((self.student_to_teacher >= 0).sum())

    @property
    def student_coverage(self) -> float:
        """Share of the student's ids that the teacher has too."""
        return self.n_shared / self.student_size

    @property
    def teacher_coverage(self) -> float:
        """Share of the teacher's ids that the student has too."""
        return self.n_shared / self.teacher_size

    def __repr__(self) -> str:
        kind = "identity, " if self.is_identity else ""
        return (
            f"VocabularyMap({kind}{self.n_shared:,} shared of {self.student_size:,} student ids "
            f"({self.student_coverage:.1%}) and {self.teacher_size:,} teacher ids ({self.teacher_coverage:.1%}))"
        )

    def shared(self) -> tuple[Tensor, Tensor]:
        """Return the pairs as (student ids, teacher ids), two ``[n_shared]`` tensors by ascending student id."""
        student = (self.student_to_teacher >= 0).nonzero().flatten()
        return student, self.student_to_teacher[student]

    def to_teacher(self, ids: Tensor) -> Tensor:
        """Return teacher ids ``[...]`` of student ids ``[...]``; −1 where unmapped or where the id given is
        negative."""
        return _look_up(self.student_to_teacher, ids)

    def to_student(self, ids: Tensor) -> Tensor:
        """Return student ids ``[...]`` of teacher ids ``[...]``; −1 where unmapped or where the id given is
        negative."""
        return _look_up(self.teacher_to_student, ids)

    def student_support(self, support: Support) -> Support:
        """Return the student's own support less the tokens that the teacher does not have."""
        return support if self.is_identity else support.keep(self.to_teacher(support.ids) >= 0)

    def teacher_support(self, support: Support) -> Support:
        """Return the teacher's own support written in the student's ids, less the tokens that the student does not
        have."""
        if self.is_identity:
            return support
        ids = self.to_student(support.ids)
        return Support(ids, support.valid, support.boundary_tie).keep(ids >= 0)

    def to(self, device: torch.device | str) -> "VocabularyMap":
        """Return the same map on another device; itself when it is there already."""
        if self.student_to_teacher.device == torch.device(device):
            return self
        return VocabularyMap(self.student_to_teacher.to(device), self.teacher_to_student.to(device))


def _look_up(table: Tensor, ids: Tensor) -> Tensor:
    return torch.where(ids >= 0, table[ids.clamp_min(0)], UNMAPPED)


def _check_table(table: Sequence[bytes | None], size: int | None, side: str) -> int:
    """Return the width of a side's logits."""
    wrong = next((i for i, spelled in enumerate(table) if spelled is not None and not isinstance(spelled, bytes)), None)
    if wrong is not None:
        raise UserError(
            f"{side}: expected bytes or None for every id, received {table[wrong]!r} at id {wrong}; take them from "
            "overlap.vocab.token_bytes.token_bytes"
        )
    if b"" in table:
        raise UserError(
            f"{side}: id {list(table).index(b'')} has empty bytes; give None where an id stands for no text"
        )
    if size is not None and size < len(table):
        raise UserError(
            f"{side}_size: received {size}, fewer than the {len(table)} ids of the table; pass the width of the "
            f"{side}'s logits, and cut the table to it if the tokenizer has ids that the model cannot write"
        )
    return len(table) if size is None else size


def _first_ids(table: Sequence[bytes | None], taken: set[int]) -> dict[bytes, int]:
    """Return the id that represents each byte string: the lowest one, spare ids last."""
    spare = table.spare if isinstance(table, TokenBytes) else frozenset()
    first: dict[bytes, int] = {}
    for wanted in (False, True) if spare else (False,):
        for i, spelled in enumerate(table):
            if spelled is not None and i not in taken and (i in spare) == wanted:
                first.setdefault(spelled, i)
    return first


def check_sizes(vocabulary: VocabularyMap | None, student_size: int, teacher_size: int) -> VocabularyMap | None:
    """Return the map to use for logits of these widths, or None when ids agree.

    Raises:
        UserError: if the widths differ without a map, or are not those of the map; states the sizes and the remedy.
    """
    if vocabulary is None:
        if student_size != teacher_size:
            raise UserError(
                f"vocabulary: the student's logits have {student_size} ids and the teacher's {teacher_size}; pass "
                "vocabulary=VocabularyMap.from_bytes(...), or, if one side is only padded, cut or pad it to the "
                "same width and block the padded ids"
            )
        return None
    if (vocabulary.student_size, vocabulary.teacher_size) != (student_size, teacher_size):
        raise UserError(
            f"vocabulary: the map is for {vocabulary.student_size} student and {vocabulary.teacher_size} teacher ids, "
            f"the logits have {student_size} and {teacher_size}; build the map with the widths of the logits "
            "(checkpoints pad them beyond the tokenizer)"
        )
    return None if vocabulary.is_identity else vocabulary
