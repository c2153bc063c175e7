import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import VocabularyMap, measure, top_k
from overlap.vocab.coverage import coverage
from overlap.vocab.token_bytes import TokenBytes


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


tables = st.lists(st.one_of(st.none(), st.sampled_from([b"a", b"b", b" a", b"\xc3", b"ab"])), max_size=9)


@given(tables, tables, st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None)
def test_from_bytes_pairs_identical_bytes(student, teacher, more, more_teacher):
    sizes = {"student_size": len(student) + more, "teacher_size": len(teacher) + more_teacher}
    if not sizes["student_size"] or not sizes["teacher_size"]:
        return
    made = VocabularyMap.from_bytes(student, teacher, roles={}, **sizes)
    assert (made.student_size, made.teacher_size) == tuple(sizes.values())
    if student == teacher and more == more_teacher:
        assert made.is_identity
        return
    expected = {
        (student.index(spelled), teacher.index(spelled))
        for spelled in {*student, *teacher}
        if spelled is not None and spelled in student and spelled in teacher
    }
    assert {(int(s), int(t)) for s, t in zip(*made.shared(), strict=True)} == expected


def test_roles_pair_control_tokens_and_come_first():
    student = [b"a", b"\n", None, None]
    teacher = [None, b"\n", b"a", b"b"]
    made = VocabularyMap.from_bytes(
        student, teacher, roles={"end_of_text": (1, 0), "padding": (1, 0)}, student_size=6, teacher_size=4
    )
    assert made.student_to_teacher.tolist() == [2, 0, -1, -1, -1, -1]
    assert made.teacher_to_student.tolist() == [1, -1, 0, -1]


def test_same_tables_are_the_identity_unless_roles_differ():
    table = [b"a", None, None, b"a"]
    made = VocabularyMap.from_bytes(table, tuple(table), roles={"end_of_text": (1, 1)}, student_size=5, teacher_size=5)
    assert made.is_identity
    made = VocabularyMap.from_bytes(table, table, roles={"end_of_text": (1, 2)})
    assert made.student_to_teacher.tolist() == [0, 2, -1, -1]
    made = VocabularyMap.from_bytes(table, table, roles={"end_of_text": (1, 1)}, teacher_size=6)
    assert made.student_to_teacher.tolist() == [0, 1, -1, -1]


def test_spare_ids_are_paired_last():
    """The byte piece of a letter that has a piece of its own is never written, whichever id is lower."""
    student = TokenBytes([b"a", b"b", b"a", b"c"], spare={0})
    made = VocabularyMap.from_bytes(student, [b"b", b"a"], roles={})
    assert made.student_to_teacher.tolist() == [-1, 0, 1, -1]
    made = VocabularyMap.from_bytes(student, [b"b", b"a"], roles={"end_of_text": (2, 0)})
    assert made.student_to_teacher.tolist() == [1, -1, 0, -1]


def test_from_tokenizers():
    student, teacher = {b"a": 0, b"b": 1}, {b"b": 0, b"c": 2}
    made = VocabularyMap.from_tokenizers(student, teacher, roles={"end_of_text": (2, 1)}, student_size=4)
    assert made.student_to_teacher.tolist() == [-1, 0, 1, -1]
    assert made.teacher_size == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"student": ["a"]}, "student: expected bytes or None for every id, received 'a' at id 0; take them from"),
        ({"teacher": [b"a", b""]}, "teacher: id 1 has empty bytes; give None where an id stands for no text"),
        ({"student_size": 1}, "student_size: received 1, fewer than the 2 ids of the table; pass the width"),
        ({"teacher_size": 0}, "teacher_size: received 0, fewer than the 1 ids"),
        ({"roles": {"end_of_text": (2, 0)}}, "name a student id that is outside its 2 logits: 2"),
        ({"roles": {"end_of_text": (0, -1)}}, "name a teacher id that is outside its 1 logits: -1"),
        (
            {"roles": {"end_of_text": (0, 0), "unknown": (1, 0)}},
            "roles: .* name a teacher id that goes with two ids of the other side; give each role one",
        ),
    ],
)
def test_from_bytes_refuses(arguments, message):
    arguments = {"student": [b"a", None], "teacher": [b"a"], "roles": {}} | arguments
    with pytest.raises(ValueError, match=message):
        VocabularyMap.from_bytes(arguments.pop("student"), arguments.pop("teacher"), **arguments)


def test_coverage():
    student, teacher = [b"a", b"\xe4", b"b", None], [b"b", None, b"c"]
    made = VocabularyMap.from_bytes(student, teacher, roles={"end_of_text": (3, 1)}, student_size=6)
    found = coverage(made, student, teacher)
    assert found.student.ids == {"text": 3, "special": 1, "padding": 2}
    assert found.student.mapped == {"text": 1, "special": 1, "padding": 0}
    assert found.student.examples == ((0, b"a"), (1, b"\xe4"))
    assert found.teacher.mapped == {"text": 1, "special": 1, "padding": 0}
    assert found.student.mass is None
    lines = str(found).splitlines()
    assert lines[0].split() == ["side", "of", "n", "mapped", "share", "interval"]
    assert lines[2].split() == ["student", "text", "ids", "3", "1", "33.33%", "–"]
    assert lines[-2:] == [
        r"student text without counterpart: 0 'a', 1 '\\xe4'",
        "teacher text without counterpart: 2 'c'",
    ]
    assert coverage(made, student, teacher, n_examples=0).student.examples == ()


def test_coverage_shows_the_mapped_mass():
    student, teacher = [b"a", b"b", None], [b"b", None, b"c"]
    made = VocabularyMap.from_bytes(student, teacher, roles={"end_of_text": (2, 1)})
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 3, generator=generator)
    summary = measure(logits[0], logits[1], k=2, vocabulary=made).summary()
    found = coverage(made, student, teacher, masses=summary)
    p = logits[0].double().softmax(-1)[..., [1, 2]].sum(-1).mean()
    assert found.student.mass is not None
    assert found.student.mass.value == pytest.approx(float(p), abs=1e-6)
    row = next(line for line in str(found).splitlines() if line.startswith("teacher  probability"))
    assert f"{summary['teacher_mapped_mass'].value:.2%}" in row
    assert "20" in row.split()
    assert f"{summary['teacher_mapped_mass'].low:.2%}" in row
    assert "<table>" in found._repr_html_()


def test_coverage_refuses():
    made = VocabularyMap.identity(2)
    with pytest.raises(ValueError, match="teacher: the table has 3 ids, the map 2; pass the table that"):
        coverage(made, [b"a", b"b"], [b"a", b"b", b"c"])
    with pytest.raises(ValueError, match="masses: student_mapped_mass, teacher_mapped_mass is missing"):
        coverage(made, [b"a"], [b"a"], masses={})
