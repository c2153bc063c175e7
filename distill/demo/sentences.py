"""Sentences of the demonstration corpus, dealt out to its splits, and their two written forms."""

from typing import Literal

import numpy as np

Split = Literal["teacher", "pretraining", "base", "pool", "probe", "test"]

SPLITS: tuple[Split, ...] = ("teacher", "pretraining", "base", "pool", "probe", "test")
TRAINED_WITH_TEXT: tuple[Split, ...] = ("teacher", "pretraining", "base")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMANDS = ("call", "channel", "volume", "room", "set", "timer", "play", "stop", "pause", "next")
WORDS = DIGITS + COMMANDS

SINGLE_WORD_SHARE = 5 / 32
"""Of utterances in the splits that are trained on with text: a model grows from words to strings."""

# (leading words, number of digits, weight). Two digits or more, so that every split has several sentences of each.
PATTERNS: tuple[tuple[str, int, float], ...] = (
    ("", 2, 2.5),
    ("", 3, 3.0),
    ("", 4, 1.5),
    ("", 5, 0.5),
    ("call", 2, 1.5),
    ("call", 3, 1.5),
    ("channel", 2, 1.3),
    ("volume", 2, 1.2),
    ("room", 2, 1.2),
    ("room", 3, 0.5),
    ("set timer", 2, 1.2),
    ("set volume", 2, 0.6),
    ("play channel", 2, 0.8),
    ("next channel", 2, 0.4),
    ("pause timer", 2, 0.3),
    ("stop timer", 2, 0.3),
    ("play next", 2, 0.2),
    ("pause room", 2, 0.2),
    ("stop channel", 2, 0.2),
)

# Of the sentences of each pattern.
_PERCENT: dict[Split, int] = {"teacher": 25, "pretraining": 25, "base": 10, "pool": 20, "probe": 5, "test": 15}


def base_form(text: str) -> str:
    """Write a sentence as the demonstration's labels do: upper case, digits as one numeral.

    Args:
        text: Lower-case words separated by single spaces.

    Returns:
        The same words in the other written form.

    Example:
        >>> base_form("call three five one")
        'CALL 351'
        >>> base_form("four")
        '4'
    """
    pieces: list[str] = []
    after_digit = False
    for word in text.split(" "):
        is_digit = word in DIGITS
        if is_digit and after_digit:
            pieces[-1] += str(DIGITS.index(word))
        else:
            pieces.append(str(DIGITS.index(word)) if is_digit else word.upper())
        after_digit = is_digit
    return " ".join(pieces)


def sentences_of(split: Split, pattern: int) -> list[str]:
    """Return every sentence of a pattern that a split may use, the same for all seeds: no other split ever uses one of
    them.

    Args:
        split: The split.
        pattern: Index into `PATTERNS`.

    Returns:
        Sentences of two or more words, in a fixed random order.
    """
    leading, n_digits, _ = PATTERNS[pattern]
    n = 10**n_digits
    order = np.random.default_rng(pattern).permutation(n)
    before = sum(_PERCENT[other] for other in SPLITS[: SPLITS.index(split)])
    own = order[n * before // 100 : n * (before + _PERCENT[split]) // 100]
    head = [leading] if leading else []
    return [" ".join([*head, *(DIGITS[int(d)] for d in f"{number:0{n_digits}d}")]) for number in own]


def draw_sentences(split: Split, n: int, rng: np.random.Generator) -> list[str]:
    """Draw the sentences that a split's voices are to speak.

    Patterns have the same shares in every split; a pattern's sentences take turns, so that short ones are repeated.

    Args:
        split: Whose sentences.
        n: How many, repetitions and single words counted.
        rng: Source of randomness.

    Returns:
        Sentences in random order.
    """
    drawn: list[str] = []
    if split in TRAINED_WITH_TEXT:
        drawn += [WORDS[i % len(WORDS)] for i in range(round(SINGLE_WORD_SHARE * n))]
    weights = np.array([weight for *_, weight in PATTERNS])
    ends = np.round(np.cumsum(weights) / weights.sum() * (n - len(drawn))).astype(int)
    for pattern, count in enumerate(np.diff(ends, prepend=0)):
        own = rng.permutation(sentences_of(split, pattern))
        drawn += [str(own[i % len(own)]) for i in range(count)]
    return [str(sentence) for sentence in rng.permutation(drawn)]
