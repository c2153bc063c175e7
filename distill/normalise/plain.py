"""Normalisers that know no language, and digits read out in English."""

import re
import unicodedata

_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_INNER_APOSTROPHE = re.compile(r"(?<=[^\W_])['\u2019\u02bc](?=[^\W_])")
# Han (with the iteration and zero marks), Hiragana and Katakana: the scripts that put no spaces between words.
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACE_BESIDE_UNSPACED = re.compile(f"(?<=[{_UNSPACED}]) | (?=[{_UNSPACED}])")


def unchanged(text: str) -> str:
    """The text itself."""
    return text


def basic(text: str) -> str:
    """``basic``, as :func:`distill.normalise.normaliser` describes it."""
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    # Lower-casing can leave a sequence that composes, hence the second normalisation.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    inner = {match.start() for match in _INNER_APOSTROPHE.finditer(text)}
    text = "".join(
        "'" if i in inner else " " if unicodedata.category(c)[0] in "PS" or unicodedata.category(c) == "Cc" else c
        for i, c in enumerate(text)
    )
    return _SPACE_BESIDE_UNSPACED.sub("", " ".join(text.split()))


def spoken_digits(text: str) -> str:
    """``spoken_digits``, as :func:`distill.normalise.normaliser` describes it."""
    digits = ((c, unicodedata.decimal(c, None)) for c in unicodedata.normalize("NFKC", text))
    return basic("".join(c if digit is None else f" {_DIGIT_WORDS[digit]} " for c, digit in digits))
