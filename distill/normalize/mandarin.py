"""Mandarin transcripts in the spoken form of AISHELL's and WenetSpeech's references.

Numbers go from digits to Chinese numerals, never back: the numerals in words (一 in 一起, 统一) are then unchanged. A
grammar reads the digits, since how they are read depends on what they count: years and telephone numbers digit by
digit, quantities by place, 2 as 两 before a measure word. The grammars are those of WeTextProcessing, of the WeNet
project.
"""

import functools
import re
import unicodedata
from collections.abc import Callable

from overlap.extras import require

from .plain import UNSPACED, basic, drop_spaces_beside_unspaced
from .versions import versions

_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
_ORDINAL = re.compile(r"第[0-9]+")
_APOSTROPHE_BESIDE_UNSPACED = re.compile(f"(?<=[{UNSPACED}])'|'(?=[{UNSPACED}])")


def mandarin() -> tuple[Callable[[str], str], str]:
    """Return ``mandarin``, as :func:`distill.normalize.normalizer` describes it, and the library behind it with its
    version.

    Raises:
        MissingExtraError: wetext is not installed.
    """
    library = require("wetext", extra="text", purpose="the text normalizer mandarin")
    # Half-width forms come from NFKC below, punctuation goes by its Unicode category; erhua and interjections are kept.
    grammar = library.Normalizer(lang="zh", operator="tn", traditional_to_simple=True)
    return functools.partial(_apply, grammar.normalize), versions("wetext")


def _apply(spoken: Callable[[str], str], text: str) -> str:
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    # NFKC makes a space and a combining accent of ´, and writes ½ with a fraction slash.
    text = unicodedata.normalize("NFKC", text.replace("\u00b4", "'")).replace("\u2044", "/")
    # A measure word is only seen beside its number, and a grammar reads no line breaks.
    text = drop_spaces_beside_unspaced(" ".join(text.split()))
    # With its measure word in view the grammar would read an ordinal 2 as 两.
    text = _ORDINAL.sub(lambda match: spoken(match[0]), text)
    return _APOSTROPHE_BESIDE_UNSPACED.sub("", basic(spoken(text))).replace("〇", "零")
