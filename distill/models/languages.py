"""Codes of languages that prompts name."""

import re

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from .base import ModelError


def language_code(language: str, family: str) -> str:
    """The two- or three-letter code of a language given by code or by name, from the table of Whisper's languages.

    Args:
        language: Code or English name.
        family: Which model asks, for the message.

    Raises:
        ModelError: No such language.
    """
    lower = language.lower()
    if lower in LANGUAGES:
        return lower
    if lower in TO_LANGUAGE_CODE:
        return TO_LANGUAGE_CODE[lower]
    raise ModelError(f"{family} has no language {language!r}; give a name such as 'English', or a code such as 'en'")


def same_language(one: str, other: str) -> bool:
    """Whether two names or codes are of one language, as far as the table of Whisper's languages tells.

    Examples:
        >>> same_language("en", "English"), same_language("English", "German"), same_language("zh-CN", "Chinese")
        (True, False, True)
    """
    codes = [re.split("[-_]", TO_LANGUAGE_CODE.get(name.lower(), name.lower()))[0] for name in (one, other)]
    return codes[0] == codes[1]
