"""Noise of the demonstration corpus: white, pink and babble, in random proportions and at a random level."""

from collections.abc import Sequence

import numpy as np

from distill.demo.synthesis import SAMPLE_RATE

SNR_DB = (12.0, 30.0)
LEVEL_DBFS = (-24.0, -22.0)
MARGIN_S = (0.03, 0.12)
BABBLE_TALKERS = 4


def pink_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw Gaussian noise whose power falls as 1/f.

    Args:
        n: Number of samples.
        rng: Source of randomness.

    Returns:
        Samples `[n]` with a root mean square of 1.
    """
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, n)
    return noise / np.sqrt(np.square(noise).mean())


def babble(n: int, talkers: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Overlay several talkers, each looped from a random place.

    Args:
        n: Number of samples.
        talkers: Clean utterances, each `[time]`.
        rng: Source of randomness.

    Returns:
        Samples `[n]` with a root mean square of 1.
    """
    chosen = rng.choice(len(talkers), min(BABBLE_TALKERS, len(talkers)), replace=False)
    noise = np.sum(
        [np.resize(np.roll(talkers[i], rng.integers(len(talkers[i]))), n) for i in chosen],
        axis=0,
    )
    return noise / np.sqrt(np.square(noise).mean())


def mix(speech: np.ndarray, noise: np.ndarray, *, snr_db: float, start: int) -> np.ndarray:
    """Add noise at a signal-to-noise ratio.

    Args:
        speech: Clean samples `[time]`.
        noise: Noise samples, at least `start + time` long.
        snr_db: Mean power of the speech over that of the noise beneath it, in decibels.
        start: Sample of the noise at which the speech begins.

    Returns:
        The mixture, as long as the noise.
    """
    beneath = noise[start : start + len(speech)]
    gain = np.sqrt(np.square(speech).mean() / np.square(beneath).mean() / 10 ** (snr_db / 10))
    mixture = noise * gain
    mixture[start : start + len(speech)] += speech
    return mixture


def add_noise(speech: np.ndarray, talkers: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Surround and cover an utterance with white and pink noise and babble, in random proportions.

    Args:
        speech: Clean samples `[time]`.
        talkers: Clean utterances for the babble.
        rng: Source of randomness.

    Returns:
        The noisy utterance at a random level, and its signal-to-noise ratio in decibels.
    """
    before, after = (round(s * SAMPLE_RATE) for s in rng.uniform(*MARGIN_S, 2))
    n = before + len(speech) + after
    shares = rng.dirichlet(np.ones(3))
    sources = (rng.standard_normal(n), pink_noise(n, rng), babble(n, talkers, rng))
    noise = np.sum([np.sqrt(share) * source for share, source in zip(shares, sources, strict=True)], axis=0)
    snr_db = round(float(rng.uniform(*SNR_DB)), 1)
    mixture = mix(speech, noise, snr_db=snr_db, start=before)
    level = 10 ** (rng.uniform(*LEVEL_DBFS) / 20)
    return mixture * level / np.sqrt(np.square(mixture).mean()), snr_db
