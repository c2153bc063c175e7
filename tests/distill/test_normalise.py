import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.normalise import NORMALISERS, Normaliser, normaliser


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Twenty-one,\tplease!\n", "twenty one please"),
        ("WE'RE / were / we\u2019re / we\u02bcre", "we're were we're we're"),
        ("'quoted' rock 'n' roll dogs'", "quoted rock n roll dogs"),
        ("U.S. 3.5 % $7 a_b a_'b", "u s 3 5 7 a b a b"),
        ("ＦＵＬＬ　ｗｉｄｔｈ １２ ﬁne", "full width 12 fine"),
        ("Café naïve cafe\u0301", "café naïve café"),
        ("zero\u200bwidth soft\u00adhyphen \ufeffmark", "zerowidth softhyphen mark"),
        ("a\x00b\x1fc\u2028d", "a b c d"),
        ("你好，世界。 你 好", "你好世界你好"),
        ("播放 Hello World 3 次", "播放hello world 3次"),
        ("コーヒー、ください 々", "コーヒーください々"),
        ("안녕 하세요", "안녕 하세요"),
        ("हिन्दी में", "हिन्दी में"),
        ("... —", ""),
        ("", ""),
    ],
)
def test_basic(text, expected):
    assert normaliser("basic").apply(text) == unicodedata.normalize("NFC", expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CALL 351", "call three five one"),
        ("call three five one", "call three five one"),
        ("Room9B, 0!", "room nine b zero"),
        ("1,000.50", "one zero zero zero five zero"),
        ("the '90s x² ３ ٣", "the nine zero s x two three three"),
        ("five", "five"),
    ],
)
def test_spoken_digits(text, expected):
    assert normaliser("spoken_digits").apply(text) == expected


def test_each_digit_has_its_word():
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert normaliser("spoken_digits").apply("0123456789").split() == words


@settings(deadline=None)
@given(st.text())
def test_none_changes_nothing(text):
    assert normaliser("none").apply(text) == text


@settings(deadline=None)
@given(st.sampled_from(["basic", "spoken_digits"]), st.text())
def test_properties(name, text):
    apply = normaliser(name).apply
    once = apply(text)
    assert apply(once) == once
    assert once == " ".join(once.split())
    kept = [c for c in once if unicodedata.category(c)[0] in "PSZ" or unicodedata.category(c) in ("Cc", "Cf")]
    assert set(kept) <= {"'", " "}
    assert once == once.lower()
    if name == "spoken_digits":
        assert not any(unicodedata.category(c) == "Nd" for c in once)


@settings(deadline=None)
@given(st.lists(st.text("abcxyz'", min_size=1).filter(lambda w: w[0] != "'" != w[-1]), min_size=1))
def test_plain_lower_case_words_are_left_alone(words):
    text = " ".join(w for w in words if "''" not in w)
    assert normaliser("basic").apply(text) == text


def test_registry():
    for name, item in NORMALISERS.items():
        assert isinstance(item, Normaliser)
        assert item.name == name
        assert re.fullmatch(r"\d+", item.version)
    message = "there is no text normaliser 'whisper'; choose one of: basic, none, spoken_digits"
    with pytest.raises(ValueError, match=re.escape(message)):
        normaliser("whisper")
