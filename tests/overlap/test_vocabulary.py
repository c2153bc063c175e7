import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import VocabularyMap, top_k


@given(st.data())
@settings(deadline=None)
def test_from_pairs_maps_both_ways(data):
    student_size, teacher_size = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    n = data.draw(st.integers(0, min(student_size, teacher_size)))
    student = data.draw(st.permutations(range(student_size)))[:n]
    teacher = data.draw(st.permutations(range(teacher_size)))[:n]
    pairs = list(zip(student, teacher, strict=True))
    table = VocabularyMap.from_pairs(pairs, student_size=student_size, teacher_size=teacher_size)
    forward, backward = dict(pairs), {t: s for s, t in pairs}
    assert table.to_teacher(torch.arange(student_size)).tolist() == [forward.get(i, -1) for i in range(student_size)]
    assert table.to_student(torch.arange(teacher_size)).tolist() == [backward.get(i, -1) for i in range(teacher_size)]
    assert table.to_teacher(torch.tensor([[-1]])).tolist() == [[-1]]
    assert (table.n_shared, table.student_size, table.teacher_size) == (n, student_size, teacher_size)
    assert table.student_coverage == n / student_size
    assert table.teacher_coverage == n / teacher_size
    assert table.shared()[0].tolist() == sorted(student)
    assert table.is_identity == (student_size == teacher_size == n and all(s == t for s, t in pairs))


def test_identity():
    table = VocabularyMap.identity(5)
    assert table.is_identity
    assert table.student_coverage == table.teacher_coverage == 1.0
    support = top_k(torch.randn(2, 5), 3)
    assert table.teacher_support(support) is support
    assert table.student_support(support) is support
    assert table.to("cpu") is table
    assert repr(table) == ("VocabularyMap(identity, 5 shared of 5 student ids (100.0%) and 5 teacher ids (100.0%))")


def test_supports_meet_in_the_students_ids():
    table = VocabularyMap.from_pairs([(0, 2), (3, 0)], student_size=4, teacher_size=3)
    teacher = table.teacher_support(top_k(torch.tensor([3.0, 2.0, 1.0]), 3))
    assert teacher.ids.tolist() == [3, 0, 0]
    assert teacher.valid.tolist() == [True, False, True]
    student = table.student_support(top_k(torch.tensor([3.0, 2.0, 1.0, 0.0]), 4))
    assert student.ids[student.valid].tolist() == [0, 3]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(0, 0), (0, 1)], "student id 0 is paired more than once; a map is one-to-one"),
        ([(0, 1), (1, 1)], "teacher id 1 is paired more than once"),
        ([(0, 0), (4, 1)], r"pair 1 names student id 4, outside the student's 4 logits \(valid: 0 to 3\)"),
        ([(0, -1)], "pair 0 names teacher id -1, outside the teacher's 3 logits"),
        (torch.zeros(1, 2), "pairs: expected integer ids, received torch.float32"),
    ],
)
def test_from_pairs_refuses(pairs, message):
    with pytest.raises(ValueError, match=message):
        VocabularyMap.from_pairs(pairs, student_size=4, teacher_size=3)


@pytest.mark.parametrize(
    ("forward", "backward", "message"),
    [
        ([0, 1], [0, -1], "student_to_teacher: the two tables are not inverses of each other at 1 ids, the first is 1"),
        ([0, -1], [0, 1], "teacher_to_student: the two tables are not inverses"),
        ([0, 2], [0, 1], r"student_to_teacher: expected ids of -1 \(unmapped\) to 1, received 0 to 2"),
        ([0.0], [0], "student_to_teacher: expected a one-axis torch.int64 tensor"),
    ],
)
def test_tables_must_be_inverse(forward, backward, message):
    with pytest.raises(ValueError, match=message):
        VocabularyMap(torch.tensor(forward), torch.tensor(backward))


def test_identity_needs_a_size():
    with pytest.raises(ValueError, match="size: expected at least 1, received 0"):
        VocabularyMap.identity(0)
