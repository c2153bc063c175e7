"""Finds the positions of two tokenizations of one text that can be compared: those with the same bytes before them.

As everywhere in this package, position i is where token i is predicted from the tokens before it. A student's position
i and a teacher's position j are comparable where the tokens before i and those before j are the same bytes. A position
has no counterpart where the other side has no token boundary (for example if a character is split on one side only),
and from the first differing byte on (drift: the teacher's tokenizer normalized the text, or decoding replaced an
incomplete character).

Control tokens have no bytes: they do not change the prefix of later positions. A position where a control token is
written has no counterpart, and neither has any position after the end of text. The position where the end of text is
written can be compared like any other: complete tokenizations of the same text both have it, a truncated one does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overlap.errors import UserError

END = b""
"""The end of text in a sequence of token bytes; it adds no bytes but is predicted at its own position."""


@dataclass(frozen=True)
class Match:
    """Comparable positions of one utterance.

    Attributes:
        pairs: (student position, teacher position), both ascending.
        drift: the first student position with a differing byte before it, or with more text before it than the teacher
            has; without such a position, the number of student positions.
    """

    pairs: tuple[tuple[int, int], ...]
    drift: int


@dataclass(frozen=True, eq=False)
class Alignment:
    """Comparable positions of a batch, ``[B, L]`` over the student's positions.

    Attributes:
        teacher_index: long, the teacher's position to compare with; 0 where there is none, so that it can be gathered.
        comparable: bool, True where there is one.
        misaligned: bool, positions of the transcript without a counterpart: the funnel's bin of that name.
        drifted: bool, misaligned positions with a differing byte before them. The other misaligned ones lack a token
            boundary on the teacher's side, which is normal for two tokenizers, or write a control token. Drift in more
            than a few utterances means that the teacher did not get the student's text.
        same_token: bool, comparable positions where the generated tokens have the same bytes (or both end the text).
    """

    teacher_index: Tensor
    comparable: Tensor
    misaligned: Tensor
    drifted: Tensor
    same_token: Tensor

    def gather(self, teacher: Tensor) -> Tensor:
        """Return teacher values ``[B, M, ...]`` at the student's positions ``[B, L, ...]``; arbitrary where not
        comparable."""
        if teacher.shape[0] != self.teacher_index.shape[0]:
            raise UserError(
                f"teacher: expected {self.teacher_index.shape[0]} utterances on the first axis, received shape "
                f"{list(teacher.shape)}"
            )
        index = self.teacher_index.to(teacher.device)
        if teacher.shape[1] == 0:  # nothing to gather from; nothing is comparable either
            return teacher.new_zeros(*index.shape, *teacher.shape[2:])
        return teacher[torch.arange(index.shape[0], device=teacher.device)[:, None], index]


def match(
    student: Sequence[bytes | None],
    teacher: Sequence[bytes | None],
    *,
    student_prefix: bytes = b"",
    teacher_prefix: bytes = b"",
) -> Match:
    """Find the comparable positions of two tokenizations of one text, in time linear in its bytes.

    >>> match([b"n", b"a\\xc3", b"\\xaf", b"ve", END], [b"na", b"\\xc3\\xaf", b"ve", END]).pairs
    ((0, 0), (3, 2), (4, 3))

    Args:
        student: bytes of each token in order, None for a control token, `END` for the end of text.
        teacher: the same of the teacher's tokens.
        student_prefix: bytes that the student writes before a text and that do not belong to it: ``b" "`` for a
            sentencepiece model that adds a leading space, or for a recognizer whose transcripts begin with one. They
            are removed from a text that begins with them, unless the two texts agree further with them; the position
            where they are predicted is not comparable.
        teacher_prefix: the same of the teacher.
    """
    student_text, student_places = _prefix_lengths(student)
    teacher_text, teacher_places = _prefix_lengths(teacher)
    skips = [
        (a, b)
        for a in {0, len(student_prefix) if student_text.startswith(student_prefix) else 0}
        for b in {0, len(teacher_prefix) if teacher_text.startswith(teacher_prefix) else 0}
    ]
    common, skip, teacher_skip = max(
        ((_common(student_text[a:], teacher_text[b:]), a, b) for a, b in skips),
        key=lambda found: (found[0], found[1] + found[2]),
    )
    position_at = {at - teacher_skip: j for j, at in teacher_places}
    pairs = []
    drift = len(student)
    for i, at in student_places:
        if at - skip > common:
            drift = i
            break
        if at >= skip and at - skip in position_at:
            pairs.append((i, position_at[at - skip]))
    return Match(tuple(pairs), drift)


def align(
    student_ids: Tensor,
    teacher_ids: Tensor,
    *,
    student_bytes: Sequence[bytes | None],
    teacher_bytes: Sequence[bytes | None],
    end_of_text: tuple[int, int] | None,
    student_mask: Tensor | None = None,
    teacher_mask: Tensor | None = None,
    student_prefix: bytes = b"",
    teacher_prefix: bytes = b"",
) -> Alignment:
    """Align a batch of transcripts with the teacher's tokenization of the same texts.

    >>> student_bytes, teacher_bytes = [None, b"good", b" ", b"day"], [b"good", b" day", None]
    >>> student, teacher = torch.tensor([[1, 2, 3, 0]]), torch.tensor([[0, 1, 2]])
    >>> found = align(
    ...     student, teacher, student_bytes=student_bytes, teacher_bytes=teacher_bytes, end_of_text=(0, 2)
    ... )
    >>> found.teacher_index
    tensor([[0, 1, 0, 2]])
    >>> found.misaligned
    tensor([[False, False,  True, False]])
    >>> found.same_token
    tensor([[ True, False, False,  True]])

    Args:
        student_ids: ``[B, L]`` long, the tokens that were generated.
        teacher_ids: ``[B, M]`` long, the teacher's tokens of the same texts.
        student_bytes: bytes by student id, see `overlap.vocab.token_bytes.token_bytes`.
        teacher_bytes: bytes by teacher id.
        end_of_text: (student id, teacher id); None where no text has an end.
        student_mask: ``[B, L]`` bool, True at the transcript's tokens (not the prompt's, not padding); default all.
        teacher_mask: ``[B, M]`` bool.
        student_prefix: see `match`.
        teacher_prefix: see `match`.

    Raises:
        UserError: if shapes or types do not fit, or a token is outside its table.
    """
    sides = (
        ("student", student_ids, student_mask, student_bytes),
        ("teacher", teacher_ids, teacher_mask, teacher_bytes),
    )
    student_rows, teacher_rows = (
        _spelled(name, ids, mask, table, None if end_of_text is None else end_of_text[side])
        for side, (name, ids, mask, table) in enumerate(sides)
    )
    if len(student_rows) != len(teacher_rows):
        raise UserError(
            f"teacher_ids: expected {len(student_rows)} utterances as in student_ids, received {len(teacher_rows)}"
        )
    index = torch.zeros(student_ids.shape, dtype=torch.long)
    positions, comparable, drifted, same = (torch.zeros(student_ids.shape, dtype=torch.bool) for _ in range(4))
    for row, ((columns, student), (teacher_columns, teacher)) in enumerate(
        zip(student_rows, teacher_rows, strict=True)
    ):
        found = match(student, teacher, student_prefix=student_prefix, teacher_prefix=teacher_prefix)
        positions[row, columns] = True
        drifted[row, columns[found.drift :]] = True
        at = [columns[i] for i, _ in found.pairs]
        index[row, at] = torch.tensor([teacher_columns[j] for _, j in found.pairs], dtype=torch.long)
        comparable[row, at] = True
        same[row, at] = torch.tensor([student[i] == teacher[j] for i, j in found.pairs], dtype=torch.bool)
    result = (index, comparable, positions & ~comparable, drifted, same)
    return Alignment(*(tensor.to(student_ids.device) for tensor in result))


def _prefix_lengths(tokens: Sequence[bytes | None]) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the text of the tokens, and (position, bytes before it) of every position where text or its end is
    predicted."""
    at, text, places = 0, [], []
    for position, token in enumerate(tokens):
        if token is None:
            continue
        places.append((position, at))
        if token == END:
            break
        text.append(token)
        at += len(token)
    return b"".join(text), places


def _common(a: bytes, b: bytes) -> int:
    """Return the length of the longest common prefix."""
    n = min(len(a), len(b))
    same = np.frombuffer(a, np.uint8)[:n] == np.frombuffer(b, np.uint8)[:n]
    return n if same.all() else int(same.argmin())


def _spelled(
    name: str, ids: Tensor, mask: Tensor | None, table: Sequence[bytes | None], end: int | None
) -> list[tuple[list[int], list[bytes | None]]]:
    """Return columns and token bytes of each row's transcript."""
    if not isinstance(ids, Tensor) or ids.dtype != torch.long or ids.ndim != 2:
        received = f"{ids.dtype} of shape {list(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise UserError(f"{name}_ids: expected a torch.int64 tensor [utterances, tokens], received {received}")
    kept_places = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    if kept_places.dtype != torch.bool or kept_places.shape != ids.shape:
        raise UserError(
            f"{name}_mask: expected a torch.bool tensor {list(ids.shape)}, received {kept_places.dtype} of shape "
            f"{list(kept_places.shape)}"
        )
    rows = []
    for row, (tokens, kept) in enumerate(zip(ids.tolist(), kept_places.tolist(), strict=True)):
        columns = [column for column, keep in enumerate(kept) if keep]
        outside = [column for column in columns if not 0 <= tokens[column] < len(table)]
        if outside:
            raise UserError(
                f"{name}_ids: id {tokens[outside[0]]} of utterance {row} at position {outside[0]} is outside the table "
                f"of {len(table)} ids; mask padding, or pass the table of the {name}'s tokenizer"
            )
        spelled = (END if tokens[column] == end else table[tokens[column]] for column in columns)
        rows.append((columns, list(spelled)))
    return rows
