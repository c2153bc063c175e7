"""A student and its teacher: the map between their tokens, and the positions where they can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import overlap
from overlap.core.topk import Support
from overlap.errors import UserError
from overlap.vocab.alignment import Alignment
from overlap.vocab.coverage import Coverage
from overlap.vocab.settings import ComparisonSettings
from overlap.vocab.token_bytes import TokenBytes, token_bytes

from ..models import Recognizer, Transcriber, Transcripts
from ..models.base import pack
from ..models.vocabulary import Tokens
from ..recipe import SupportSettings
from ..teacher import ServedTeacher


class PairError(UserError):
    """Two models that cannot be compared token by token; the message says what to do."""


@dataclass(frozen=True, eq=False)
class TeacherView:
    """The student's transcripts as the teacher reads them.

    Attributes:
        transcripts: In the teacher's tokens.
        texts: As text, if the teacher tokenizes it itself; empty if both have one vocabulary.
        alignment: Map of its positions to the student's; None if both have one vocabulary.
    """

    transcripts: Transcripts
    texts: tuple[str, ...]
    alignment: Alignment | None

    def at_student(self, values: Tensor) -> Tensor:
        """Return the teacher's values at its own positions, [batch, M, ...], moved to the student's, [batch, length,
        ...]."""
        return values if self.alignment is None else self.alignment.gather(values)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two recognizers whose distributions can be compared.

    Attributes:
        student: The model that writes and is trained; everything is in its ids.
        teacher: The model that scores. A served one tokenizes the student's text itself, so positions are aligned even
            if both have one vocabulary.
        vocabulary: The map between their ids; None where ids agree.
        blocked: [student vocabulary] bool, ids that no transcript of either model contains.
        teacher_blocked: [teacher vocabulary] bool, likewise.
        spelled: Bytes by student id and by teacher id; None if the teacher reads the student's ids.
        same_text: Whether both have the same text tokens, whatever their ids: the tokens of one can then be mapped to
            the other's.
        k: Size of the supports that it is compared by, unless a recipe says otherwise.
        ends: The ids of the student and of the teacher that end a text, each for all ends of its model; empty if not
            known.
    """

    student: Recognizer
    teacher: Recognizer | ServedTeacher
    vocabulary: overlap.VocabularyMap | None
    blocked: Tensor
    teacher_blocked: Tensor
    spelled: tuple[TokenBytes, TokenBytes] | None
    same_text: bool = True
    k: int = 32
    ends: tuple[int, ...] = ()

    @property
    def server(self) -> ServedTeacher | None:
        """The teacher's server; None for a local teacher."""
        return self.teacher if isinstance(self.teacher, ServedTeacher) else None

    @classmethod
    def from_models(cls, student: Recognizer, teacher: Recognizer | ServedTeacher, k: int) -> Pair:
        """Pair two recognizers, by the bytes of their tokens where their vocabularies differ.

        Raises:
            PairError: If no token is shared, or k is larger than the tokens that a transcript can hold.
        """
        student_tokens, teacher_tokens = student.tokens, teacher.tokens
        ends = student_tokens.end_of_text, teacher_tokens.end_of_text
        same = (student_tokens.strings, student_tokens.end_of_text) == (
            teacher_tokens.strings,
            teacher_tokens.end_of_text,
        )
        if same and not _reads_text(teacher):
            blocked = student_tokens.blocked | teacher_tokens.blocked.to(student_tokens.blocked.device)
            pair = cls(student, teacher, None, blocked, blocked, None, k=k, ends=ends)
        else:
            pair = replace(cls._mapped(student, teacher, k), ends=ends)
        writable = min(int((~pair.blocked).sum()), int((~pair.teacher_blocked).sum()))
        if k > writable:
            raise PairError(
                f"k = {k} (support.k of a recipe) is larger than the {writable} tokens that a transcript can hold, of "
                f"{student_tokens.size:,} in the vocabulary of the student and {teacher_tokens.size:,} in the "
                "teacher's; lower it"
            )
        return pair

    @classmethod
    def _mapped(cls, student: Recognizer, teacher: Recognizer | ServedTeacher, k: int) -> Pair:
        student_tokens, teacher_tokens = student.tokens, teacher.tokens
        spelled, device = (_bytes(student), _bytes(teacher)), student_tokens.blocked.device
        vocabulary = overlap.VocabularyMap.from_bytes(
            *spelled,
            roles={"end_of_text": (student_tokens.end_of_text, teacher_tokens.end_of_text)},
            student_size=student_tokens.size,
            teacher_size=teacher_tokens.size,
        ).to(device)
        if vocabulary.n_shared < 2:
            raise PairError(
                f"student {student.name!r} and teacher {teacher.name!r} share no token but the end of text; choose "
                "a teacher with a similar tokenizer"
            )
        same_text = student.text_prefix == teacher.text_prefix and all(
            bool((table[_text_ids(side, tokens)] >= 0).all())
            for table, side, tokens in zip(
                (vocabulary.student_to_teacher, vocabulary.teacher_to_student),
                spelled,
                (student_tokens, teacher_tokens),
                strict=True,
            )
        )
        blocked, teacher_blocked = student_tokens.blocked.clone(), teacher_tokens.blocked.to(device, copy=True)
        ids, teacher_ids = vocabulary.shared()
        lost = blocked[ids] | teacher_blocked[teacher_ids]
        blocked[ids[lost]] = teacher_blocked[teacher_ids[lost]] = True
        return cls(student, teacher, vocabulary, blocked, teacher_blocked, spelled, same_text, k)

    def settings(self, support: SupportSettings) -> ComparisonSettings:
        """Return what the two are compared by."""
        return ComparisonSettings(
            k=support.k,
            temperature=support.temperature,
            vocabulary=self.vocabulary,
            blocked=self.blocked,
            teacher_blocked=self.teacher_blocked,
            ends=self.ends[:1],
            teacher_ends=self.ends[1:],
        )

    def view(self, transcripts: Transcripts) -> TeacherView:
        """Return the student's transcripts in the teacher's tokens; truncated ones have no end on either side.

        If both have the same text tokens, the teacher reads the student's tokens, also those that its own tokenizer
        would not produce. Otherwise the teacher's tokenizer encodes the text: the student's segmentation would be a
        prefix that the teacher does not write, even if it has all of these tokens.
        """
        if self.spelled is None:
            return TeacherView(transcripts, (), None)
        texts = self.student.decode(transcripts)
        assert self.vocabulary is not None
        table = None if _reads_text(self.teacher) else self.vocabulary.student_to_teacher
        read = self._transcripts_in_tokens_of(texts, transcripts, self.teacher, table).to(transcripts.ids.device)
        return TeacherView(read, tuple(texts), self._aligned(transcripts, read))

    def in_students_ids(self, transcripts: Transcripts, writer: Transcriber) -> Transcripts:
        """Return transcripts of either model in the student's tokens."""
        if writer is self.student:
            return transcripts
        if self.vocabulary is None:
            return transcripts.to(self.blocked.device)
        table = self.vocabulary.teacher_to_student
        return self._transcripts_in_tokens_of(writer.decode(transcripts), transcripts, self.student, table)

    def recut(self, transcripts: Transcripts) -> Tensor:
        """Return [batch, length] bool, positions whose prefix the teacher's tokenizer would tokenize differently.

        Args:
            transcripts: In the student's tokens. At these positions, a teacher that reads these tokens has a prefix
                that it would not write, and one that encodes the text has a prefix that the student did not write.
        """
        own = _encoded(self.student.decode(transcripts), transcripts, self.teacher).to(transcripts.ids.device)
        if self.spelled is not None:
            return _different_boundaries(self._aligned(transcripts, own), transcripts.mask)
        length = transcripts.ids.shape[1]
        again = torch.nn.functional.pad(own.ids.masked_fill(~own.mask, -1), (0, length), value=-1)[:, :length]
        differs = (again != transcripts.ids).long()
        return (differs.cumsum(-1) > differs) & transcripts.mask

    def _aligned(self, transcripts: Transcripts, read: Transcripts) -> Alignment:
        assert self.spelled is not None
        return overlap.align(
            transcripts.ids,
            read.ids,
            student_bytes=self.spelled[0],
            teacher_bytes=self.spelled[1],
            end_of_text=(self.student.tokens.end_of_text, self.teacher.tokens.end_of_text),
            student_mask=transcripts.mask,
            teacher_mask=read.mask,
            student_prefix=self.student.text_prefix,
            teacher_prefix=self.teacher.text_prefix,
        )

    def _transcripts_in_tokens_of(
        self, texts: Sequence[str], transcripts: Transcripts, reader: Transcriber, table: Tensor | None
    ) -> Transcripts:
        """Return transcripts in a reader's tokens: the writer's own by the table of ids where they stand, else
        encoded."""
        encoded = _encoded(texts, transcripts, reader)
        if table is None:
            return encoded
        # Servers do not suppress control tokens: leave them out of the text.
        blocked = reader.tokens.blocked.to(table.device)
        counterparts = table.masked_fill((table >= 0) & blocked[table.clamp_min(0)], -1).tolist()
        faults = set(reader.tokens.check.unreachable)
        end, rows = reader.tokens.end_of_text, []
        for ids, plain, finished in zip(
            transcripts.text_ids, encoded.text_ids, transcripts.finished.tolist(), strict=True
        ):
            own = [counterparts[i] for i in ids]
            stands = self.same_text or (reader.tokens.check.is_faulty and not faults.isdisjoint(own))
            rows.append([*(own if stands and min(own, default=0) >= 0 else plain), *([end] if finished else [])])
        return pack(rows, end, encoded.ids.device)

    def coverage(self, masses: Mapping[str, overlap.Estimate] | None) -> Coverage | None:
        """Return how much of either vocabulary the map covers, by ids and by the probability in `masses`; None without
        one."""
        if self.vocabulary is None or self.spelled is None or self.vocabulary.is_identity:
            return None
        return overlap.coverage(self.vocabulary, *self.spelled, masses=masses)

    def teacher_ids(self, ids: Tensor) -> Tensor:
        """Return teacher ids of student ids; for tokens without one, any id that is safe to gather."""
        return ids if self.vocabulary is None else self.vocabulary.to_teacher(ids).clamp_min(0)

    def shared_sets(self, student: Support, teacher: Support) -> tuple[Support, Support]:
        """Return sets of either model's own tokens in the student's ids, without the tokens that the other does not
        have."""
        if self.vocabulary is None:
            return student, teacher
        return self.vocabulary.student_support(student), self.vocabulary.teacher_support(teacher)

    @property
    def shared_tokens(self) -> Tensor:
        """[student's vocabulary] bool, tokens that both models may write."""
        return ~self.blocked if self.vocabulary is None else ~self.blocked & (self.vocabulary.student_to_teacher >= 0)


def _reads_text(teacher: Recognizer | ServedTeacher) -> bool:
    """Return whether a teacher reads texts and tokenizes them itself."""
    return isinstance(teacher, ServedTeacher)


def _encoded(texts: Sequence[str], transcripts: Transcripts, reader: Transcriber) -> Transcripts:
    """Return the texts of transcripts in a reader's own tokens, without an end for truncated ones."""
    written = reader.encode(texts)
    finished, mask = transcripts.finished.to(written.ids.device), written.mask.clone()
    mask.scatter_(1, mask.sum(-1, keepdim=True) - 1, finished[:, None])
    return Transcripts(written.ids, mask, finished)


def _different_boundaries(alignment: Alignment, mask: Tensor) -> Tensor:
    """Return [batch, length] bool, positions whose prefix has different token boundaries on both sides."""
    found = torch.zeros_like(mask)
    for row, (kept, there, index) in enumerate(
        zip(mask.tolist(), alignment.comparable.tolist(), alignment.teacher_index.tolist(), strict=True)
    ):
        before: tuple[int, int] | None = None
        same = True
        for position in (i for i, keep in enumerate(kept) if keep):
            at = (position, index[position])
            if not there[position]:
                same = same and before is None and position == 0  # one side lacks the prefix
            elif before is None:
                same = same and max(at) <= 1
            else:
                same = same and (at[0] - before[0], at[1] - before[1]) == (1, 1)
            before = at if there[position] else before
            found[row, position] = not same
    return found


def _text_ids(spelled: TokenBytes, tokens: Tokens) -> list[int]:
    """Return ids of text tokens, without duplicate spellings and tokens that no transcript contains."""
    blocked = tokens.blocked.tolist()
    return [i for i, bytes_ in enumerate(spelled) if bytes_ is not None and i not in spelled.spare and not blocked[i]]


def _bytes(recognizer: Transcriber) -> TokenBytes:
    """Return bytes of the ids that name tokens."""
    table, size = token_bytes(recognizer.tokenizer), recognizer.tokens.size
    return table if len(table) <= size else TokenBytes(table[:size], (i for i in table.spare if i < size))
