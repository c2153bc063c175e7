"""Transcripts made up for the tests of signal, with values whose true AUROC and ρ are known."""

import functools

import numpy as np
from scipy import stats


def binormal(generator, n, auroc, right=0.5, speakers=0, alike=0.3):
    """Values that are normal given whether the transcript is right, and clusters.

    With speakers, both the value and being right have a part that a speaker's utterances share.
    """
    if not speakers:
        good, noise, own = generator.random(n) < right, generator.normal(size=n), np.arange(n)
    else:
        own = generator.integers(speakers, size=n)
        shared = generator.normal(size=(2, speakers))[:, own]
        hard, noise = np.sqrt(alike) * shared + np.sqrt(1 - alike) * generator.normal(size=(2, n))
        good = hard < stats.norm.ppf(right)
    return noise + np.sqrt(2) * stats.norm.ppf(auroc) * good, good, np.unique(own, return_inverse=True)[1]


def skewed(generator, n, auroc, right=0.5):
    """Log-probabilities with long tails to the left, longer for wrong transcripts."""
    good, noise = generator.random(n) < right, -generator.gamma(2.0, size=n)
    return np.where(good, noise, noise * stats.f.ppf(auroc, 4, 4)), good, np.arange(n)


def spread(generator, n, auroc, right=0.5):
    """Wrong transcripts are five times as spread as right ones."""
    good, noise = generator.random(n) < right, generator.normal(size=n)
    return np.where(good, noise + np.sqrt(26) * stats.norm.ppf(auroc), 5 * noise), good, np.arange(n)


def rollouts(generator, utterances, each, gap):
    """Rollouts of utterances that differ in value and in difficulty; a right one has `gap` more than a wrong one."""
    own = np.repeat(np.arange(utterances), each)
    level, hard = generator.normal(0, 3, utterances)[own], generator.beta(1, 1, utterances)[own]
    good = generator.random(len(own)) > hard
    return level + generator.normal(size=len(own)) + gap * good, good, own


def errors(generator, n, strength, hard, speakers=0):
    """Values, errors, words and clusters; both share a latent difficulty."""
    own = generator.integers(speakers, size=n) if speakers else np.arange(n)
    latent = generator.normal(size=(2, n))
    if speakers:
        latent = np.sqrt(0.5) * (generator.normal(size=(2, speakers))[:, own] + latent)
    words = generator.integers(4, 25, size=n)
    values = -strength * latent[0] + np.sqrt(1 - strength**2) * latent[1]
    wrong = generator.poisson(words * np.exp(hard + latent[0]))
    return values, wrong, words, np.unique(own, return_inverse=True)[1]


@functools.cache
def true_rank_correlation(strength, hard):
    values, wrong, words, _ = errors(np.random.default_rng(5), 400_000, strength, hard)
    return float(stats.spearmanr(values, wrong / words).statistic)
