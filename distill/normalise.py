"""Text normalisers: what is made of transcripts before they are compared.

Error rates under different normalisers are not comparable, so each normaliser has a name and a version, and both stand
beside every error rate. The version rises whenever a change could alter a result.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_INNER_APOSTROPHE = re.compile(r"(?<=[^\W_])['\u2019\u02bc](?=[^\W_])")
# Han (with the iteration and zero marks), Hiragana and Katakana: the scripts that put no spaces between words.
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACE_BESIDE_UNSPACED = re.compile(f"(?<=[{_UNSPACED}]) | (?=[{_UNSPACED}])")


@dataclass(frozen=True)
class Normaliser:
    """A named, versioned text normaliser.

    Attributes:
        name: Its name.
        version: Rises with every change of what it does.
        apply: The function from a transcript to its normalised form.
    """

    name: str
    version: str
    apply: Callable[[str], str]


def normaliser(name: str) -> Normaliser:
    """Look a normaliser up by name.

    * ``none``: the text as it is.
    * ``basic``: Unicode NFKC; lower case; punctuation and symbols (categories P and S) become spaces, except an
      apostrophe between two letters or digits, which distinguishes words (*we're*, *were*) and is written ``'``;
      control characters become spaces and invisible format characters vanish; runs of white space become one space;
      spaces beside Chinese characters and Japanese kana are dropped, because they carry nothing there and would count
      in the character error rate. Diacritics stay. ``Twenty-one, please!`` → ``twenty one please``.
    * ``spoken_digits``: ``basic``, with each decimal digit read out by its English word, one by one:
      ``CALL 351`` → ``call three five one``.

    Args:
        name: One of these names.

    Returns:
        The normaliser.

    Raises:
        ValueError: There is none of that name; the message lists those there are.
    """
    if name not in NORMALISERS:
        raise ValueError(f"there is no text normaliser {name!r}; choose one of: {', '.join(sorted(NORMALISERS))}")
    return NORMALISERS[name]


def _unchanged(text: str) -> str:
    return text


def _basic(text: str) -> str:
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    # Lower-casing can leave a sequence that composes, hence the second normalisation.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    inner = {match.start() for match in _INNER_APOSTROPHE.finditer(text)}
    text = "".join(
        "'" if i in inner else " " if unicodedata.category(c)[0] in "PS" or unicodedata.category(c) == "Cc" else c
        for i, c in enumerate(text)
    )
    return _SPACE_BESIDE_UNSPACED.sub("", " ".join(text.split()))


def _spoken_digits(text: str) -> str:
    digits = ((c, unicodedata.decimal(c, None)) for c in unicodedata.normalize("NFKC", text))
    return _basic("".join(c if digit is None else f" {_DIGIT_WORDS[digit]} " for c, digit in digits))


NORMALISERS: Mapping[str, Normaliser] = MappingProxyType(
    {
        item.name: item
        for item in (
            Normaliser("none", "1", _unchanged),
            Normaliser("basic", "1", _basic),
            Normaliser("spoken_digits", "1", _spoken_digits),
        )
    }
)
"""All normalisers by name."""
