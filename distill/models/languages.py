"""Codes of languages that prompts name."""

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
