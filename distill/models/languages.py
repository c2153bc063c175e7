"""Codes of languages in prompts."""

import re

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from .base import ModelError

OTHER_CODES = {"cmn": "zh", "fil": "tl", "filipino": "tl", "iw": "he", "jv": "jw", "nb": "no"}
"""Codes that differ in Whisper's table."""

_UNKNOWN = ("auto", "und", "unknown", "none", "null", "mul")
"""Values in manifests for an unknown language, alone or as the first part of a tag (`und-Latn`)."""


def spoken(language: str | None) -> str | None:
    """Return the language to name in a prompt: the code of a BCP 47 tag; None if the field says that it is unknown.

    Args:
        language: A name, a code or a tag, as a manifest has it.

    Examples:
        >>> spoken("zh-CN"), spoken("en_US"), spoken("zh-yue"), spoken("English"), spoken("auto"), spoken("Klingon")
        ('zh', 'en', 'yue', 'English', None, 'Klingon')
    """
    name = (language or "").strip()
    if not name or _subtags(name)[0] in _UNKNOWN:
        return None
    if name.lower() in LANGUAGES or name.lower() in TO_LANGUAGE_CODE:
        return name
    for subtag in reversed(_subtags(name)[:2]):  # an extended language, as in zh-yue, is more specific
        code = OTHER_CODES.get(subtag, subtag)
        if code in LANGUAGES and (subtag == name.lower()[: len(subtag)] or len(subtag) == 3):
            return code
    return name


def language_code(language: str, family: str) -> str:
    """Return the two- or three-letter code of a language given by code or by name, from the table of Whisper's
    languages.

    Args:
        language: Code or English name.
        family: Name of the model family, for the message.

    Raises:
        ModelError: No such language.
    """
    lower = (spoken(language) or "").lower()
    if lower in LANGUAGES:
        return lower
    if lower in TO_LANGUAGE_CODE:
        return TO_LANGUAGE_CODE[lower]
    raise ModelError(f"{family} has no language {language!r}; give a name such as 'English', or a code such as 'en'")


def same_language(one: str, other: str) -> bool:
    """Return whether two names, codes or tags mean the same language, by the table of Whisper's languages.

    A tag with an extended language (`zh-yue`) means both this language and the one that it extends.

    Examples:
        >>> same_language("en", "English"), same_language("English", "German"), same_language("zh-CN", "Chinese")
        (True, False, True)
        >>> same_language("Norwegian", "nb-NO"), same_language("he", "iw"), same_language("Chinese", "zh-yue")
        (True, True, True)
    """
    return not _codes(one).isdisjoint(_codes(other))


def _subtags(name: str) -> list[str]:
    return re.split("[-_]", name.strip().lower())


def _codes(name: str) -> set[str]:
    whole = (spoken(name) or "").lower()
    codes = {TO_LANGUAGE_CODE.get(part, part) for part in (whole, _subtags(name)[0])}
    return {OTHER_CODES.get(code, code) for code in codes}
