import pytest

from analysis.run.pieces import token_pieces
from analysis.run.shown import shown, shown_token


def test_byte_level_tokens():
    assert token_pieces(["two", "Ġf", "ive", "<|im_end|>"], "two five") == [b"two", b" f", b"ive", b""]


def test_a_character_that_several_tokens_spell():
    assert token_pieces(["å", "Ľ", "Ľ"], "四") == [b"\xe5", b"\x9b", b"\x9b"]


def test_sentencepiece_tokens():
    tokens = ["▁two", "▁f", "ive", "<0xE5>", "<0x9B>", "<0x9B>", "</s>"]
    assert token_pieces(tokens, "two five四") == [b" two", b" f", b"ive", b"\xe5", b"\x9b", b"\x9b", b""]


def test_a_spelling_that_does_not_give_the_transcript_is_not_taken():
    assert token_pieces(["two", "Ġfive"], "two six") is None
    assert token_pieces([], "") == []


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("Ġtwo", "␣two"),
        ("▁two", "␣two"),
        ("Ċ", "⏎"),
        ("ĉa", "⇥a"),
        ("<|im_end|>", "<|im_end|>"),
        ("</s>", "</s>"),
        ("<0x41>", "A"),
        ("åĽĽ", "四"),
        ("Ľ", "⟨9B⟩"),
        ("ive", "ive"),
    ],
)
def test_tokens_for_people_to_read(token, text):
    assert shown_token(token) == text


def test_bytes_that_a_tokenizer_declares_look_the_same():
    assert [shown(b"a\n b"), shown(b"\t"), shown("四".encode()[:2])] == ["a⏎␣b", "⇥", "⟨E5 9B⟩"]
