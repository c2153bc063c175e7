"""Codes of languages that prompts name."""

import re

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from .base import ModelError

OTHER_CODES = {"cmn": "zh", "fil": "tl", "filipino": "tl", "iw": "he", "jv": "jw", "nb": "no"}
"""Codes for which Whisper's table has another."""

_UNKNOWN = ("auto", "und", "unknown", "none", "null", "mul")
"""What manifests write where the language is not known, alone or as a tag's first part (`und-Latn`)."""


def spoken(language: str | None) -> str | None:
    """The language that a prompt names: of a tag (BCP 47) its code, None where the field says that it is not known.

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
    for subtag in reversed(_subtags(name)[:2]):  # an extended language, as in zh-yue, says more
        code = OTHER_CODES.get(subtag, subtag)
        if code in LANGUAGES and (subtag == name.lower()[: len(subtag)] or len(subtag) == 3):
            return code
    return name


def language_code(language: str, family: str) -> str:
    """The two- or three-letter code of a language given by code or by name, from the table of Whisper's languages.

    Args:
        language: Code or English name.
        family: Which model asks, for the message.

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
    """Whether two names, codes or tags are of one language, as far as the table of Whisper's languages tells.

    A tag of an extended language (`zh-yue`) is of that and of the one that it extends.

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
