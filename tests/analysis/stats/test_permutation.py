import itertools
import math

import numpy as np
import pytest
from scipy import stats

from analysis.inference import swap_test
from tests.analysis.inference.samples import two_systems


def exact(sums, counts):
    """Every arrangement of the two sides."""

    def difference(x, n):
        return x[:, 1].sum() / n[:, 1].sum() - x[:, 0].sum() / n[:, 0].sum()

    observed, found = abs(difference(sums, counts)), 0
    for swaps in itertools.product([False, True], repeat=len(sums)):
        x, n = sums.copy(), counts.copy()
        for i, swap in enumerate(swaps):
            if swap:
                x[i], n[i] = x[i, ::-1], n[i, ::-1]
        found += abs(difference(x, n)) >= observed - 1e-12
    return found / 2 ** len(sums)


def test_every_arrangement_of_unequal_lengths():
    generator = np.random.default_rng(3)
    counts = generator.integers(3, 20, (9, 2)).astype(float)
    sums = generator.binomial(counts.astype(int), [0.2, 0.5]).astype(float)
    p = exact(sums, counts)
    assert swap_test(sums, counts, draws=40_000) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 40_000))


def test_scipys_paired_permutation_test():
    words, first, second = two_systems(np.random.default_rng(2), 60)
    theirs = stats.permutation_test(
        (second, first),
        lambda a, b, axis: (a - b).sum(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=40_000,
        rng=np.random.default_rng(0),
    ).pvalue
    ours = swap_test(np.stack([first, second], 1), np.stack([words, words], 1), draws=40_000)
    assert ours == pytest.approx(theirs, abs=0.01)


def test_no_more_rejections_than_said_where_nothing_differs():
    p = []
    for seed in range(400):
        generator = np.random.default_rng(seed)
        words, first, second = two_systems(generator, 30)
        swapped = generator.random(30) < 0.5  # exchangeable by construction
        pair = np.stack([np.where(swapped, second, first), np.where(swapped, first, second)], 1)
        p.append(swap_test(pair, np.stack([words, words], 1), draws=200, seed=seed))
    for level in (0.02, 0.05, 0.2, 0.5):  # errors are whole numbers, so p has steps and lies a little above uniform
        rejected, luck = np.mean(np.array(p) <= level), math.sqrt(level * (1 - level) / 400)
        assert 0.6 * level - 3 * luck <= rejected <= level + 3 * luck


def test_ends():
    same = np.array([[1.0, 1.0], [2.0, 2.0]])
    assert swap_test(same, np.ones((2, 2))) == 1.0
    far = np.stack([np.zeros(40), np.full(40, 5.0)], 1)
    assert swap_test(far, np.full((40, 2), 10.0), draws=999) == pytest.approx(1 / 1000)
    assert math.isnan(swap_test(same, np.zeros((2, 2))))
    assert math.isnan(swap_test(np.full((2, 2), np.inf), np.ones((2, 2))))
