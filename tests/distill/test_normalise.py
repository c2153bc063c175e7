import hashlib
import re
import sys
import unicodedata
from importlib import metadata, resources

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.extras import MissingExtraError
from distill.normalise import NORMALISERS, Normaliser, normaliser, whisper

# What openai-whisper 20250625 itself makes of the text, ends stripped.
ORIGINAL_ENGLISH = [
    ("Mr. Smith won't, um, pay twenty-one dollars for colour", "mister smith will not pay $21 for color"),
    ("I'm gonna catalogue 1,000 [noise] tires/tyres (aside).", "i am going to catalog 1000 tires tires"),
    ("nineteen ninety-five or twenty twenty five", "1995 or 2025"),
    ("double oh seven; triple four", "007444"),
    ("two and a half million pounds", "£2500000"),
    ("three point one four percent", "3.14%"),
    ("It's John's '90s café – naïve!", "it is john is 90s cafe naive"),
    ("the 1960s, 3rd and twenty first", "the 1960s 3rd and 21st"),
    ("she'd've ain't let's y'all'd", "she would have aint let us you all would"),
    ("one hundred and twenty three thousand four hundred five", "123405"),
    ("five cents and €3.50", "¢5 and €3.50"),
    ("hmm, uh... mhm", "."),
    ("minus forty degrees; nineteen oh five", "-40 degrees 1905"),
    ("Œuvre straße ½ cup", "oeuvre strasse one 2 cup"),
    ("kinda sorta", "kinda sorta"),
]


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


@pytest.mark.parametrize(("text", "expected"), ORIGINAL_ENGLISH)
def test_whisper_english_against_the_original(text, expected):
    assert normaliser("whisper_english").apply(text) == expected


def test_whisper_english_uses_the_original_table():
    """The table of openai-whisper 20250625, byte for byte."""
    table = resources.files("whisper_normalizer").joinpath("normalizers", "english.json").read_bytes()
    assert hashlib.sha256(table).hexdigest() == "6607f948be9824d2e1b2fa2223cd94c06c45afa4e05ea0e3d5e1f2bdffde2465"


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("aBé0159 .,'$%-()½²\t")) | st.text())
def test_whisper_english_takes_any_text(text):
    once = normaliser("whisper_english").apply(text)
    assert once == " ".join(once.split())


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper_normalizer", None)
    message = (
        "the text normaliser whisper_english needs the Python package whisper_normalizer; install it with "
        "`pip install 'support-overlap[text]'`"
    )
    with pytest.raises(MissingExtraError, match=re.escape(message)):
        whisper.english()


def test_registry():
    for name in NORMALISERS:
        item = normaliser(name)
        assert isinstance(item, Normaliser)
        assert item.name == name
        assert re.fullmatch(r"\d+( \(.+\))?", item.version)
        assert normaliser(name).version == item.version
    libraries = f"transformers {transformers.__version__}, whisper-normalizer {metadata.version('whisper-normalizer')}"
    assert normaliser("whisper_english").version == f"1 ({libraries})"
    message = "there is no text normaliser 'whisper'; choose one of: basic, none, spoken_digits, whisper_english"
    with pytest.raises(ValueError, match=re.escape(message)):
        normaliser("whisper")
