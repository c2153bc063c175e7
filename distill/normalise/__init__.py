"""Text normalisers: what is made of transcripts before they are compared.

Error rates under different normalisers are not comparable, so each normaliser has a name and a version, and both stand
beside every error rate. The version rises whenever a change could alter a result, and names the libraries that do the
work.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from . import plain, whisper


@dataclass(frozen=True)
class Normaliser:
    """A named, versioned text normaliser.

    Attributes:
        name: Its name.
        version: Rises with every change of what it does; names the libraries that do the work, with their versions.
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
    * ``whisper_english``: the English normaliser of Whisper, under which most English results are published: fillers
      and anything in brackets dropped, contractions written out, spelled-out numbers and amounts of money as digits,
      British spelling as American. ``Mr. Smith won't, um, pay twenty-one dollars for colour`` →
      ``mister smith will not pay $21 for color``. Needs the extra ``text``.

    Args:
        name: One of these names.

    Returns:
        The normaliser.

    Raises:
        ValueError: There is none of that name; the message lists those there are.
        MissingExtraError: It needs a library that is not installed.
    """
    if name not in NORMALISERS:
        raise ValueError(f"there is no text normaliser {name!r}; choose one of: {', '.join(sorted(NORMALISERS))}")
    return NORMALISERS[name]()


def _plain(name: str, version: str, apply: Callable[[str], str]) -> Callable[[], Normaliser]:
    return lambda: Normaliser(name, version, apply)


@functools.cache
def _whisper_english() -> Normaliser:
    apply, libraries = whisper.english()
    return Normaliser("whisper_english", f"1 ({libraries})", apply)


NORMALISERS: Mapping[str, Callable[[], Normaliser]] = MappingProxyType(
    {
        "none": _plain("none", "1", plain.unchanged),
        "basic": _plain("basic", "1", plain.basic),
        "spoken_digits": _plain("spoken_digits", "1", plain.spoken_digits),
        "whisper_english": _whisper_english,
    }
)
"""What makes each normaliser, by its name."""
