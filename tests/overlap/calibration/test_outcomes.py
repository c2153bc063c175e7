"""Tokens and words with their confidences and outcomes, on pieces that cut words anywhere."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.calibration import calibration, text_word_confidences, token_outcomes, word_confidences, word_outcomes
from overlap.errors import UserError
from overlap.strata import Labels, align_to_reference, correctness

END = 0
PIECES = [None, b"the", b" c", b"at s", b"at", b" on", b" mat", b" "]
#         ids:   1       2      3       4      5       6        7
ROWS = torch.tensor([[1, 2, 3, 4, 5, 6, END], [1, 2, 4, 6, END, -1, -1]])  # "the cat sat on mat", "the cat mat"
P = np.array([[0.9, 0.5, 0.8, 0.5, 0.6, 0.7, 0.99], [0.9, 0.4, 0.5, 0.25, 0.9, np.nan, np.nan]])
ALIGNED = align_to_reference(ROWS, PIECES, ["the cat sat in mat", "a cat mat"])


def test_words_by_hand():
    found = word_outcomes(ROWS, PIECES, P, ALIGNED)
    # "at s" has a part of both "cat" and "sat".
    assert found.confidence == pytest.approx([0.9, 0.5 * 0.8, 0.8 * 0.5, 0.6, 0.7, 0.9, 0.4 * 0.5, 0.25])
    assert found.correct.tolist() == [1, 1, 1, 0, 1, 0, 1, 1]
    assert found.groups.tolist() == [0] * 5 + [1] * 3
    least = word_outcomes(ROWS, PIECES, torch.tensor(P), ALIGNED, groups=["x", "y"], combine="min")
    assert least.confidence == pytest.approx([0.9, 0.5, 0.5, 0.6, 0.7, 0.9, 0.4, 0.25])
    assert least.groups.tolist() == ["x"] * 5 + ["y"] * 3


def test_rows_without_reference_give_no_words():
    found = word_outcomes(ROWS, PIECES, P, [None, ALIGNED[1]])
    assert found.groups.tolist() == [1, 1, 1]
    assert len(word_outcomes(ROWS, PIECES, P, [None, None])) == 0
    assert math.isnan(calibration(word_outcomes(ROWS, PIECES, P, [None, None])).ece.value)


def test_tokens_by_hand():
    labels = correctness(ROWS, PIECES, ALIGNED, end_of_text=[END])
    found = token_outcomes(P, labels)
    assert found.confidence == pytest.approx([*P[0], *P[1][:5]])
    assert found.correct.tolist() == [1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1]
    assert found.groups.tolist() == [0] * 7 + [1] * 5
    named = token_outcomes(torch.tensor(P), labels, groups=["anna", "ben"])
    assert named.groups.tolist() == ["anna"] * 7 + ["ben"] * 5


def test_tokens_beside_missing_words_and_without_label():
    rows = torch.tensor([[1, 7, 6, END]])  # "the  mat" of "the big mat": both words stand beside the gap
    labels = correctness(rows, PIECES, align_to_reference(rows, PIECES, ["the big mat"]))
    p = np.array([[0.5, 0.6, 0.7, 0.8]])
    nan = math.nan
    for choice, expected in (("left out", nan), ("right", 1.0), ("wrong", 0.0)):
        found = token_outcomes(p, labels, near_deletion=choice).correct
        assert found.tolist() == pytest.approx([expected, nan, expected, nan], nan_ok=True)


def test_confidences_of_strings():
    words, found = text_word_confidences(["▁the".replace("▁", " "), " c", "at", "", " sat"], [0.9, 0.5, 0.5, 0.1, 0.3])
    assert words == ["the", "cat", "sat"]
    assert found == pytest.approx([0.9, 0.25, 0.3])
    assert text_word_confidences([" the", " c", "at"], [0.9, 0.5, 0.6], combine="min")[1].tolist() == [0.9, 0.5]
    assert text_word_confidences([], [])[0] == []


@given(st.lists(st.text("ab ", max_size=3), max_size=12), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_product_and_minimum_by_characters(pieces, seed):
    p = np.random.default_rng(seed).random(len(pieces))
    owner = [number for number, piece in enumerate(pieces) for _ in piece]
    text, expected, word = "".join(pieces), [], []
    for character, token in zip(text + " ", [*owner, -1], strict=True):
        if character != " ":
            word.append(token)
        elif word:
            expected.append(sorted(set(word)))
            word = []
    for combine, join in (("product", math.prod), ("min", min)):
        words, found = text_word_confidences(pieces, p, combine=combine)
        assert words == text.split()
        assert found.tolist() == pytest.approx([join(p[token] for token in tokens) for tokens in expected])


def test_a_word_without_tokens_has_no_confidence():
    found = word_confidences(np.array([0.5]), np.array([[0, 2]]), np.array([[0, 1], [4, 6]]))
    assert found.tolist() == pytest.approx([0.5, math.nan], nan_ok=True)


def test_messages():
    labels = correctness(ROWS, PIECES, ALIGNED)
    with pytest.raises(UserError, match=r"labels: expected those of strata.correctness, received the levels \['a'\]"):
        token_outcomes(P, Labels.from_values("x", ["a", "a"]))
    with pytest.raises(UserError, match="confidence: expected utterances × tokens"):
        token_outcomes(P[0], labels)
    with pytest.raises(UserError, match="groups: expected one for each of the 2 rows, received 1"):
        token_outcomes(P, labels, groups=["a"])
    with pytest.raises(UserError, match=r"word_outcomes: expected probabilities \[2, 7\] like the tokens"):
        word_outcomes(ROWS, PIECES, P[:, :3], ALIGNED)
    with pytest.raises(UserError, match="alignments: row 1 reaches beyond the text that its tokens spell"):
        word_outcomes(ROWS, PIECES, P, [ALIGNED[0], ALIGNED[0]])
    with pytest.raises(UserError, match="probabilities: expected one for each of the 2 tokens, got 1"):
        text_word_confidences(["a", "b"], [0.5])
    with pytest.raises(UserError, match='combine: expected "product" or "min", received \'mean\''):
        word_confidences(np.ones(1), np.array([[0, 1]]), np.array([[0, 1]]), combine="mean")
    with pytest.raises(UserError, match=r"spans: expected \(start, end\) of each of the 2 tokens"):
        word_confidences(np.ones(2), np.array([[0, 1]]), np.array([[0, 1]]))
