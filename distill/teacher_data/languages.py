"""Scripts of languages, and the share of a text in the scripts of its language.

It distinguishes Chinese from English, not German from English: languages with the same script look alike, and so do
translations into one, romanized text, and Chinese instead of Japanese. Digits and punctuation belong to every language.
Without letters, or for a language that is missing or not in the table, the share is undefined.
"""

from __future__ import annotations

import math
from functools import cache

import regex
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from ..models.languages import OTHER_CODES

_WRITTEN_IN = {
    "Arabic": "ar az fa kk ms pa ps sd tk ug ur uz",
    "Armenian": "hy",
    "Bengali": "as bn",
    "Bopomofo": "zh",
    "Cyrillic": "az ba be bg bs kk mk mn ru sr tg tk tt uk uz",
    "Devanagari": "hi mr ne sa sd",
    "Ethiopic": "am",
    "Georgian": "ka",
    "Greek": "el",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Han": "ja ko yue zh",
    "Hangul": "ko",
    "Hebrew": "he yi",
    "Hiragana": "ja",
    "Kannada": "kn",
    "Katakana": "ja",
    "Khmer": "km",
    "Lao": "lo",
    "Latin": "af az br bs ca cs cy da de en es et eu fi fo fr gl ha haw hr ht hu id is it jw kk la lb ln lt lv mg mi "
    "ms mt nl nn no oc pl pt ro sk sl sn so sq sr su sv sw tk tl tr tt uz vi yo",
    "Malayalam": "ml",
    "Mongolian": "mn",
    "Myanmar": "my sa",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
    "Tibetan": "bo",
}
"""Languages by script, in Whisper's codes, with all scripts that are widely used today."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Khmer}\p{Lao}\p{Myanmar}\p{Thai}\p{Tibetan}"
_WORD = regex.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\p{{L}}\p{{M}}])+")
"""A letter of a script without spaces between words, or a run of letters of any other."""


def scripts(language: str | None) -> tuple[str, ...]:
    """Return the scripts of a language, given by name, code or tag (`Chinese`, `zh`, `zh-CN`); empty if unknown."""
    if language is None:
        return ()
    name = language.strip().lower()
    code = regex.split("[-_]", TO_LANGUAGE_CODE.get(name, name))[0]
    code = OTHER_CODES.get(code, code)
    return tuple(script for script, languages in _WRITTEN_IN.items() if code in languages.split())


def script_share(text: str, language: str | None) -> float:
    r"""Return the share of words that are in a script of the language.

    A letter counts as a word in scripts without spaces between words: one Chinese character counts like one English
    word. A name in Latin letters therefore does not outweigh the sentence around it.

    Returns:
        From 0 to 1; NaN without letters, and where the language is not known.

    Examples:
        >>> script_share("\u6211 iPhone", "Chinese"), script_share("the cat", "zh"), script_share("the cat", "German")
        (0.5, 0.0, 1.0)
    """
    own = _letters(language)
    # Letters that scripts share, such as the kana's lengthening mark, are ignored.
    words = [word for word in _WORD.findall(text) if regex.search(r"[^\p{Common}\p{Inherited}]", word)]
    return sum(bool(own.search(word)) for word in words) / len(words) if own and words else math.nan


@cache
def _letters(language: str | None) -> regex.Pattern[str] | None:
    expected = scripts(language)
    return regex.compile("[" + "".join(rf"\p{{{script}}}" for script in expected) + "]") if expected else None
