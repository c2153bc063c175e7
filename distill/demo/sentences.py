"""Sentences of the demonstration corpus and their two written forms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMANDS = ("call", "channel", "volume", "room", "set", "timer", "play", "stop", "pause", "next")
WORDS = DIGITS + COMMANDS

# (leading words, number of digits, weight). Short sentences are the bulk: a model grows from words to strings.
PATTERNS: tuple[tuple[str, int, float], ...] = (
    ("", 2, 4.0),
    ("", 3, 2.5),
    ("", 4, 1.5),
    ("", 5, 0.5),
    ("call", 1, 0.5),
    ("call", 2, 1.5),
    ("call", 3, 1.5),
    ("channel", 1, 0.8),
    ("channel", 2, 0.8),
    ("volume", 1, 0.8),
    ("volume", 2, 0.6),
    ("room", 1, 0.5),
    ("room", 2, 1.0),
    ("set timer", 1, 0.6),
    ("set timer", 2, 0.8),
    ("set volume", 1, 0.6),
    ("play channel", 1, 0.6),
    ("play channel", 2, 0.4),
    ("next channel", 0, 0.2),
    ("pause timer", 0, 0.2),
    ("stop timer", 0, 0.2),
    ("play next", 0, 0.2),
    ("pause next", 0, 0.1),
    ("stop play", 0, 0.1),
)


@dataclass(frozen=True)
class SentencePools:
    """Sentences of two or more words, no sentence in two pools; only the training pool repeats some."""

    train: tuple[str, ...]
    probe: tuple[str, ...]
    test: tuple[str, ...]


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


def _draw_sentence(rng: np.random.Generator, weights: Sequence[float]) -> str:
    leading, n_digits, _ = PATTERNS[rng.choice(len(PATTERNS), p=weights)]
    digits = [DIGITS[d] for d in rng.integers(0, 10, n_digits)]
    return " ".join(([leading] if leading else []) + digits)


def draw_pools(rng: np.random.Generator, *, n_train: int, n_probe: int, n_test: int) -> SentencePools:
    """Draw the sentences of every split.

    Args:
        rng: Source of randomness.
        n_train: Sentences in the training pool, repetitions counted.
        n_probe: Distinct sentences in the probe pool.
        n_test: Distinct sentences in the test pool.

    Returns:
        Pools that share no sentence.
    """
    weights = np.array([weight for *_, weight in PATTERNS])
    weights /= weights.sum()
    held_out: dict[str, None] = {}
    while len(held_out) < n_probe + n_test:
        held_out[_draw_sentence(rng, weights)] = None
    # Frequent short sentences are drawn first, so the order is shuffled before it is cut.
    shuffled = [str(sentence) for sentence in rng.permutation(list(held_out))]
    train: list[str] = []
    while len(train) < n_train:
        sentence = _draw_sentence(rng, weights)
        if sentence not in held_out:
            train.append(sentence)
    return SentencePools(train=tuple(train), probe=tuple(shuffled[:n_probe]), test=tuple(shuffled[n_probe:]))
