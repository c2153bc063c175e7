"""Whether both models end texts in a way that the other reads: ids, their pairing, and the teacher's own ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models import Transcriber
from ..models.end_tokens import generation_ends
from ..scoring.pair import Pair
from .finding import CheckFinding

CHECK = "end of text"


def check_ends(models: Mapping[str, Transcriber]) -> list[CheckFinding]:
    """Return whether the ids at which each checkpoint says that it stops are its ends of text.

    Args:
        models: By role, `student` and `teacher`; of a served one only the tokenizer is known.
    """
    rows = []
    for role, model in models.items():
        said = generation_ends(generator) if (generator := getattr(model, "generator", None)) is not None else []
        rows.append(_of_model(role, model, said))
    return rows


def _of_model(role: str, model: Transcriber, said: list[int]) -> CheckFinding:
    tokens = model.tokens
    ends = f"the {role} ends texts with {_named(model, tokens.ends)}"
    if len(tokens.ends) > 1:
        ends += ", which count as one event"
    ordinary = [i for i in said if i not in tokens.ends]
    setting = "eos_token_id of generation_config.json"
    if said and len(ordinary) == len(said):
        return CheckFinding(
            "error",
            CHECK,
            f"{ends}, and its {setting} names only {_named(model, ordinary)}, which is text or no token",
            f"give {setting} the id {tokens.end_of_text}, or name the model's token in end_of_text of its section",
        )
    if ordinary:
        return CheckFinding(
            "warning",
            CHECK,
            f"{ends}; its {setting} also names {_named(model, ordinary)}, which is text or no token and is not read "
            "as an end",
            f"remove it from {setting}: `generate` of transformers would stop there",
        )
    if said and tokens.end_of_text not in said and role == "student":
        return CheckFinding(
            "warning",
            CHECK,
            f"{ends}; labels are closed by {_named(model, [tokens.end_of_text])}, which its {setting} does not name",
            f"add {tokens.end_of_text} to {setting}: `generate` of transformers would not stop there",
        )
    return CheckFinding("ok", CHECK, ends)


def check_paired_ends(pair: Pair) -> list[CheckFinding]:
    """Return whether the ends of both models are one event for the other.

    Args:
        pair: The two models.
    """
    student, teacher, vocabulary = pair.student.tokens, pair.teacher.tokens, pair.vocabulary
    there = student.end_of_text if vocabulary is None else int(vocabulary.student_to_teacher[student.end_of_text])
    if there != teacher.end_of_text:
        found = (
            f"the student's end {_named(pair.student, [student.end_of_text])} is paired with "
            f"{_named(pair.teacher, [there]) if there >= 0 else 'no token'} of the teacher, whose end is "
            f"{_named(pair.teacher, [teacher.end_of_text])}"
        )
        remedy = "name the tokens that end texts in end_of_text of both models' sections"
        return [CheckFinding("error", CHECK, found, remedy)]
    strange = [
        f"{_named(pair.student, [i])}, an end of the student, is a token of the teacher's texts"
        for i in student.further_ends
        if _is_text(_counterpart(vocabulary, "student_to_teacher", i), teacher.ends, pair.teacher_blocked)
    ] + [
        f"{_named(pair.teacher, [i])}, an end of the teacher, is a token of the student's texts"
        for i in teacher.further_ends
        if _is_text(_counterpart(vocabulary, "teacher_to_student", i), student.ends, pair.blocked)
    ]
    if strange:
        remedy = "take it from the checkpoint's list of ends, or block it on the other side"
        return [CheckFinding("error", CHECK, "; ".join(strange), remedy)]
    sides = [[model.tokens.strings[i] for i in model.tokens.ends] for model in (pair.student, pair.teacher)]
    ids = f"{student.end_of_text} and {teacher.end_of_text}"
    paired = f"the ends of both models are paired (ids {ids})"
    alone = sorted({*sides[0]} ^ {*sides[1]}) if vocabulary is None else []
    if alone:
        found = f"{paired}; only one of the two stops at {', '.join(map(repr, alone))}"
        remedy = "the other never writes it; give both checkpoints the same eos_token_id if both were trained with it"
        return [CheckFinding("note", CHECK, found, remedy)]
    return [CheckFinding("ok", CHECK, paired)]


def _counterpart(vocabulary: Any, table: str, i: int) -> int:
    return i if vocabulary is None else int(getattr(vocabulary, table)[i])


def _is_text(i: int, ends: tuple[int, ...], blocked: Any) -> bool:
    return i >= 0 and i not in ends and not bool(blocked[i])


def _named(model: Transcriber, ids: Any) -> str:
    strings = model.tokens.strings
    return ", ".join(f"{strings[i]!r} (id {i})" if 0 <= i < len(strings) else f"id {i}" for i in ids)
