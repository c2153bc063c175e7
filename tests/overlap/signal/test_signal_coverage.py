"""Do the 95 % intervals of signal hold the true value 95 times of 100, with few utterances or speakers?

    pytest -m slow tests/overlap/signal/test_signal_coverage.py -s

prints a table in some minutes. Beside ours stand DeLong's interval, the same on a logit scale with Student's quantile,
and percentiles of a bootstrap, to say why AUROC has the interval that it has. A share of 400 has a standard error of
1.1 points.
"""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from overlap.signal import sign_agreement, utterance_signal
from overlap.signal.concordance import Concordance
from overlap.signal.correlation import rank_correlation_within
from overlap.statistics.gain import rank_correlation
from tests.overlap.signal.samples import binormal, errors, rollouts, skewed, spread, true_rank_correlation

RUNS = 400
SPEAKERS = 10


def held(intervals, truth):
    return 100 * np.mean([low <= truth <= high for low, high in intervals])


def ours(values, right, own):
    one = Concordance.from_values(values, right, own, np.zeros(len(values), int)).estimate(0.95)
    return one.low, one.high


def others(values, right, own, generator):
    """DeLong's interval, its logit, and percentiles of 200 resamples of clusters."""
    found = Concordance.from_values(values, right, own, np.zeros(len(values), int))
    above = np.sign(values[right][:, None] - values[~right]) / 2 + 0.5
    share, moved = above.mean(), np.zeros(len(values))
    moved[right] = (above.mean(1) - share) / np.sqrt(right.sum() * max(right.sum() - 1, 1))
    moved[~right] = (above.mean(0) - share) / np.sqrt((~right).sum() * max((~right).sum() - 1, 1))
    error = np.sqrt(np.square(np.bincount(own, moved)).sum())
    delong = share - 1.96 * error, share + 1.96 * error
    if 0 < share < 1:
        reach = stats.t.ppf(0.975, max(found.n_clusters - 2, 1)) * error / (share * (1 - share))
        logit = tuple(special.expit(special.logit(share) + np.array([-reach, reach])))
    else:
        logit = share, share
    times = generator.multinomial(own.max() + 1, np.full(own.max() + 1, 1 / (own.max() + 1)), 200)[:, own]
    good, bad = times[:, right], times[:, ~right]
    pairs = good.sum(1) * bad.sum(1)
    drawn = ((good @ above) * bad).sum(1)[pairs > 0] / pairs[pairs > 0]
    return delong, logit, tuple(np.quantile(drawn, [0.025, 0.975]))


KINDS = {
    "normal": binormal,
    "skewed": skewed,
    "five times as spread where wrong": spread,
    "10 speakers": lambda generator, n, auroc, right: binormal(generator, n, auroc, right, SPEAKERS),
}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_area_under_the_curve():
    rows = []
    for kind, right, auroc, n in itertools.product(KINDS, (0.5, 0.8), (0.5, 0.75, 0.9, 0.98), (20, 40, 80)):
        found = []
        for seed in range(RUNS):
            generator = np.random.default_rng(seed)
            values, good, own = KINDS[kind](generator, n, auroc, right)
            if 0 < good.sum() < n:
                found.append((ours(values, good, own), *others(values, good, own, generator)))
        shares = [held(column, auroc) for column in zip(*found, strict=True)]
        rows.append((kind, right, auroc, n, *shares))
        print(f"{kind:34} right {right} AUROC {auroc:4} n {n:3}: " + " ".join(f"{share:5.1f}" for share in shares))
    table = np.array([row[4:] for row in rows])
    print("least and mean of ours, DeLong, logit, percentiles:", table.min(0), table.mean(0).round(1))
    usual = np.array([row[0] != "five times as spread where wrong" for row in rows])
    assert table[usual, 0].min() > 90
    assert table[:, 0].min() > 85
    assert (table[:, 0].mean() > table[:, 1:].mean(0)).all()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_rank_correlation_and_informativeness():
    least = 100.0
    for strength, speakers, n in itertools.product((0.0, 0.6, 0.9), (0, SPEAKERS), (20, 40, 80)):
        truth, gap = true_rank_correlation(strength, -2.5), _true_gap(strength)
        jackknife, percentiles, gaps = [], [], []
        for seed in range(RUNS):
            values, wrong, words, own = errors(np.random.default_rng(seed), n, strength, -2.5, speakers)
            one = rank_correlation_within(values, wrong / words, own, np.zeros(n, int), level=0.95)
            jackknife.append((one.low, one.high))
            if seed < 100:
                drawn = rank_correlation(values, wrong / words, own, own.max() + 1, level=0.95, draws=200, seed=seed)
                percentiles.append((drawn.low, drawn.high))
            names = own if speakers else None
            told = utterance_signal({"s": values}, errors=wrong, words=words, speakers=names, draws=300, seed=seed)["s"]
            if not np.isnan(told.informativeness.low):
                gaps.append((told.informativeness.low, told.informativeness.high))
        shares = held(jackknife, truth), held(percentiles, truth), held(gaps, gap)
        least = min(least, shares[0], shares[2])
        print(
            f"strength {strength} speakers {speakers:2} n {n:3}: ρ %.1f (percentiles %.1f), informativeness %.1f"
            % shares
        )
    assert least > 88


def _true_gap(strength):
    values, wrong, _, _ = errors(np.random.default_rng(7), 400_000, strength, -2.5)
    return values[wrong == 0].mean() - values[wrong > 0].mean()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_within_utterances():
    least = 100.0
    for gap, each, utterances in itertools.product((0.0, 1.5, 3.0), (2, 4), (20, 40, 80)):
        truth = float(stats.norm.cdf(gap / np.sqrt(2)))
        areas, signs = [], []
        for seed in range(RUNS):
            values, good, own = rollouts(np.random.default_rng(seed), utterances, each, gap)
            one = Concordance.from_values(values, good, own, own).estimate(0.95)
            areas.append((one.low, one.high))
            found = sign_agreement(
                values, utterances=own, errors=~good, words=np.full(len(own), 9), draws=300, seed=seed
            ).estimate
            signs.append((found.low, found.high))
        agreeing = _true_sign_agreement(gap, each)
        shares = held(areas, truth), held(signs, agreeing)
        least = min(least, *shares)
        print(f"gap {gap} {each} rollouts of {utterances:3}: AUROC %.1f, sign agreement %.1f" % shares)
    assert least > 89


def _true_sign_agreement(gap, each):
    values, good, own = rollouts(np.random.default_rng(11), 100_000, each, gap)
    return sign_agreement(values, utterances=own, errors=~good, words=np.full(len(own), 9), draws=2).estimate.value


def test_a_small_one():
    found = [ours(*binormal(np.random.default_rng(seed), 40, 0.9)) for seed in range(150)]
    assert held(found, 0.9) > 90
    areas = []
    for seed in range(100):
        values, good, own = rollouts(np.random.default_rng(seed), 30, 3, 1.0)
        one = Concordance.from_values(values, good, own, own).estimate(0.95)
        areas.append((one.low, one.high))
    assert held(areas, stats.norm.cdf(1 / np.sqrt(2))) > 88
