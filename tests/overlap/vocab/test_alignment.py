import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.estimates.funnel import account
from overlap.vocab.alignment import END, align, match


def oracle(student, teacher):
    """Pairs by comparing every prefix with every prefix, straight from the definition."""

    def prefixes(tokens):
        ends = tokens.index(END) + 1 if END in tokens else len(tokens)
        return {i: b"".join(t or b"" for t in tokens[:i]) for i in range(ends) if tokens[i] is not None}

    ours, theirs = prefixes(student), prefixes(teacher)
    text = b"".join(t or b"" for t in (teacher[: teacher.index(END)] if END in teacher else teacher))
    pairs = tuple((i, j) for i, a in ours.items() for j, b in theirs.items() if a == b)
    return pairs, [i for i, a in ours.items() if not text.startswith(a)]


def cut(data, text):
    """A random tokenization of some bytes, with control tokens strewn in and perhaps an end."""
    places = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)))))
    edges = [0, *(p for p in places if p < len(text)), len(text)]
    tokens = [text[a:b] for a, b in itertools.pairwise(edges) if a < b]
    for _ in range(data.draw(st.integers(0, 2))):
        tokens.insert(data.draw(st.integers(0, len(tokens))), None)
    if data.draw(st.booleans()):
        tokens += [END, *data.draw(st.lists(st.sampled_from([None, b"x", END]), max_size=2))]
    return tokens


texts = st.text(st.sampled_from("ab é你👩🏽‍🚀\u0301"), max_size=8).map(str.encode)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_pairs_are_those_of_equal_prefixes(data):
    text = data.draw(texts)
    other = data.draw(st.one_of(st.just(text), texts, st.integers(0, 8).map(lambda n: text[:n] + b"~" + text[n + 1 :])))
    student, teacher = cut(data, text), cut(data, other)
    found = match(student, teacher)
    pairs, drifted = oracle(student, teacher)
    assert found.pairs == pairs
    assert found.drift == (drifted[0] if drifted else len(student))


@given(st.data())
@settings(deadline=None)
def test_a_batch_is_its_rows(data):
    rows = data.draw(st.integers(0, 3))
    student, teacher = [], []
    for _ in range(rows):
        text = data.draw(texts)
        student.append(cut(data, text))
        teacher.append(cut(data, data.draw(st.one_of(st.just(text), texts))))
    found, (student_ids, _, positions), _ = _align(student, teacher)
    assert torch.equal(found.misaligned, positions & ~found.comparable)
    assert not (found.comparable & ~positions).any()
    assert not (found.drifted & ~found.misaligned).any()
    for row in range(rows):
        expected = match(student[row], teacher[row])
        n = len(student[row])
        got = [(i, int(found.teacher_index[row, i])) for i in range(n) if found.comparable[row, i]]
        assert tuple(got) == expected.pairs
        assert found.misaligned[row, :n].sum() == n - len(expected.pairs)
        assert found.drifted[row].nonzero().flatten().tolist() == list(range(expected.drift, n))
        for i, j in expected.pairs:
            assert bool(found.same_token[row, i]) == (student[row][i] == teacher[row][j])
    assert int(found.same_token.sum()) <= int(found.comparable.sum())
    assert student_ids.shape == found.teacher_index.shape


def _align(student, teacher, **options):
    """Give every distinct token an id of its own on each side, 0 the end, and pad to the right."""

    def encode(rows):
        table = [None, *sorted({t for row in rows for t in row if t}), None]
        ids = {token: i for i, token in enumerate(table[:-1])} | {None: len(table) - 1, END: 0}
        width = max((len(row) for row in rows), default=0)
        numbers = torch.full((len(rows), width), -100)
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        for number, row in enumerate(rows):
            numbers[number, : len(row)] = torch.tensor([ids[t] for t in row], dtype=torch.long)
            mask[number, : len(row)] = True
        return numbers, table, mask

    ours, theirs = encode(student), encode(teacher)
    found = align(
        ours[0],
        theirs[0],
        student_bytes=ours[1],
        teacher_bytes=theirs[1],
        end_of_text=(0, 0),
        student_mask=ours[2],
        teacher_mask=theirs[2],
        **options,
    )
    return found, ours, theirs


@pytest.mark.parametrize(
    ("student", "teacher", "pairs", "drift"),
    [
        ([], [], (), 0),
        ([END], [END], ((0, 0),), 1),
        ([], [b"a"], (), 0),
        ([b"a"], [], (), 1),
        # A character of three bytes, split on one side, on the other, and on both at different places.
        (["你".encode(), END], [*(bytes([b]) for b in "你".encode()), END], ((0, 0), (1, 3)), 2),
        ([b"\xe4", b"\xbd\xa0", END], ["你".encode(), END], ((0, 0), (2, 1)), 3),
        ([b"\xe4", b"\xbd\xa0", b"!"], [b"\xe4\xbd", b"\xa0", b"!"], ((0, 0), (2, 2)), 3),
        # A composed character against a decomposed one: all that follows has drifted.
        (["é".encode(), b"t", END], [b"e", "\u0301".encode(), b"t", END], ((0, 0),), 1),
        # The student broke off inside a character, which decoding replaced by U+FFFD.
        ([b"a", b"\xe4", END], [b"a", "\ufffd".encode(), END], ((0, 0), (1, 1)), 2),
        # Control tokens at either side, in front, inside and behind.
        ([None, b"a", None, b"b", None, END], [b"a", b"b", END], ((1, 0), (3, 1), (5, 2)), 6),
        ([b"a", b"b", END], [None, b"a", None, None, b"b", END, END], ((0, 1), (1, 4), (2, 5)), 3),
        # One side goes on where the other ends: the state is the same, the token written there is not.
        ([b"a", END], [b"a", b"b", END], ((0, 0), (1, 1)), 2),
        ([b"a", b"b", END], [b"a", END], ((0, 0), (1, 1)), 2),
        # The student's transcript was cut off: there is no position of the end to compare.
        ([b"a"], [b"a", END], ((0, 0),), 1),
    ],
)
def test_cases(student, teacher, pairs, drift):
    found = match(student, teacher)
    assert (found.pairs, found.drift) == (pairs, drift)
    assert found.pairs == oracle(student, teacher)[0]


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        ([b"he", b"llo", END], [b" hello", END], ((2, 1),)),
        ([b"he", b"llo", END], [b" ", b"hello", END], ((0, 1), (2, 2))),
        ([b"he", b"llo", END], [b" he", b"llo", END], ((1, 1), (2, 2))),
        # A tokenizer that adds a space only where there is none.
        ([b" he", b"llo", END], [b" hello", END], ((0, 0), (2, 1))),
        # A tokenizer that always adds one.
        ([b" ", b"hello", END], [b" ", b" hello", END], ((0, 1), (2, 2))),
        ([b"hello", END], [b"hello", END], ((0, 0), (1, 1))),
        ([END], [END], ((0, 0),)),
        ([END], [b" ", END], ((0, 1),)),
    ],
)
def test_a_prefix_is_left_out(student, teacher, pairs):
    assert match(student, teacher, teacher_prefix=b" ").pairs == pairs
    assert match(teacher, student, student_prefix=b" ").pairs == tuple((j, i) for i, j in pairs)


def test_both_prefixes():
    found = match([b" a", b"b"], [b" ", b"ab"], student_prefix=b" ", teacher_prefix=b" ")
    assert found.pairs == ((0, 0),)
    # Inside prefixes that differ nothing is comparable.
    found = match([b" ", b"a"], [b"\n", b" ", b"a"], student_prefix=b" ", teacher_prefix=b"\n ")
    assert found.pairs == ((1, 2),)


def test_gather_and_funnel():
    found, (_, _, mask), theirs = _align([[b"a", b"b", b"c", END], [b"a"]], [[b"a", b"bc", END], [b"a", END]])
    values = torch.arange(theirs[0].numel() * 2.0).reshape(*theirs[0].shape, 2)
    gathered = found.gather(values)
    assert gathered.shape == (2, 4, 2)
    for row, i in found.comparable.nonzero().tolist():
        assert torch.equal(gathered[row, i], values[row, found.teacher_index[row, i]])
    funnel, used = account(mask, {"misaligned": found.misaligned})
    assert funnel.counts["misaligned"] == 1
    assert funnel.counts["used"] == 4
    assert torch.equal(used, found.comparable)
    assert found.same_token.tolist() == [[True, False, False, True], [True, False, False, False]]
    with pytest.raises(ValueError, match=r"teacher: expected 2 utterances on the first axis, received shape \[3, 1\]"):
        found.gather(torch.zeros(3, 1))


def test_empty_batches():
    assert _align([], [])[0].comparable.shape == (0, 0)
    found, *_ = _align([[b"a", END]], [[]])
    assert not found.comparable.any()
    assert found.gather(torch.zeros(1, 0, 5)).shape == (1, 2, 5)


def test_masks_choose_the_transcript():
    """Prompt and padding on either side of the transcript count for nothing."""
    table = [b"a", b"b", b"ab", None]
    found = align(
        torch.tensor([[2, 2, 0, 1, 3, 0]]),
        torch.tensor([[1, 2, 3]]),
        student_bytes=table,
        teacher_bytes=table,
        end_of_text=(3, 3),
        student_mask=torch.tensor([[False, False, True, True, True, False]]),
        teacher_mask=torch.tensor([[False, True, True]]),
    )
    assert found.comparable.tolist() == [[False, False, True, False, True, False]]
    assert found.teacher_index.tolist() == [[0, 0, 1, 0, 2, 0]]
    assert found.misaligned.tolist() == [[False, False, False, True, False, False]]


def test_without_an_end_of_text():
    table = [b"a", None]
    ids = torch.tensor([[0, 1]])
    found = align(ids, ids, student_bytes=table, teacher_bytes=table, end_of_text=None)
    assert found.comparable.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student_ids": torch.zeros(2, 1)}, r"student_ids: expected a torch.int64 tensor .* received torch.float32"),
        ({"teacher_ids": [[0]]}, r"teacher_ids: expected a torch.int64 tensor \[utterances, tokens\], received list"),
        ({"teacher_ids": torch.zeros(3, 1, dtype=torch.long)}, "teacher_ids: expected 2 utterances .* received 3"),
        (
            {"student_ids": torch.tensor([[0], [7]])},
            "student_ids: id 7 of utterance 1 at position 0 is outside the table of 2 ids; mask padding",
        ),
        ({"teacher_ids": torch.tensor([[0], [-100]])}, "teacher_ids: id -100 of utterance 1"),
        (
            {"student_mask": torch.ones(2, 2, dtype=torch.bool)},
            r"student_mask: expected a torch.bool tensor \[2, 1\], received torch.bool of shape \[2, 2\]",
        ),
    ],
)
def test_errors(options, message):
    ids, table = torch.zeros(2, 1, dtype=torch.long), [b"a", None]
    arguments = {"student_ids": ids, "teacher_ids": ids, "student_bytes": table, "teacher_bytes": table} | options
    with pytest.raises(ValueError, match=message):
        align(arguments.pop("student_ids"), arguments.pop("teacher_ids"), end_of_text=None, **arguments)
