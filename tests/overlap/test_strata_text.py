"""Token classes and correctness, on byte pieces that cut words and characters anywhere."""

import sys
from types import SimpleNamespace

import jiwer
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.strata import CORRECTNESS, TOKEN_CLASSES, EditAlignment, align_to_reference, correctness, token_classes
from overlap.strata.spans import Spans

END, CONTROL = 0, 1


def tokenized(*rows):
    """Ids and pieces of rows of bytes, strings, END or CONTROL."""
    pieces, table = [None, None], []
    for row in rows:
        ids = []
        for piece in row:
            if isinstance(piece, int):
                ids.append(piece)
                continue
            raw = piece.encode() if isinstance(piece, str) else piece
            if raw not in pieces:
                pieces.append(raw)
            ids.append(pieces.index(raw))
        table.append(ids)
    width = max(map(len, table))
    return torch.tensor([ids + [-1] * (width - len(ids)) for ids in table]), pieces


def names(labels, row=0):
    return [None if code < 0 else labels.levels[code] for code in np.atleast_2d(labels.codes)[row]]


def classes(*row):
    tokens, pieces = tokenized(row)
    return names(token_classes(tokens, pieces, end_of_text=[END]))


def test_classes_of_english():
    assert classes("he", "llo", ",", " wor", "ld", "'s", " ", "42", "nd", END) == [
        *("word_initial", "continuation", "punctuation", "word_initial", "continuation", "continuation"),
        *("space", "digit", "continuation", "end_of_text"),
    ]
    assert classes("(", "so", " ", "well", "-", "known", CONTROL, " x", "é") == [
        *("punctuation", "word_initial", "space", "word_initial", "punctuation", "continuation"),
        *("control", "word_initial", "continuation"),
    ]
    assert classes(" B2B", "…", "😀", "½", "\n") == ["digit", "punctuation", "punctuation", "digit", "space"]
    assert classes("Ñ".encode()[:1], "Ñ".encode()[1:], "u") == ["word_initial", "continuation", "continuation"]


def test_classes_of_chinese_japanese_and_korean():
    first, second = "语".encode()[:2], "语".encode()[2:] + "音".encode()
    assert classes(first, second, "。", "ok", "，", "9", "〇", "、") == [
        *("cjk", "cjk", "punctuation", "word_initial", "punctuation", "digit", "cjk", "punctuation")
    ]
    assert classes("カ", "ー", "々", "한", "ㄅ", "𠮷", "･", "・", "①", " 中") == [
        *("cjk", "cjk", "cjk", "cjk", "cjk", "cjk", "punctuation", "punctuation", "digit", "cjk")
    ]


def test_incomplete_characters_have_no_class():
    whole = "语".encode()
    assert classes(whole[:2], "a") == [None, "word_initial"]
    assert classes(whole[:1], whole[1:2], END) == [None, None, "end_of_text"]
    assert classes("a" + "x", b"b" + whole[:1]) == ["word_initial", "continuation"]


def test_rows_are_utterances_and_negative_ids_are_no_tokens():
    tokens, pieces = tokenized(["one", " two"], ["x"])
    labels = token_classes(tokens, pieces)
    assert labels.name == "token_class"
    assert labels.levels == TOKEN_CLASSES
    assert names(labels, 1) == ["word_initial", None]
    assert token_classes(tokens[0], pieces).codes.tolist() == labels.codes[0].tolist()
    assert token_classes(tokens[None], pieces).codes.shape == (1, 2, 2)
    assert names(token_classes(np.array([99]), pieces)) == ["control"]  # a padded id beyond the table
    assert token_classes(torch.zeros(2, 0, dtype=torch.long), pieces).codes.shape == (2, 0)


@given(st.text(max_size=30), st.data())
@settings(deadline=None)
def test_spans_against_a_byte_by_byte_count(text, data):
    raw = text.encode("utf-8", "surrogatepass")  # half a surrogate pair is invalid UTF-8, as a broken decoder may give
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    spans = Spans.from_tokens(range(len(parts)), parts)
    assert spans.text.encode("utf-8", "surrogateescape") == raw
    owner = [i for i, c in enumerate(spans.text) for _ in c.encode("utf-8", "surrogateescape")]
    position = 0
    for token, part in enumerate(parts):
        assert (spans.starts[token], spans.ends[token]) == (position, position + len(part))
        held = sorted(set(owner[position : position + len(part)]))
        assert list(range(spans.first[token], spans.last[token])) == held
        position += len(part)


@given(st.text("ab 1,语音é", max_size=20), st.data())
@settings(deadline=None)
def test_classes_byte_by_byte(text, data):
    """Each byte is judged by its own character, each token by its bytes."""
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=8))) if raw else []
    parts = [part for part in (raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)) if part]
    kinds = []
    for i, character in enumerate(text):
        begins = text[:i].rstrip(",") == "" or text[:i].rstrip(",")[-1] in " 语音"
        kind = {" ": 6, "1": 2, ",": 3, "语": 1, "音": 1}.get(character, 4 if begins else 5)
        kinds += [kind] + [5 if kind == 4 else kind] * (len(character.encode()) - 1)
    expected, start = [], 0
    for part in parts:
        held = set(kinds[start : start + len(part)])
        letters = held & {4, 5}
        expected.append(min(held & {1, 2} or letters or held))
        start += len(part)
    assert token_classes(np.arange(len(parts)), parts).codes.tolist() == expected


def labeled(row, reference, **options):
    tokens, pieces = tokenized(row)
    return names(
        correctness(tokens, pieces, align_to_reference(tokens, pieces, [reference], **options), end_of_text=[END])
    )


def test_correctness_of_words():
    assert labeled(["he", "llo", " wor", "ld", END], "hello world") == ["correct"] * 5
    assert labeled(["he", "llo", " wor", "ld", END], "hello word") == [
        *("correct", "correct", "substituted", "substituted", "correct")
    ]
    assert labeled(["a", " b", " c"], "a c") == ["correct", "inserted", "correct"]
    assert labeled([" a", CONTROL, " ", "b"], "a b") == ["correct", None, None, "correct"]
    assert labeled(["he", CONTROL, "llo"], "hello") == ["correct", None, "correct"]


def test_neighborhood_of_a_deletion():
    assert labeled(["he", "llo", " wor", "ld", END], "hello big world") == [
        *("correct", "near_deletion", "near_deletion", "correct", "correct")
    ]
    assert labeled(["one", END], "one two") == ["near_deletion", "near_deletion"]
    assert labeled(["two", END], "one two") == ["near_deletion", "correct"]
    assert labeled([END], "one two") == ["near_deletion"]
    assert labeled([END], "") == ["correct"]
    assert labeled(["a", " x", " c"], "a b b c") in (
        ["near_deletion", "substituted", "correct"],
        ["correct", "substituted", "near_deletion"],
    )


def test_a_token_of_several_words_takes_the_worst():
    assert labeled(["a b", " c"], "a x c") == ["substituted", "correct"]
    assert labeled(["a b", " c"], "a c") == ["inserted", "correct"]


def test_correctness_of_characters_that_tokens_share():
    first, second = "语".encode()[:2], "语".encode()[2:] + "音".encode()
    assert labeled([first, second, "识", END], "语音识", unit="character") == ["correct"] * 4
    assert labeled([first, second, "识", END], "言音识", unit="character") == [
        *("substituted", "substituted", "correct", "correct")
    ]
    assert labeled(["a", " b"], "ab", unit="character") == ["correct", "correct"]  # white space is not compared


def test_normalizer_is_traced_back_to_the_tokens():
    normalize = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation()])
    assert labeled(["Well", ",", " THE", " Cat", "."], "well the dog", normalize=normalize) == [
        *("correct", None, "correct", "substituted", None)
    ]
    assert labeled(["it", "'s", " 5", " pm"], "its five p m", normalize=spelled) == ["correct"] * 4
    assert labeled(["...", END], "", normalize=normalize) == [None, "correct"]
    assert labeled(["cat", " ", "dog"], "cat dogs", normalize=lambda text: text.rstrip("s") + "s") == [
        *("correct", None, "correct")
    ]
    assert labeled([END], "a", normalize=lambda text: text + " end") == ["near_deletion"]


def spelled(text):
    return text.replace("'", "").replace("5", "five").replace("pm", "p m")


@given(
    st.lists(st.sampled_from(["a", "bb", "ccc", "语", "é"]), max_size=7),
    st.lists(st.sampled_from(["a", "bb", "ccc", "语", "é"]), max_size=7),
    st.sampled_from(["word", "character"]),
)
@settings(deadline=None)
def test_one_token_a_unit_is_jiwers_alignment(hypothesis, reference, unit):
    units = hypothesis if unit == "word" else list("".join(hypothesis))
    row = [f" {word}" for word in units] if unit == "word" else units
    tokens, pieces = tokenized([*row, END])
    found = names(
        correctness(
            tokens, pieces, align_to_reference(tokens, pieces, [" ".join(reference)], unit=unit), end_of_text=[END]
        )
    )
    if unit == "word":
        counts = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    else:
        counts = jiwer.process_characters("".join(reference), "".join(hypothesis))
    assert found.count("substituted") == counts.substitutions
    assert found.count("inserted") == counts.insertions
    assert found.count("correct") + found.count("near_deletion") == counts.hits + 1
    if not counts.deletions:
        assert "near_deletion" not in found


def test_jiwers_own_output_serves():
    tokens, pieces = tokenized(["one", " too", END], ["x", END])
    output = jiwer.process_words(["one two"], ["one too"])
    given_spans = EditAlignment(output.alignments[0], np.array([[0, 3], [4, 7]]))
    labels = correctness(tokens, pieces, [given_spans, None], end_of_text=[END])
    assert labels.levels == CORRECTNESS
    assert names(labels) == ["correct", "substituted", "correct"]
    assert names(labels, 1) == [None, None, None]


def test_refusals(monkeypatch):
    tokens, pieces = tokenized(["one", " two"])
    with pytest.raises(ValueError, match=r"tokens: expected integer ids \[..., L\] .* received float32 of shape \[2\]"):
        token_classes(torch.zeros(2), pieces)
    with pytest.raises(ValueError, match="pieces: expected the bytes of every id, or None, received str at id 0"):
        token_classes(torch.zeros(1, 1, dtype=torch.long), ["a"])
    with pytest.raises(ValueError, match="references: expected one for each of the 1 rows, received 2"):
        align_to_reference(tokens, pieces, ["a", "b"])
    with pytest.raises(ValueError, match="unit: expected 'word' or 'character', received 'letter'"):
        align_to_reference(tokens, pieces, ["a"], unit="letter")
    with pytest.raises(ValueError, match="alignments: expected one for each of the 1 rows, received 0"):
        correctness(tokens, pieces, [])
    chunk = SimpleNamespace(type="equal", hyp_start_idx=0, hyp_end_idx=1)
    with pytest.raises(ValueError, match="alignments: row 0 has 7 bytes of text, its alignment reaches byte 9"):
        correctness(tokens, pieces, [EditAlignment([chunk], np.array([[0, 9]]))])
    with pytest.raises(ValueError, match=r"spans: expected one \(start, end\) for each of the 1 aligned units"):
        EditAlignment([chunk], np.zeros((0, 2), int))
    with pytest.raises(ValueError, match="spans: expected 0 <= start < end in every row"):
        EditAlignment([chunk], np.array([[3, 3]]))
    with pytest.raises(ValueError, match="chunks: expected equal, substitute, insert or delete, received 'swap'"):
        EditAlignment([SimpleNamespace(type="swap", hyp_start_idx=0, hyp_end_idx=0)], np.zeros((0, 2), int))
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ImportError, match="aligning transcripts needs the Python package jiwer; install it with"):
        align_to_reference(tokens, pieces, ["one"])
