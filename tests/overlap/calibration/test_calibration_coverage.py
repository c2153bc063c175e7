"""Do the 95 % intervals of calibration hold 95 times of 100 what they are intervals of?

    pytest -m slow tests/overlap/calibration/test_calibration_coverage.py -s

prints a table in some minutes. ECE is held against its own expectation at this number of utterances, the others against
their value over very many.
"""

import functools
import itertools

import numpy as np
import pytest

from overlap.calibration import Outcomes, calibration, equal_mass_bins

RUNS = 300
KINDS = {"calibrated": (1.0, 0.0), "calibrated but for utterances": (1.0, 1.0), "overconfident": (3.0, 0.5)}


def sample(generator, utterances, sharper, apart):
    """Tokens of utterances that differ in difficulty; confidences too sharp, and off by utterance."""
    own = np.repeat(np.arange(utterances), np.maximum(3, generator.lognormal(2.3, 0.5, utterances).astype(int)))
    logits = 2.0 + generator.normal(size=utterances)[own] + 1.2 * generator.normal(size=len(own))
    chance = 1 / (1 + np.exp(-logits - apart * generator.normal(size=utterances)[own]))
    return 1 / (1 + np.exp(-sharper * logits)), (generator.random(len(own)) < chance).astype(float), own


def plain_ece(c, y):
    _, member = equal_mass_bins(c, 10)
    return np.abs(np.bincount(member, y - c, minlength=10)).sum() / len(c)


@functools.cache
def truths(kind, utterances):
    """Expectation of the ECE of so many utterances, and the values of very many."""
    generator = np.random.default_rng(1)
    expected = np.mean([plain_ece(*sample(generator, utterances, *KINDS[kind])[:2]) for _ in range(2000)])
    many = calibration(Outcomes(*sample(generator, 30_000, *KINDS[kind])), draws=2)
    return {"ece": expected} | {
        name: getattr(many, name).value for name in ("brier", "nce", "overconfident_wrong", "accuracy")
    }


def coverage(kind, utterances, runs, draws):
    wanted, held = truths(kind, utterances), {}
    for seed in range(runs):
        outcomes = Outcomes(*sample(np.random.default_rng(seed), utterances, *KINDS[kind]))
        found = calibration(outcomes, draws=draws, seed=seed)
        for name, value in wanted.items():
            one = getattr(found, name)
            if not np.isnan(one.low):
                held.setdefault(name, []).append(one.low <= value <= one.high)
    return {name: 100 * np.mean(column) for name, column in held.items()}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_intervals_cover_what_they_say():
    rows = []
    for kind, utterances in itertools.product(KINDS, (20, 40, 80)):
        found = coverage(kind, utterances, RUNS, 300)
        rows.append(list(found.values()))
        print(f"{kind:30} {utterances:3}: " + ", ".join(f"{name} {share:.1f}" for name, share in found.items()))
    assert np.min(rows) > 86


def test_a_small_one():
    found = coverage("overconfident", 40, 60, 100)
    assert min(found.values()) > 85
