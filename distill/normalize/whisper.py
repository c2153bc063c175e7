"""Whisper's text normalizers (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", app. C).

The code is that of transformers, which follows the original. The original's table of 1,739 British and American
spellings is not part of transformers; it comes with the package whisper-normalizer, whose own code is not used because
it departs from the original (it rewrites *kinda*, for one).
"""

# transformers is imported where it is used: that takes seconds, and many runs use other normalizers.
import json
from collections.abc import Callable
from importlib import resources

from overlap.extras import require

from .versions import versions


def english() -> tuple[Callable[[str], str], str]:
    """Return the English normalizer, and the libraries behind it with their versions.

    White space at either end is stripped, which the original leaves there.

    Raises:
        MissingExtraError: whisper-normalizer is not installed.
    """
    package = require("whisper_normalizer", extra="text", purpose="the text normalizer whisper_english")
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table = resources.files(package).joinpath("normalizers", "english.json").read_text(encoding="utf-8")
    normalize = EnglishTextNormalizer(json.loads(table))
    return lambda text: normalize(text).strip(), versions("transformers", "whisper-normalizer")


def basic(*, split_letters: bool) -> tuple[Callable[[str], str], str]:
    """Return the normalizer for any language, and the library behind it with its version.

    White space at either end is stripped, which the original leaves there.

    Args:
        split_letters: Whether every letter (grapheme cluster) becomes a word.
    """
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    normalize = BasicTextNormalizer(split_letters=split_letters)
    return lambda text: normalize(text).strip(), versions("transformers")
