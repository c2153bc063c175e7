"""Made-up evaluations that behave like real ones: skewed lengths, hard utterances, bursts of insertions."""

import numpy as np

WORDS = (2.0, 0.6)
"""Mean and standard deviation of the logarithm of an utterance's length in words."""


def lengths(generator: np.random.Generator, n: int) -> np.ndarray:
    return np.clip(np.round(np.exp(generator.normal(*WORDS, n))), 1, 40)


def errors(generator: np.random.Generator, words: np.ndarray, mean: float = 0.2, spread: float = 3.0) -> np.ndarray:
    """Beta-binomial errors, and a burst of insertions in 3 % of the utterances."""
    rate = generator.beta(spread * mean, spread * (1 - mean), words.shape)
    return generator.binomial(words.astype(int), rate) + (generator.random(words.shape) < 0.03) * generator.poisson(
        6, words.shape
    )


def expected_rate(level: float, *spreads: float) -> float:
    """Mean of 1 / (1 + exp(−x)) over a normal x whose variance is made of these standard deviations."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    odds = level + np.sqrt(np.square(spreads).sum()) * nodes
    return float((weights / (1 + np.exp(-odds))).sum() / weights.sum())


def two_systems(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words, and the errors of two systems that find the same utterances hard."""
    words, hard = lengths(generator, n), generator.normal(0, 1.2, n)

    def system(level: float) -> np.ndarray:
        rate = 1 / (1 + np.exp(-(level + hard + generator.normal(0, 0.8, n))))
        return generator.binomial(words.astype(int), rate).astype(float)

    return words, system(-1.2), system(-1.6)


def recipe(
    generator: np.random.Generator, words: np.ndarray, hard: np.ndarray, seeds: int, level: float, between: float
) -> np.ndarray:
    """`[seeds, utterances]` errors of runs whose seeds differ by a normal shift of the log odds."""
    shift = generator.normal(0, between, (seeds, 1))
    odds = level + hard + shift + generator.normal(0, 0.6, (seeds, len(words)))
    return generator.binomial(words.astype(int), 1 / (1 + np.exp(-odds))).astype(float)
