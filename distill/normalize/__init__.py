"""Text normalizers, applied to transcripts before they are compared.

Error rates under different normalizers are not comparable, so each normalizer has a name and a version, and both are
reported with every error rate. The version increases with every change that could alter a result, and names the
libraries used.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from overlap.errors import UserError

from . import plain, whisper
from .mandarin import mandarin


@dataclass(frozen=True)
class Normalizer:
    """A named, versioned text normalizer.

    Attributes:
        name: Its name.
        version: Increases with every change of behavior; names the libraries used, with their versions.
        apply: The function from a transcript to its normalized form.
        rate: The error rate that its texts are compared by: ``wer`` counts words between spaces, ``mer`` (mixed error
            rate) each Chinese character or Japanese kana and each word of other scripts.
    """

    name: str
    version: str
    apply: Callable[[str], str]
    rate: Literal["wer", "mer"] = "wer"


def normalizer(name: str) -> Normalizer:
    """Look a normalizer up by name.

    * ``none``: the text as it is.
    * ``basic``: Unicode NFKC; lower case; punctuation and symbols (categories P and S) become spaces, except an
      apostrophe between two letters (with their accents and vowel signs) or digits, which distinguishes words
      (*we're*, *were*) and is written ``'`` whichever of the usual signs stands there
      (``´``, ``‘``, ``′``, `` ` ``, ``ʻ`` …);
      control characters become spaces and invisible format characters vanish, but a zero-width space in Khmer, Lao,
      Thai and their like, where it parts words, becomes a space; fractions and powers are parted from the numeral
      beside them (``1½`` is ``1 1 2``); runs of white space become one space;
      spaces beside Chinese characters and Japanese kana are dropped, because they carry nothing there and would count
      in the character error rate. Diacritics are kept. ``Twenty-one, please!`` → ``twenty one please``.
    * ``spoken_digits``: ``basic``, with each decimal digit read out by its English word, one by one:
      ``CALL 351`` → ``call three five one``.
    * ``whisper_english``: the English normalizer of Whisper, under which most English results are published: fillers
      and anything in brackets dropped, contractions written out, spelled-out numbers and amounts of money as digits,
      British spelling as American. ``Mr. Smith won't, um, pay twenty-one dollars for color`` →
      ``mister smith will not pay $21 for color``. Needs the extra ``text``.
    * ``whisper_basic``: Whisper's normalizer for any other language: Unicode NFKC; lower case; anything in brackets
      dropped; marks, punctuation and symbols (categories M, P and S) become spaces, so that *we're* is two words and
      vowel signs of Indic scripts are lost. ``Où (rires) est-ce ?`` → ``où est ce``.
    * ``whisper_basic_letters``: ``whisper_basic``, with every letter as a word. Whisper's results on Chinese, Japanese,
      Thai, Lao and Burmese are word error rates under it. ``你好吗`` → ``你 好 吗``.
    * ``mandarin``: the spoken form of AISHELL's and WenetSpeech's references: Unicode NFKC (full width to half width);
      traditional characters as simplified, one by one; digits read out in Chinese numerals, 〇 as 零; then ``basic``,
      without apostrophes beside a Chinese character. Chinese numerals are kept (一 in 一起 is safe). Limits: a number
      with two possible readings (*110* as 幺幺零 or 一百一十) is read as the grammar decides; units
      after digits are read out in Chinese (*3kg* as 三千克); fillers and erhua are kept, and so are 乾, 著
      and similar ones, because their simplified form depends on the word. Texts are compared by the mixed error rate.
      ``我2018年買了2個 iPhone 15！`` → ``我二零一八年买了两个iphone十五``. Needs the extra ``text``.

    Args:
        name: One of these names.

    Returns:
        The normalizer.

    Raises:
        UserError: There is no normalizer of that name; the message gives the names.
        MissingExtraError: It needs a library that is not installed.
    """
    if name not in NORMALIZERS:
        raise UserError(f"there is no text normalizer {name!r}; choose one of: {', '.join(sorted(NORMALIZERS))}")
    return NORMALIZERS[name]()


def _plain(name: str, version: str, apply: Callable[[str], str]) -> Callable[[], Normalizer]:
    return lambda: Normalizer(name, version, apply)


def _load_later(
    name: str,
    version: str,
    make: Callable[[], tuple[Callable[[str], str], str]],
    rate: Literal["wer", "mer"] = "wer",
) -> Callable[[], Normalizer]:
    """Return a normalizer whose library is loaded at first use, and is part of its version because it affects the
    result."""

    @functools.cache
    def load() -> Normalizer:
        apply, libraries = make()
        return Normalizer(name, f"{version} ({libraries})", apply, rate)

    return load


NORMALIZERS: Mapping[str, Callable[[], Normalizer]] = MappingProxyType(
    {
        "none": _plain("none", "1", plain.unchanged),
        "basic": _plain("basic", "2", plain.basic),
        "spoken_digits": _plain("spoken_digits", "2", plain.spoken_digits),
        "whisper_english": _load_later("whisper_english", "1", whisper.english),
        "whisper_basic": _load_later("whisper_basic", "1", functools.partial(whisper.basic, split_letters=False)),
        "whisper_basic_letters": _load_later(
            "whisper_basic_letters", "1", functools.partial(whisper.basic, split_letters=True)
        ),
        "mandarin": _load_later("mandarin", "2", mandarin, "mer"),
    }
)
"""Functions that make the normalizers, by name."""
