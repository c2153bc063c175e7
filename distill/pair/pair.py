"""A student and its teacher: which token of the one is which of the other, and which positions can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

import overlap

from ..models import Recogniser, Transcriber, Transcripts
from ..teacher import ServedTeacher


class PairError(ValueError):
    """Two models that cannot be compared token by token; the message says what to do."""


@dataclass(frozen=True, eq=False)
class TeacherView:
    """The student's transcripts as the teacher reads them.

    Attributes:
        transcripts: In the teacher's tokens.
        texts: As text, where the teacher cut it into tokens itself; empty where the two have one vocabulary.
        alignment: Which of its positions is which of the student's; None where the two have one vocabulary.
    """

    transcripts: Transcripts
    texts: tuple[str, ...]
    alignment: overlap.Alignment | None

    def at_student(self, values: Tensor) -> Tensor:
        """The teacher's [batch, M, ...] logits or lists at the student's positions, [batch, length, ...]."""
        return values if self.alignment is None else self.alignment.gather(values)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two recognisers whose distributions can be compared.

    Attributes:
        student: Who writes and learns; everything is in its ids.
        teacher: Who scores. A served one reads the student's text and cuts it into tokens itself, so that positions are
            aligned even where the two have one vocabulary.
        vocabulary: The map between their ids; None where ids agree.
        blocked: [student vocabulary] bool, ids that no transcript of either model contains.
        teacher_blocked: [teacher vocabulary] bool, likewise.
        spelled: Bytes by student id and by teacher id; None where the teacher takes the student's ids.
    """

    student: Recogniser
    teacher: Recogniser | ServedTeacher
    vocabulary: overlap.VocabularyMap | None
    blocked: Tensor
    teacher_blocked: Tensor
    spelled: tuple[overlap.TokenBytes, overlap.TokenBytes] | None

    @classmethod
    def of(cls, student: Recogniser, teacher: Recogniser | ServedTeacher, k: int) -> Pair:
        """Pair two recognisers, by the bytes of their tokens where their vocabularies differ.

        Raises:
            PairError: If no token is shared, or k is larger than the tokens that a transcript can hold.
        """
        ours, theirs = student.tokens, teacher.tokens
        same = (ours.strings, ours.end_of_text) == (theirs.strings, theirs.end_of_text)
        if same and not isinstance(teacher, ServedTeacher):
            blocked = ours.blocked | theirs.blocked.to(ours.blocked.device)
            pair = cls(student, teacher, None, blocked, blocked, None)
        else:
            pair = cls._mapped(student, teacher)
        writable = min(int((~pair.blocked).sum()), int((~pair.teacher_blocked).sum()))
        if k > writable:
            raise PairError(f"support.k = {k} is larger than the {writable} tokens a transcript can hold; lower it")
        return pair

    @classmethod
    def _mapped(cls, student: Recogniser, teacher: Recogniser | ServedTeacher) -> Pair:
        ours, theirs = student.tokens, teacher.tokens
        spelled, device = (_bytes(student), _bytes(teacher)), ours.blocked.device
        vocabulary = overlap.VocabularyMap.from_bytes(
            *spelled,
            roles={"end_of_text": (ours.end_of_text, theirs.end_of_text)},
            student_size=ours.size,
            teacher_size=theirs.size,
        ).to(device)
        if vocabulary.n_shared < 2:
            raise PairError(
                f"student {student.name!r} and teacher {teacher.name!r} share no token but the end of text; choose "
                "a teacher whose tokenizer cuts text into pieces of the same kind"
            )
        blocked, teacher_blocked = ours.blocked.clone(), theirs.blocked.to(device, copy=True)
        ids, teacher_ids = vocabulary.shared()
        lost = blocked[ids] | teacher_blocked[teacher_ids]
        blocked[ids[lost]] = teacher_blocked[teacher_ids[lost]] = True
        return cls(student, teacher, vocabulary, blocked, teacher_blocked, spelled)

    def view(self, transcripts: Transcripts) -> TeacherView:
        """The student's transcripts in the teacher's tokens; what was cut off has no end on either side."""
        if self.spelled is None:
            return TeacherView(transcripts, (), None)
        texts = self.student.decode(transcripts)
        read = _reread(texts, transcripts, self.teacher).to(transcripts.ids.device)
        alignment = overlap.align(
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
        return TeacherView(read, tuple(texts), alignment)

    def in_students_ids(self, transcripts: Transcripts, writer: Transcriber) -> Transcripts:
        """Transcripts that either of the two wrote, in the student's tokens."""
        if writer is self.student:
            return transcripts
        if self.spelled is None:
            return transcripts.to(self.blocked.device)
        return _reread(writer.decode(transcripts), transcripts, self.student)

    def coverage(self, masses: Mapping[str, overlap.Estimate] | None) -> overlap.Coverage | None:
        """How much of either vocabulary the map covers, by ids and by the probability in `masses`; None without one."""
        if self.vocabulary is None or self.spelled is None or self.vocabulary.is_identity:
            return None
        return overlap.coverage(self.vocabulary, *self.spelled, masses=masses)

    def teacher_ids(self, ids: Tensor) -> Tensor:
        """Teacher ids of student ids; where there is none, any that is safe to gather."""
        return ids if self.vocabulary is None else self.vocabulary.to_teacher(ids).clamp_min(0)


def _reread(texts: Sequence[str], transcripts: Transcripts, reader: Transcriber) -> Transcripts:
    """The texts of transcripts in another's tokens, without an end where the writer was cut off."""
    written = reader.encode(texts)
    finished, mask = transcripts.finished.to(written.ids.device), written.mask.clone()
    mask.scatter_(1, mask.sum(-1, keepdim=True) - 1, finished[:, None])
    return Transcripts(written.ids, mask, finished)


def _bytes(recogniser: Transcriber) -> overlap.TokenBytes:
    """Bytes of the ids that name tokens."""
    table, size = overlap.token_bytes(recogniser.tokenizer), recogniser.tokens.size
    return table if len(table) <= size else overlap.TokenBytes(table[:size], (i for i in table.spare if i < size))
