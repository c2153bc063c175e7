import pytest

from analysis.run.display_text import shown, shown_token


@pytest.mark.parametrize(
    ("spelled", "token", "text"),
    [
        (b" two", "Ġtwo", "␣two"),
        (b" two", "▁two", "␣two"),
        (b"\n", "Ċ", "⏎"),
        (b"\ta", "ĉa", "⇥a"),
        (None, "<|im_end|>", "<|im_end|>"),
        (None, "</s>", "</s>"),
        (b"A", "<0x41>", "A"),
        ("四".encode(), "åĽĽ", "四"),
        (b"\x9b", "Ľ", "⟨9B⟩"),
        (b"ive", "ive", "ive"),
    ],
)
def test_tokens_for_people_to_read(spelled, token, text):
    assert shown_token(spelled, token) == text


def test_bytes_that_a_tokenizer_declares_look_the_same():
    assert [shown(b"a\n b"), shown(b"\t"), shown("四".encode()[:2])] == ["a⏎␣b", "⇥", "⟨E5 9B⟩"]
