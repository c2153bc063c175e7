"""Whisper's text normalisers (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", app. C).

The code is that of transformers, which follows the original. The original's table of 1,739 British and American
spellings is not part of transformers; it comes with the package whisper-normalizer, whose own code is not used because
it departs from the original (it rewrites *kinda*, for one).
"""

import json
from collections.abc import Callable
from importlib import metadata, resources

from ..extras import require


def english() -> tuple[Callable[[str], str], str]:
    """The English normaliser, and the libraries behind it with their versions.

    White space at either end is stripped, which the original leaves there.

    Raises:
        MissingExtraError: whisper-normalizer is not installed.
    """
    package = require("whisper_normalizer", extra="text", purpose="the text normaliser whisper_english")
    # Imported here because it takes a second and many runs do without.
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table = resources.files(package).joinpath("normalizers", "english.json").read_text(encoding="utf-8")
    normalise = EnglishTextNormalizer(json.loads(table))
    return lambda text: normalise(text).strip(), _versions("transformers", "whisper-normalizer")


def _versions(*distributions: str) -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in distributions)
