"""Labels by token class."""

import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache

import numpy as np
from torch import Tensor

from overlap.strata.labels import NO_LABEL, Labels
from overlap.strata.spans import Pieces, Spans, rows_of

TOKEN_CLASSES = ("end_of_text", "cjk", "digit", "punctuation", "word_initial", "continuation", "space", "control")
"""In order of precedence, see `token_classes`."""

# Letters and marks of Chinese, Japanese and Korean, by Unicode block; their punctuation is handled before.
_CJK = (
    (0x1100, 0x11FF),  # Hangul Jamo
    (0x2E80, 0x31FF),  # radicals, kana, Bopomofo, compatibility Jamo
    (0x3400, 0x9FFF),  # unified ideographs and extension A
    (0xA960, 0xA97F),  # Hangul Jamo extended A
    (0xAC00, 0xD7FF),  # Hangul syllables
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0xFF66, 0xFFDC),  # halfwidth kana and Jamo
    (0x1AFF0, 0x1B16F),  # kana extended and supplement
    (0x20000, 0x3FFFF),  # extensions B and beyond
)


def token_classes(tokens: Tensor | np.ndarray, pieces: Pieces, *, end_of_text: Collection[int] = ()) -> Labels:
    """Return the class of the generated token, from the characters of which it has bytes. The first that applies
    counts:

    * ``end_of_text``: one of those ids;
    * ``cjk``: holds any byte of a Chinese, Japanese or Korean letter (Han, kana, Bopomofo, Hangul). If several tokens
      together spell a character, each counts by this character;
    * ``digit``: holds a digit or another number of any script;
    * ``punctuation``: holds punctuation or symbols (emoji too) and no letter;
    * ``word_initial``: holds the first byte of a word's first letter. A word begins after white space, after a CJK
      letter and at the start of the text, with or without punctuation in between; ``n't`` and the second half of
      ``well-known`` do not begin one;
    * ``continuation``: holds other letters;
    * ``space``: holds white space alone;
    * ``control``: has no text.

    A token of only incomplete characters has no label.

    >>> token_classes(np.array([[3, 0, 1, 4, 5, 2]]), [b"he", b"llo", None, b" ", b", ", b"7"], end_of_text=[2]).codes
    array([[6, 4, 5, 3, 2, 0]], dtype=int32)

    Args:
        tokens: ``[..., L]`` ids, one utterance a row, negative where there is none (so mask padding first).
        pieces: bytes by id, as `overlap.vocab.token_bytes` makes them; None where an id has no text.
        end_of_text: ids that end a transcript.

    Returns:
        Labels of the tokens' shape, named ``token_class``.

    Raises:
        UserError: if tokens are not integers, or pieces are not bytes.
    """
    ids, rows = rows_of(tokens, pieces)
    codes = np.full(ids.shape, NO_LABEL, dtype=np.int32)
    ends = frozenset(end_of_text)
    for number, (row, spans) in enumerate(rows):
        kinds = [_kind(character) for character in spans.text]
        initial = _initial(kinds)
        for position, token in enumerate(row):
            if token >= 0:
                name = "end_of_text" if token in ends else _class(spans, position, kinds, initial)
                codes[number, position] = TOKEN_CLASSES.index(name) if name else NO_LABEL
    return Labels("token_class", TOKEN_CLASSES, codes.reshape(tuple(tokens.shape)))


def _class(spans: Spans, position: int, kinds: list[str], initial: set[int]) -> str | None:
    first, last = spans.first[position], spans.last[position]
    if first == last:
        return "control"
    held = set(kinds[first:last])
    if held & {"cjk", "digit"}:
        return "cjk" if "cjk" in held else "digit"
    if "letter" in held:
        # A token that starts inside its first character does not begin a word with it.
        whole = first + (spans.characters[first] < spans.starts[position])
        return "word_initial" if initial.intersection(range(whole, last)) else "continuation"
    if "punctuation" in held:
        return "punctuation"
    return "space" if held == {"space"} else None


def _initial(kinds: Iterable[str]) -> set[int]:
    """Return letters that begin a word."""
    found, fresh = set(), True
    for character, kind in enumerate(kinds):
        if kind == "letter" and fresh:
            found.add(character)
        if kind in ("space", "cjk"):
            fresh = True
        elif kind in ("letter", "digit"):
            fresh = False
    return found


@lru_cache(maxsize=2**16)
def _kind(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if 0xDC80 <= code <= 0xDCFF:
        return "broken"
    if character.isspace():
        return "space"
    if category[0] in "PS":
        return "punctuation"
    if any(low <= code <= high for low, high in _CJK):
        return "cjk"
    return "digit" if category[0] == "N" else "letter"
