"""Language-independent normalizers, and digits read out in English."""

import re
import unicodedata

import regex

_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# What keyboards, recognizers and typesetters put where ' belongs; left and right quotes, primes, accents that stand
# alone, and the letters for a glottal stop.
_APOSTROPHES = "'\u2018\u2019\u201b\u2032\u00b4`\u02b9\u02bb\u02bc\u02bd\uff07"
_APOSTROPHE = re.compile(f"[{_APOSTROPHES}]")
# A letter's accents and vowel signs are part of it, whether or not there is one character for them together.
_LETTER_BEFORE, _LETTER_BEHIND = r"[\p{L}\p{N}]\p{M}*", r"[\p{L}\p{N}]"
_OUTER_APOSTROPHE = regex.compile(f"(?<!{_LETTER_BEFORE})[{_APOSTROPHES}]|[{_APOSTROPHES}](?!{_LETTER_BEHIND})")
_INNER_APOSTROPHE = regex.compile(f"(?<={_LETTER_BEFORE})'(?={_LETTER_BEHIND})")
_SECOND_DOT = re.compile("(?<=[ij\u012f])\u0307+")
# A zero-width space parts words in these scripts, which write no other space between them: Thai, Lao, Myanmar, Khmer,
# Tai Le, New Tai Lue, Tai Tham, Tai Viet. Anywhere else it only says where a line may break.
_UNSEEN_SPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\uaa60-\uaadf"
_UNSEEN_SPACE = re.compile(f"(?<=[{_UNSEEN_SPACED}])\u200b+|\u200b+(?=[{_UNSEEN_SPACED}])")
UNSPACED = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han (with the iteration and zero marks), Hiragana and Katakana: the scripts that put no spaces between words, as the
inside of a regular expression's character class."""

_SPACE_BESIDE_UNSPACED = re.compile(f"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")


def unchanged(text: str) -> str:
    """Return the text itself."""
    return text


def basic(text: str) -> str:
    """Return ``basic``, as :func:`distill.normalize.normalizer` describes it."""
    text = "".join(c for c in _UNSEEN_SPACE.sub(" ", text) if unicodedata.category(c) != "Cf")
    # Before NFKC, which makes a space and a combining accent of ´, and 11⁄2 of 1½. NFC makes neither, and what is
    # written in one character or in two is the same to all that follows.
    text = unicodedata.normalize("NFC", text)
    text = _parted_numbers(_APOSTROPHE.sub("'", _OUTER_APOSTROPHE.sub(" ", text)))
    # Lower-casing makes two characters of İ, here or before the text came here, the second a dot that no other i has.
    # It can also leave a sequence that composes, hence the second normalization.
    text = unicodedata.normalize("NFKC", _SECOND_DOT.sub("", unicodedata.normalize("NFKC", text).lower()))
    inner = {match.start() for match in _INNER_APOSTROPHE.finditer(text)}
    text = "".join(
        "'" if i in inner else " " if unicodedata.category(c)[0] in "PS" or unicodedata.category(c) == "Cc" else c
        for i, c in enumerate(text)
    )
    return drop_spaces_beside_unspaced(" ".join(text.split()))


def _parted_numbers(text: str) -> str:
    """Return the text with a space between two numerals of which one is a fraction, a power or in a circle: 1½ is not
    11/2."""
    parts: list[str] = []
    for c in text:
        if parts and {"No"} <= {unicodedata.category(c), unicodedata.category(parts[-1][-1])} <= {"No", "Nd"}:
            parts.append(" ")
        parts.append(c)
    return "".join(parts)


def drop_spaces_beside_unspaced(text: str) -> str:
    """Return the text without single spaces that touch a Chinese character or Japanese kana."""
    return _SPACE_BESIDE_UNSPACED.sub("", text)


def spoken_digits(text: str) -> str:
    """Return ``spoken_digits``, as :func:`distill.normalize.normalizer` describes it."""
    digits = ((c, unicodedata.decimal(c, None)) for c in basic(text))
    return basic("".join(c if digit is None else f" {_DIGIT_WORDS[digit]} " for c, digit in digits))
